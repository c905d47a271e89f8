"""What is wrong with the page's own view, said above everything else: old numbers, a failed or a slow collection."""

from raymon.format import duration
from raymon.health import THRESHOLDS
from raymon.html.markup import Html, tag, with_code
from raymon.html.warnings import warnings
from raymon.html.words import shape
from raymon.live.snapshot import Snapshot
from raymon.page.context import Context


def is_old(context: Context) -> bool:
    """Return whether the numbers of a run that has not ended are too old to be called the present."""
    age = context.data_age
    return not context.ended and (age is None or age > THRESHOLDS.stale_seconds)


def banner(snapshot: Snapshot, context: Context | None, elapsed: float) -> Html | None:
    """Return the banner, `elapsed` seconds after the snapshot; None while all is well."""
    if context is None:  # the page without a run says the problem itself
        return None
    text = " ".join(sentence for sentence in (*warnings(snapshot, elapsed), _old(context)) if sentence)
    css = "banner quiet" if context.ended else "banner"
    return tag("p", shape("warning"), tag("span", with_code(text)), class_=css, role="alert") if text else None


def _old(context: Context) -> str:
    if not is_old(context):
        return ""
    age = context.data_age
    text = f"The newest number is {duration(age)} old" if age is not None else "No number has a known age"
    failing = [] if context.snapshot.problem else [target for target in context.snapshot.targets if target.error]
    why = f" {failing[0].url}: {failing[0].error}." if failing else ""
    return f"{text}: the page shows what was seen last, not the present.{why}"
