"""From the workers that a driver lost to links in the chain of causes, each in a sentence: pure functions."""

from collections.abc import Sequence
from typing import Final

from raymon.incident.death_links import Link, Moment, clock
from raymon.incident.full_disk import full_disk, names_full_disk
from raymon.views import WorkerLoss

LOSS_SECONDS: Final = 15.0
"""A run that makes an update or samples this long after the loss of a worker has survived it."""
NODE_SECONDS: Final = 60.0
"""The loss of a node is noticed this late."""
_LOSS_CODES: Final = {"error": "raised", "oom": "memory"}
_LOSS_WORDS: Final = {
    "oom": "it was killed for memory",
    "error": "it raised an exception",
    "killed": "its process ended",
    "node": "its node was lost",
    "timeout": "it did not answer in time",
}


def loss_links(moments: Sequence[Moment], known: Sequence[Link]) -> list[Link]:
    """Return the losses that the driver noticed, without those the run survived and those a known death explains."""
    links = []
    for loss in moments[-1].view.worker_losses:
        if not _survived(loss, moments) and not any(_explains(link, loss) for link in known):
            code, full = _LOSS_CODES.get(loss.reason, "died"), names_full_disk(loss.detail)
            links.append(Link(loss.at, code, loss_sentence(loss), loss.worker, exact=True, disk_full=full))
    return links


def loss_sentence(loss: WorkerLoss) -> str:
    """Return what the driver knew of the end of a worker: its moment, Ray's words or its exception."""
    why = loss.detail or _LOSS_WORDS.get(loss.reason, "its driver did not say why")
    lost = f"was lost at {clock(loss.at)}: {why.rstrip('.')}."
    full = f"{full_disk(why)}: worker" if names_full_disk(why) else "Worker"
    return f"{full} {loss.worker} {lost}"


def _explains(link: Link, loss: WorkerLoss) -> bool:
    """Return whether a death is that of a lost worker, or of the node that it was on."""
    if link.code in ("node_lost", "head_lost"):
        return abs(link.at - loss.at) <= NODE_SECONDS
    return link.worker == loss.worker and abs(link.at - loss.at) <= LOSS_SECONDS


def _survived(loss: WorkerLoss, moments: Sequence[Moment]) -> bool:
    """Return whether the run made an update well after it lost a worker, or had it sample again.

    In a run that counts no updates, every worker that samples shows that it went on.
    """
    for moment in moments:
        age = moment.view.last_update_age_seconds
        sampling = [worker for worker in moment.view.workers if worker.steps_per_second]
        ages = [each.heartbeat_age_seconds for each in sampling if each.worker == loss.worker or age is None]
        if any(each is not None and moment.at - each > loss.at + LOSS_SECONDS for each in (age, *ages)):
            return True
    return False
