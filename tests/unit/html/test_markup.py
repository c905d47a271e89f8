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


@given(st.text("`a<& \u202e"))
def test_code_is_escaped_and_changes_no_text(text):
    html = markup.with_code(text)
    assert re.fullmatch(r'(?:[^<]|<code(?: class="whole")?>[^<`]+</code>)*', html)
    assert re.sub("</?code[^>]*>", "", html) == markup.escape(markup.without_code(text))


def test_only_pairs_of_backticks_are_code():
    assert markup.with_code("in `a < b`, it`s") == 'in <code class="whole">a &lt; b</code>, it`s'
    assert markup.with_code(f"`{'x' * 40}`") == f"<code>{'x' * 40}</code>", "it may be broken over lines"
    assert markup.without_code("in `a < b`, it`s") == "in a < b, it`s"
