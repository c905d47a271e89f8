"""The status page. Streamlit runs this file once per viewer and then only its one fragment, each second, to draw.

All viewers of a server share one collector; nothing here scrapes, waits or writes. What a viewer chooses is kept in the
address. Started by `raymon status`, with the same options behind `--`.
"""

import hmac
import os
import sys

import streamlit as st

from raymon.status import canvas
from raymon.status.command import PAGE_TOKEN, options
from raymon.status.draw import choice as choices
from raymon.status.draw import gate, shell
from raymon.status.shared import collector, neighbours


def admitted() -> bool:
    """Tell whether this viewer may look: always on loopback, elsewhere after giving the token."""
    return not os.environ.get(PAGE_TOKEN) or bool(st.session_state.get("admitted"))


def choose(event: dict[str, str]) -> None:
    """Keep what the viewer chose; a token is checked and never kept in the address."""
    if "token" in event:
        wanted = os.environ.get(PAGE_TOKEN, "")
        right = hmac.compare_digest(event["token"].strip().encode(), wanted.encode())
        st.session_state["admitted"], st.session_state["refused"] = right, not right
        return
    now = choices.read(st.query_params.to_dict())
    st.query_params.from_dict(choices.written(choices.changed(now, event)))


@st.fragment(run_every=1.0)
def draw(arguments: tuple[str, ...]) -> None:
    """Draw the page from the last snapshot."""
    if not admitted():
        canvas.canvas(gate.gate(bool(st.session_state.get("refused"))), "raymon", choose)
        return
    snapshot = collector(arguments).snapshot()
    chosen = choices.read({"run": options(arguments).run, **st.query_params.to_dict()})
    html = shell.page(snapshot, chosen, neighbours(arguments).now())
    canvas.canvas(html, shell.title(snapshot, chosen), choose)


st.set_page_config(page_title="raymon", page_icon=canvas.ICON, layout="wide", initial_sidebar_state="collapsed")
st.html(canvas.HOST_STYLE)
draw(tuple(sys.argv[1:]))
