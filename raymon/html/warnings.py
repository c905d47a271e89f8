"""What is wrong with the view itself, in sentences: a collection that failed or that does not end."""

from typing import Final

from raymon.format import duration
from raymon.live.snapshot import Snapshot

SLOW_COLLECTION_SECONDS: Final = 8.0
"""Age after which the page warns: a collection takes seconds even if endpoints hang until their deadline."""


def warnings(snapshot: Snapshot, elapsed: float) -> list[str]:
    """Return a sentence for each thing that is wrong, `elapsed` seconds after the snapshot; none while all is well."""
    sentences = []
    if elapsed > SLOW_COLLECTION_SECONDS:
        sentences.append(f"The last collection ended {duration(elapsed)} ago, the next has not: nothing here is newer.")
    if snapshot.problem:
        began = snapshot.problem_since
        lasted = 0.0 if began is None else snapshot.taken_at - began + elapsed
        sentences.append(f"{snapshot.problem} Since {duration(lasted)}." if lasted >= 1.0 else snapshot.problem)
    return sentences
