"""HTML as text that cannot be forgotten to be escaped: `tag` escapes every child and attribute that is not `Html`.

Labels, log names and error texts come from other people's processes and may hold HTML, terminal escapes or
right-to-left overrides: `clean` makes them harmless before they are escaped.
"""

import html
import re
from typing import Final

_CONTROL: Final = re.compile(
    "\x1b\\[[0-9;?]*[ -/]*[@-~]"  # terminal escape sequences, whole
    "|[\x00-\x08\x0b-\x1f\x7f-\x9f]"  # other control characters
    "|[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]"  # invisible characters and direction overrides
    "|[\ud800-\udfff]"  # lone surrogates, which no encoding can carry
)
_CODE: Final = re.compile(r"`([^`]+)`")
_LONGEST: Final = 2000
_SHORT_CODE: Final = 28
"""So many characters of code fit into a line on a phone."""
_VOID: Final = frozenset({"br", "hr", "img", "input", "meta"})


class Html(str):
    """Text that is HTML already. Made by `tag` and `join` only."""

    __slots__ = ()


Child = str | int | None


def clean(text: object) -> str:
    """Return the text without control characters and cut to a length that no layout breaks at."""
    plain = _CONTROL.sub("", str(text))
    return plain if len(plain) <= _LONGEST else plain[: _LONGEST - 1] + "…"


def escape(child: Child) -> Html:
    """Return the child as HTML; `None` is nothing."""
    if isinstance(child, Html):
        return child
    return Html("") if child is None else Html(html.escape(clean(child)))


def join(*children: Child) -> Html:
    """Return the children one after the other."""
    return Html("".join(escape(child) for child in children))


def code_parts(text: str) -> list[str]:
    """Return a text in parts, of which every second one is code, that is, stood between backticks; see `clean`."""
    return _CODE.split(clean(text))


def with_code(text: str) -> Html:
    """Return a text as HTML in which the parts between backticks are code; short ones are not broken over lines."""
    return join(*[_code(part) if number % 2 else part for number, part in enumerate(code_parts(text))])


def _code(text: str) -> Html:
    return tag("code", text, class_="whole" if len(text) <= _SHORT_CODE else None)


def without_code(text: str) -> str:
    """Return a text without the backticks around code, for tooltips and to search in."""
    return "".join(code_parts(text))


def tag(name: str, /, *children: Child, **attributes: str | float | bool | None) -> Html:
    """Return an element.

    Attributes are named as in Python: `class_`, `for_`, and `aria_label` or `data_key` for names with a hyphen. An
    attribute that is None or False is left out; True is written bare.
    """
    written = []
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        spelled = key.rstrip("_").replace("_", "-")
        if value is True:
            written.append(f" {spelled}")
        else:
            number = f"{value:g}" if isinstance(value, float) else _CONTROL.sub("", str(value))
            written.append(f' {spelled}="{html.escape(number)}"')
    opened = f"<{name}{''.join(written)}>"
    return Html(opened if name in _VOID else f"{opened}{join(*children)}</{name}>")
