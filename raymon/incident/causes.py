"""From what was recorded before a run ended to the first cause of its end: pure functions over moments and deaths."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from raymon.catalog import DRIVER
from raymon.health import Finding
from raymon.incident.death_links import TOGETHER_SECONDS, Link, Moment, clock, death_links
from raymon.incident.deaths import Death
from raymon.incident.full_disk import names_full_disk
from raymon.incident.loss_links import loss_links, loss_sentence

LOOK_BACK_SECONDS: Final = 900.0
GAP_SECONDS: Final = 15.0
"""A finding that was away for longer has ended; when it comes back it has begun again."""
SAME_MOMENT_SECONDS: Final = 5.0
"""Deaths this close together have one cause: the first one, the driver before its workers."""
ENDED: Final = ("finished", "stopped")
CAUSES: Final = (
    "memory_growth",
    "references_kept",
    "object_store",
    "loss_not_finite",
    "diverging",
    "rollouts_failing",
    "rollouts_empty",
    "worker_stalled",
    "node_silent",
    "node_memory",
    "node_disk",
    "no_progress",
)
"""Findings that can end a run, or explain why it ended."""
SHORTAGES: Final = ("node_memory", "node_disk")
"""Causes that many nodes show for days without harm: each explains only an end that it can have brought about."""
TERMINAL: Final = ("killed", "driver_gone", "stale", "failed")
"""Findings after which nothing else is known."""
_PERHAPS_FOR_MEMORY: Final = ("died", "node_lost", "killed", "driver_gone")
"""Ends without a reason of their own, as those by a kernel that is out of memory."""
DEATHS: Final = ("died", "memory", "node_lost", "head_lost", "raised", "interrupted", "exited", "crashed")


@dataclass(frozen=True, slots=True)
class PostMortem:
    """Why a run ended.

    Attributes:
        outcome: `finished`, `stopped`, `failed` or `unknown`.
        first: The first cause; None if the run ended normally or nothing was wrong.
        chain: Everything that followed, in order, the first cause included.
        evidence: Further facts, each a sentence.
    """

    run: str
    outcome: str
    ended_at: float
    first: Link | None = None
    chain: tuple[Link, ...] = ()
    evidence: tuple[str, ...] = field(default=())


def analyse(moments: Sequence[Moment], deaths: Sequence[Death]) -> PostMortem:
    """Return the post-mortem of a run.

    Args:
        moments: What was known of the run, in order; at least one.
        deaths: Ends of processes and nodes of its cluster, in order.
    """
    last = moments[-1]
    run, state = last.view.run, last.view.state
    ended_at = min((death.at for death in deaths if death.kind in ("driver", "gcs")), default=last.at)
    dead = death_links(moments, deaths)
    links = sorted([*_findings(moments, ended_at), *dead, *loss_links(moments, dead)], key=lambda link: link.at)
    result = post_mortem(run, state, last.at, links, _facts(last))
    shown = [*result.evidence, *(link.sentence for link in result.chain)]
    losses = [sentence for loss in last.view.worker_losses if (sentence := loss_sentence(loss)) not in shown]
    return replace(result, evidence=(*result.evidence, *losses))


def post_mortem(run: str, state: str | None, at: float, links: Sequence[Link], facts: tuple[str, ...]) -> PostMortem:
    """Return the post-mortem of a run.

    Args:
        run: Its name.
        state: The last state its driver reported.
        at: Until when it is known.
        links: What was wrong and what died, in order.
        facts: Further evidence.
    """
    if state in ENDED:
        interrupted = next((link for link in links if link.code == "interrupted"), None)
        return PostMortem(run, state or "", at, interrupted if state == "stopped" else None, evidence=facts)
    lost = _unrelated_losses(links)
    workers = {link.worker for link in lost}
    first = _first([link for link in links if link.worker not in workers])
    unrelated = [link for link in links if (link.code in SHORTAGES and link is not first) or link in lost]
    chain = tuple(link for link in links if first is not None and link.at >= first.at and link not in unrelated)
    outcome = "failed" if state == "failed" or first is not None else "unknown"
    if first is not None and first.code == "interrupted" and first.worker == "driver" and state != "failed":
        outcome = "stopped"  # the driver's last state did not reach a page
    return PostMortem(run, outcome, at, first, chain, (*facts, *(link.sentence for link in unrelated)))


def _unrelated_losses(links: Sequence[Link]) -> list[Link]:
    """Return the ends of workers before an exception of the driver itself that speaks of no loss."""
    raised = next((link for link in links if link.code == "raised" and link.worker == DRIVER), None)
    if raised is None or raised.names_loss:
        return []
    dead = [link for link in links if link.code in DEATHS and link.worker not in (DRIVER, "")]
    return [link for link in dead if link.at < raised.at]


def _first(links: Sequence[Link]) -> Link | None:
    """Return the link that explains the others: a death, or the finding that led to the first death."""
    dead = [link for link in links if link.code in DEATHS]
    if not dead:
        end = next((link for link in links if link.code in TERMINAL), None)
        return _explanation(links, end) if end is not None else _most_specific(_others(links))
    driver = [link for link in dead if link.worker == "driver" and link.at - dead[0].at <= SAME_MOMENT_SECONDS]
    lost = GAP_SECONDS if not dead[0].exact else TOGETHER_SECONDS
    death = next(
        (link for link in dead if link.code in ("node_lost", "head_lost") and link.at - dead[0].at <= lost), None
    )
    death = death or (driver[0] if driver and not dead[0].exact and dead[0].code != "memory" else dead[0])
    if death.code == "memory":
        return death
    margin = 0.0 if death.exact else SAME_MOMENT_SECONDS  # what is noticed late may have been its consequence
    before = [link for link in links if link.code in CAUSES and link.at < death.at - margin]
    of_all = death.worker in ("driver", "")  # the end of the driver or of a node, after whatever was wrong before
    relevant = [link for link in before if not link.worker or link.worker == death.worker or of_all]
    if death.code == "raised":  # what rollouts have just begun to fail with is this exception, which says more
        relevant = [link for link in relevant if link.code != "rollouts_failing" or death.at - link.at > GAP_SECONDS]
    return _explanation(relevant, death) or death


def _explanation(links: Sequence[Link], end: Link) -> Link | None:
    """Return the finding that explains an end: the full disk that its error names, else what began first."""
    short = [
        link for link in links if link.code in SHORTAGES and ({link.node, end.node} & {""} or link.node == end.node)
    ]
    if end.disk_full:  # nothing else explains it
        return next((link for link in short if link.code == "node_disk"), end)
    memory = [link for link in short if link.code == "node_memory" and end.code in _PERHAPS_FOR_MEMORY]
    others = _others(links)
    if memory and all(link.code in TERMINAL for link in others):
        return memory[0]
    return _most_specific(others)


def _others(links: Sequence[Link]) -> list[Link]:
    """Return the links without the shortages."""
    return [link for link in links if link.code not in SHORTAGES]


def _most_specific(links: Sequence[Link]) -> Link | None:
    """Return the first finding, or the hang of a worker that shows a little later than the standstill it causes."""
    if links and links[0].code == "no_progress":
        near = [link for link in links if link.code == "worker_stalled" and link.at - links[0].at <= GAP_SECONDS]
        return near[0] if near else links[0]
    return links[0] if links else None


def _findings(moments: Sequence[Moment], ended_at: float) -> list[Link]:
    """Return each finding that lasted until the end, at the moment it began."""
    begun: dict[tuple[str, str, str], Link] = {}
    seen: dict[tuple[str, str, str], float] = {}
    for moment in moments:
        for finding in moment.verdict.findings:
            if finding.code not in CAUSES and finding.severity != "critical":
                continue
            node = _node(finding, moment)
            key = (finding.code, finding.worker, node)
            begins = moment.at - seen.get(key, float("-inf")) > GAP_SECONDS
            at = moment.at if begins else begun[key].at  # the latest sentence has the final numbers
            full = finding.code in TERMINAL and names_full_disk(moment.view.driver_exit)
            begun[key] = Link(at, finding.code, finding.sentence, finding.worker, node=node, disk_full=full)
            seen[key] = moment.at
    lasting = {key for key in begun if moments[-1].at - seen[key] <= GAP_SECONDS}
    # Once the driver is gone, what else was wrong can no longer be seen.
    end = min((begun[key].at for key in lasting if key[0] in TERMINAL), default=ended_at)
    end = min(end, ended_at)
    before = {key for key in begun if begun[key].at <= end and end - seen[key] <= 2 * GAP_SECONDS}
    return [link for key, link in begun.items() if key in lasting | before and link.code not in ENDED]


def _node(finding: Finding, moment: Moment) -> str:
    """Return the node that a finding is about, empty if it is about none: its sentence names it."""
    if finding.code in TERMINAL:
        return moment.view.driver_node or ""
    words = finding.sentence.split() if finding.code in SHORTAGES else ()
    return next((node.address for node in moment.view.nodes if node.address and node.address in words), "")


def _facts(last: Moment) -> tuple[str, ...]:
    view = last.view
    facts = [f"The last record is of {clock(last.at)}; the run was in state {view.state or 'unknown'}."]
    if view.trained_steps:
        facts.append(f"It had trained on {view.trained_steps:,.0f} environment steps.")
    return tuple(facts)
