"""The one Streamlit component of the page: it shows HTML and returns what the viewer chose.

Streamlit's own elements would be redrawn as a whole each second and lose focus, hovering and scrolling; this component
changes only what differs. The page's own server sends all it needs: no request goes anywhere else.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import streamlit as st

_STYLE: Final = Path(__file__).parent.parent / "html" / "style.css"
_SCRIPT: Final = Path(__file__).with_name("page.js")
KEY: Final = "page"
ACKNOWLEDGED: Final = "acknowledged"
"""Key in the session: the number of the viewer's last event that was handled."""
HOST_STYLE: Final = """<style>
[data-testid="stHeader"], [data-testid="stToolbar"], [data-testid="stStatusWidget"] {display: none}
[data-testid="stMainBlockContainer"] {padding: 0; max-width: none}
[data-testid="stVerticalBlock"] {gap: 0}
[role="dialog"], [data-testid="stDialog"], [data-baseweb="modal"] {display: none !important}
[data-stale="true"] {opacity: 1 !important; transition: none !important}
.stApp {background: light-dark(#f5f4f0, #0f1215)}
</style>"""
"""Hides Streamlit's own header, margins and its dialog about a lost connection, for which the page has a banner."""
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


def show(html: str, title: str, on_choice: Callable[[dict[str, str]], None]) -> None:
    """Show HTML, which must be escaped already; `on_choice` is called with what the viewer changed."""

    def on_event() -> None:
        state: Any = st.session_state.get(KEY)
        event = getattr(state, "choose", None)
        if isinstance(event, dict):
            number = event.pop("number", 0)
            st.session_state[ACKNOWLEDGED] = number if isinstance(number, int) else 0
            on_choice({str(name): str(value) for name, value in event.items()})

    acknowledged = st.session_state.get(ACKNOWLEDGED, 0)
    # The time makes the data differ each second, so that the script runs and knows that the server is alive.
    data = {"html": html, "title": title, "acknowledged": acknowledged, "at": time.time()}
    _mount(key=KEY, data=data, on_choose_change=on_event)
