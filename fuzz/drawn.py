"""What holds for everything raymon draws, whatever it was given."""

import re
from typing import Final

_RAW: Final = re.compile(r"x[\"'<]fz")
"""`mutation.MARKUP` with one of its characters not escaped."""
_CONTROL: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\N{ZERO WIDTH SPACE}-\N{RIGHT-TO-LEFT MARK}\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_BROKEN: Final = 'data-section="broken"'


def check_html(html: str) -> None:
    """Raise AssertionError if a page holds raw markup or control characters from outside, or a broken section."""
    _refuse(_RAW, html, "raw markup")
    _refuse(_CONTROL, html, "a control character")
    if (at := html.find(_BROKEN)) >= 0:
        raise AssertionError(f"a section could not be drawn: {html[max(0, at - 100) : at + 400]}")


def check_terminal(text: str) -> None:
    """Raise AssertionError if text for a terminal holds a control character besides line ends."""
    _refuse(_CONTROL, text, "a control character")


def _refuse(pattern: "re.Pattern[str]", text: str, what: str) -> None:
    if match := pattern.search(text):
        around = text[max(0, match.start() - 100) : match.end() + 100]
        raise AssertionError(f"found {what}: {around!a}")
