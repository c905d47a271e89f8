"""The slider through a recording: which moment the page shows."""

from datetime import datetime

from raymon.html.markup import Html, join, tag
from raymon.live.snapshot import Snapshot


def moment(snapshot: Snapshot) -> Html:
    """Return the slider with the moment that is shown; nothing on a live page."""
    if snapshot.recorded is None:
        return join()
    first, last = snapshot.recorded
    slider = tag(
        "input",
        type="range",
        min=f"{first:.0f}",
        max=f"{last + 1.0:.0f}",
        step="1",
        value=f"{snapshot.taken_at:.0f}",
        data_bind="at",
        aria_label="Moment of the recording",
    )
    shown = tag("time", _text(snapshot.taken_at), datetime=_text(snapshot.taken_at))
    about = tag("small", f"{_text(first)} to {_text(last)}")
    return tag("section", shown, slider, about, class_="tools recording", data_section="recording")


def _text(moment: float) -> str:
    return datetime.fromtimestamp(moment).astimezone().isoformat(" ", "seconds")
