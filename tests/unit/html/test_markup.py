"""HTML from text that other people's processes chose."""

import re

from hypothesis import given
from hypothesis import strategies as st

from raymon.html import markup


@given(st.text())
def test_any_text_stays_text(text):
    html = markup.tag("p", text, title=text)
    assert re.fullmatch(r'<p title="([^"<>]*)">([^<>]*)</p>', html, re.DOTALL)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", html.replace("\n", ""))
