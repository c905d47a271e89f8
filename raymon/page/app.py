"""The status page. Streamlit runs this file once per viewer, and then only its one fragment, each second, to draw.

All viewers of a server share one collector; nothing here scrapes, waits or writes. What a viewer chooses is kept in the
address. Started by `raymon status`, with the same options.
"""

import hmac
import os
import sys

import streamlit as st

from raymon.page import choice as choices
from raymon.page import component, layout, login_form
from raymon.page.command import PAGE_TOKEN, options
from raymon.page.hurry import courtesy
from raymon.page.shared import drawings, incidents, services, snapshot_for


def admitted() -> bool:
    """Return whether this viewer may see the page: always on loopback, elsewhere after giving the token."""
    return not os.environ.get(PAGE_TOKEN) or bool(st.session_state.get("admitted"))


def choose(event: dict[str, str]) -> None:
    """Keep what the viewer chose in the address; check a token, and keep it nowhere."""
    if "token" in event:
        expected = os.environ.get(PAGE_TOKEN, "")
        right = hmac.compare_digest(event["token"].strip().encode(), expected.encode())
        st.session_state["admitted"], st.session_state["refused"] = right, not right
        return
    query = st.query_params.to_dict()
    new = choices.to_query(choices.updated(choices.from_query(address().read(query)), event))
    address().write(query, new)
    st.query_params.from_dict(new)


def address() -> choices.Address:
    """Return what is known of the viewer's address."""
    known: choices.Address = st.session_state.setdefault("address", choices.Address())
    return known


@st.fragment(run_every=1.0)
def draw(arguments: tuple[str, ...]) -> None:
    """Draw the page from the last snapshot."""
    if not admitted():
        component.show(login_form.login_form(bool(st.session_state.get("refused"))), "raymon", choose)
        return
    choice = choices.from_query({"run": options(arguments).run, **address().read(st.query_params.to_dict())})
    snapshot = snapshot_for(arguments, choice)
    with courtesy.hurry():
        html = drawings.page(snapshot, choice, services(arguments).latest(), incidents(arguments).latest())
        component.show(html, layout.title(snapshot, choice), choose)


st.set_page_config(page_title="raymon", page_icon=component.ICON, layout="wide", initial_sidebar_state="collapsed")
st.html(component.HOST_STYLE)
draw(tuple(sys.argv[1:]))
