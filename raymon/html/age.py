"""An age that keeps growing in the browser when the server falls silent: `page.js` rewrites every `data-age`."""

from raymon.format import UNKNOWN, ago, duration
from raymon.html.markup import Html, tag


def age_ago(seconds: float | None) -> Html:
    """Return an age as `3 s ago`."""
    return tag("time", ago(seconds), data_age=_attribute(seconds))


def age_old(seconds: float | None) -> Html:
    """Return an age as `3.1 s old`."""
    text = UNKNOWN if seconds is None else f"{duration(max(seconds, 0.1))} old"
    return tag("time", text, data_age=_attribute(seconds), data_suffix="old")


def _attribute(seconds: float | None) -> str | None:
    return None if seconds is None else f"{seconds:.1f}"
