"""Format numbers for people: 12.3k, 812 ms, 3 min ago. `None` becomes an en dash, never zero."""

import math
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Final

UNKNOWN: Final = "\N{EN DASH}"
LONGEST_LABEL: Final = 120
LATEST: Final = 1e11
"""A later moment, in Unix seconds, is none."""
_THOUSANDS: Final = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_SPANS: Final = ((3600, 60, "min", 1, "s"), (86400, 3600, "h", 60, "min"), (1e12, 86400, "d", 3600, "h"))


def _three(value: float) -> str:
    """Return three significant digits, without an exponent."""
    size = abs(value)
    if size >= 100:
        return f"{value:.0f}"
    if size >= 10:
        return f"{value:.1f}".removesuffix(".0")
    text = f"{value:.2f}" if size >= 1 else f"{value:.3g}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _bad(value: float | None) -> bool:
    return value is None or not math.isfinite(value)


def count(value: float | None) -> str:
    """Return 12345.6 as `12.3k`."""
    if value is None or _bad(value):
        return UNKNOWN
    for size, letter in _THOUSANDS:
        if abs(value) >= size * 0.9995:
            return f"{_three(value / size)}{letter}"
    return _three(value)


def whole(value: float | None) -> str:
    """Return 1234567 as `1,234,567`."""
    return UNKNOWN if value is None or _bad(value) else f"{value:,.0f}"


def plain(value: float | None) -> str:
    """Return a small dimensionless value (loss, return, divergence) with three significant digits."""
    if value is None or _bad(value):
        return UNKNOWN
    if value != 0 and abs(value) < 0.01:
        mantissa, exponent = f"{value:.1e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    return count(value)


def size(value: float | None) -> str:
    """Return bytes as `312 MB`; decimal: 1 MB is a million bytes."""
    if value is None or _bad(value):
        return UNKNOWN
    for unit, letter in _THOUSANDS:
        if abs(value) >= unit * 0.9995:
            return f"{_three(value / unit)} {letter}B"
    return f"{value:.0f} B"


def share(value: float | None) -> str:
    """Return 0.963 as `96 %`."""
    if value is None or _bad(value * 100):
        return UNKNOWN
    percent = value * 100
    return f"{percent:.1f} %" if 0 < abs(percent) < 9.95 else f"{percent:.0f} %"


def duration(value: float | None) -> str:
    """Return seconds as `812 ms`, `4.2 s`, `3 min 20 s`, `2 h 5 min` or `3 d 4 h`."""
    if value is None or _bad(value):
        return UNKNOWN
    if value < 0:
        return "-" + duration(-value)
    if 0 < value < 0.0009995:
        return f"{_three(value * 1e6)} µs"
    if 0 < value < 0.9995:
        return f"{_three(value * 1e3)} ms"
    if 0 < value < 10:
        return f"{value:.1f} s"
    rounded = round(value)
    if rounded < 60:
        return f"{rounded} s"
    for limit, big, large, small, little in _SPANS:
        if rounded < limit:
            rest = rounded % big // small
            return f"{rounded // big} {large}" + (f" {rest} {little}" if rest else "")
    return UNKNOWN


def ago(value: float | None) -> str:
    """Return an age in seconds as `now`, `3 s ago` or `2 min ago`."""
    if value is None or _bad(value):
        return UNKNOWN
    if value < 1.5:
        return "now"
    return f"{value:.0f} s ago" if value < 59.5 else " ".join(duration(value).split()[:2]) + " ago"


def moment(seconds: object) -> str:
    """Return a moment given in Unix seconds as `2026-03-01 14:02:11 UTC`."""
    if not isinstance(seconds, int | float) or not abs(seconds) <= LATEST:  # NaN is none
        return UNKNOWN
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def listing(names: Sequence[str], most: int = 5) -> str:
    """Return names as `1, 2 and 3`; of more than `most`, the rest is counted: `1, 2 and 40 more`."""
    if len(names) > most:
        return f"{', '.join(names[:most])} and {len(names) - most} more"
    return ", ".join(names[:-1]) + f" and {names[-1]}" if len(names) > 1 else "".join(names)


def reach(value: float) -> str:
    """Return how far back an axis goes: a duration to the nearest five seconds."""
    return duration(max(5.0, round(value / 5) * 5.0))


def position(age: float | None) -> str:
    """Return a place on a time axis, given in seconds before now, which are negative."""
    return "now" if age is None or age > -0.5 else f"{duration(-age) if age > -10 else reach(-age)} ago"


def change(now: float | None, before: float | None) -> float | None:
    """Return the relative change, or None when either is unknown or there is nothing to compare with."""
    if now is None or before is None or _bad(now) or _bad(before) or before == 0:
        return None
    return (now - before) / abs(before)


def printable(text: str, longest: int = LONGEST_LABEL) -> str:
    """Return text from outside with unprintable characters (terminal escapes, line ends) escaped, cut to a length."""
    if not text.isprintable():
        text = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def first_line(error: Exception) -> str:
    """Return the first line of an error's text that is not blank, or its class."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def one_line(text: str, longest: int = 10_000) -> str:
    """Return a message as one printable line; any white space becomes one space."""
    return printable(" ".join(text.split()), longest)
