"""What is wrong with a collection, and where its numbers come from, in sentences for the viewer."""

from collections.abc import Sequence
from typing import Final

from raymon.live.prometheus import Prometheus
from raymon.live.round import Round
from raymon.views import RunView

SLOW_SECONDS: Final = 5.0
"""A collection that takes longer is a problem of its own; an endpoint that hangs costs three seconds."""
_TOO_SLOW: Final = ("no answer within", "not complete within")


def collection_problem(latest: Round, views: Sequence[RunView], seconds: float) -> str:
    """Return why no live run can be seen, or that the collection took too long; empty if all is well."""
    if latest.endpoints.problem:
        return latest.endpoints.problem
    pages = latest.pages
    failed = [page for page in pages if page.error]
    if pages and len(failed) == len(pages):
        first = failed[0]
        end = "the cluster has ended or cannot be reached."
        if first.error.startswith(_TOO_SLOW):
            end = "its node is too busy to answer in time, or cannot be reached."
        return f"No metrics endpoint answers ({first.url}: {first.error}): {end}"
    if views:
        slow = f"The last collection took {seconds:.1f} s: the numbers are renewed less often."
        return slow if seconds > SLOW_SECONDS else ""
    if failed:
        return f"No run was seen; {len(failed)} of {len(pages)} endpoints do not answer ({failed[0].error})."
    if not any(page.is_ray for page in pages):
        return f"What answers at {pages[0].url} is not the metrics page of a Ray node." if pages else "No endpoint."
    return (
        f"Ray answers ({latest.endpoints.source}), but no run has recorded anything yet: start `raymon train`, or "
        "instrument your trainer."
    )


def source_sentence(source: str, prometheus: Prometheus | None, expected: bool, views: Sequence[RunView]) -> str:
    """Return where the numbers come from, and what the Prometheus lacks.

    Args:
        source: Where the endpoints come from.
        prometheus: The Prometheus that is asked, if any.
        expected: Whether to mention one that does not answer.
        views: The runs that are shown.
    """
    if prometheus is None or not (prometheus.answers() or expected):
        return source
    note = ""
    if not prometheus.answers():
        note = f" (which does not answer: {prometheus.error})"
    elif not prometheus.has_rules():
        note = " (without raymon's rules: alerts are evaluated here)"
    elif views and not prometheus.knows(view.run for view in views):
        note = " (which has not scraped these runs: alerts are evaluated here)"
    return f"{source}, and Prometheus {prometheus.url}{note}"
