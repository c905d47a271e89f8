"""The one Streamlit component of the page: takes HTML, returns what the viewer chose; styles and script come with it.

Streamlit's own elements would redraw whole each second and lose focus, hovering and scrolling; this component changes
only what differs. Everything it needs is sent by the page's own server: no request leaves for anywhere else.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import streamlit as st

_STYLE: Final = Path(__file__).parent.parent / "html" / "style.css"
_SCRIPT: Final = Path(__file__).with_name("page.js")
KEY: Final = "page"
HEARD: Final = "heard"
"""In the session: the number of the last event of the viewer that was taken in."""
HOST_STYLE: Final = """<style>
[data-testid="stHeader"], [data-testid="stToolbar"], [data-testid="stStatusWidget"] {display: none}
[data-testid="stMainBlockContainer"] {padding: 0; max-width: none}
[data-testid="stVerticalBlock"] {gap: 0}
[data-stale="true"] {opacity: 1 !important; transition: none !important}
.stApp {background: light-dark(#f5f4f0, #0f1215)}
</style>"""
"""Removes Streamlit's own furniture around the component."""
ICON: Final = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><rect width="24" height="24" rx="5" fill="#15191e"/>'
    '<rect x="4" y="5" width="11" height="3.4" rx="1" fill="#fff"/><rect x="8" y="10.3" width="12" height="3.4" rx="1" '
    'fill="#4f9fe0"/><rect x="5" y="15.6" width="7" height="3.4" rx="1" fill="#f0643c"/></svg>'
)

_mount: Final = st.components.v2.component(
    "raymon.page",
    html='<div class="raymon"><div class="view"></div><div class="tip" role="tooltip" hidden></div></div>',
    css=_STYLE.read_text(encoding="utf-8"),
    js=_SCRIPT.read_text(encoding="utf-8"),
)


def show(html: str, title: str, chosen: Callable[[dict[str, str]], None]) -> None:
    """Show the HTML, which must be escaped already; `chosen` is called with what the viewer changed."""

    def told() -> None:
        state: Any = st.session_state.get(KEY)
        event = getattr(state, "choose", None)
        if isinstance(event, dict):
            number = event.pop("number", 0)
            st.session_state[HEARD] = number if isinstance(number, int) else 0
            chosen({str(name): str(value) for name, value in event.items()})

    heard = st.session_state.get(HEARD, 0)
    # With the time in it the data always differs, and the script runs: that is how it knows the server is alive.
    data = {"html": html, "title": title, "heard": heard, "at": time.time()}
    _mount(key=KEY, data=data, on_choose_change=told)
