"""Queries on the flow of samples and on resources: fragments, references, calls, memory, processor time."""

from typing import Final

from raymon import catalog
from raymon.queries.query import RATE_INTERVAL, WORKERS_ONLY, Query, largest_now, latest, of, rate, top

_RECEIVED: Final = 'outcome="received"'
_DROPPED: Final = 'outcome="dropped"'
WORKERS_OF_RUN: Final = f"count by (run) (max by (run, worker) ({of(catalog.HEARTBEAT, WORKERS_ONLY)}))"

# --- what does it wait for? -----------------------------------------------------------------------------------------
POLICY_LAG: Final = Query(
    "Policy lag",
    "short",
    "Updates between the policy that sampled and the policy that learns, mean and largest over the last batch.",
    top(latest(catalog.POLICY_LAG, "run, statistic")),
    "{{run}} {{statistic}}",
)
FRAGMENTS: Final = Query(
    "Fragments per second",
    "short",
    "Fragments per second that the drivers received, trained on and dropped, all selected runs together.",
    rate(catalog.FRAGMENTS, "outcome"),
    "{{outcome}}",
)
FRAGMENT_STEPS: Final = Query(
    "Environment steps in fragments per second",
    "short",
    "Environment steps per second received, trained on and dropped, all selected runs together; sampling dropped "
    "steps was in vain.",
    rate(catalog.FRAGMENT_STEPS, "outcome"),
    "{{outcome}}",
)
DROPPED: Final = Query(
    "Fragments dropped per second",
    "short",
    "Fragments dropped per second by reason, all selected runs together; the policy that sampled a stale one is too "
    "old.",
    rate(catalog.FRAGMENTS_DROPPED, "reason"),
    "{{reason}}",
)
DROPPED_RATIO: Final = Query(
    "Samples dropped",
    "percentunit",
    "Environment steps dropped divided by environment steps received.",
    f"sum by (run) (rate({of(catalog.FRAGMENT_STEPS, _DROPPED)}[{RATE_INTERVAL}]))"
    f" / (sum by (run) (rate({of(catalog.FRAGMENT_STEPS, _RECEIVED)}[{RATE_INTERVAL}])) > 0)",
)
PUT_BYTES: Final = Query(
    "Sent through the object store",
    "binBps",
    "Bytes per second of rollouts and weights that go through Ray's object store, all selected runs together.",
    rate(catalog.PUT_BYTES, "kind"),
    "{{kind}}",
)
REFS_HELD: Final = Query(
    "Object references held",
    "short",
    "References that the driver holds; each keeps its object in memory.",
    top(latest(catalog.REFS_HELD, "run")),
)
REFS_HELD_BYTES: Final = Query(
    "Memory held by references",
    "bytes",
    "Bytes in the object store that the driver's references keep in memory.",
    top(latest(catalog.REFS_HELD_BYTES, "run")),
)
REFS_AGE: Final = Query(
    "Age of the oldest reference",
    "s",
    "Age of the oldest reference that the driver still holds; if it only grows, references leak.",
    top(f"clamp_min(time() - (max by (run) ({of(catalog.REFS_OLDEST)}) > 0), 0)"),
)
ACTOR_CALLS: Final = Query(
    "Actor calls per second",
    "short",
    "Sampling calls per second of the driver to its actors; each call has a fixed cost.",
    top(rate(catalog.ACTOR_CALLS, "run")),
)
INFERENCE_BATCH: Final = Query(
    "Observations per inference batch",
    "short",
    "Mean number of observations that the driver's policy evaluates at once; only with inference in the driver.",
    top(f"{rate(catalog.INFERENCE_OBSERVATIONS, 'run')} / ({rate(catalog.INFERENCE_BATCHES, 'run')} > 0)"),
)

# --- what does it use? ----------------------------------------------------------------------------------------------
MEMORY: Final = Query(
    "Memory of the processes",
    "bytes",
    "Resident memory of the ten largest processes of the runs, drivers included.",
    largest_now(latest(catalog.RESIDENT_MEMORY, "run, worker")),
    "{{run}} {{worker}}",
)
CPU: Final = Query(
    "Processor time of the processes",
    "percentunit",
    "Processor seconds per second of the ten busiest processes; 100 % is one core.",
    largest_now(rate(catalog.CPU_SECONDS, "run, worker")),
    "{{run}} {{worker}}",
)
RECORDING_COST: Final = Query(
    "Cost of recording",
    "percentunit",
    "Processor time of raymon's own threads divided by that of the run's processes.",
    largest_now(f"{rate(catalog.RECORDING_SECONDS, 'run')} / ({rate(catalog.CPU_SECONDS, 'run')} > 0)"),
)
RECORDING_DROPPED: Final = Query(
    "Observations dropped by recording",
    "short",
    "Observations in the dashboard's time range that could not be handed to Ray; counters are then too low.",
    largest_now(f"round(sum by (run) (increase({of(catalog.RECORDING_DROPPED)}[$__range])))"),
)
REPORTING: Final = Query(
    "Processes that report",
    "short",
    "Processes with a heartbeat in the last scrape, drivers included; dead ones disappear within half a minute.",
    f"count by (run) (max by (run, worker) ({of(catalog.HEARTBEAT)}))",
)
TASK_PROCESSES: Final = Query(
    "Processes that ran tasks",
    "short",
    "Processes of Ray's pool that have recorded in a task, those that Ray has ended since included.",
    f"sum by (run) ({of(catalog.TASK_PROCESSES)})",
    "{{run}} in tasks",
)
WORKERS_REPORTING: Final = Query(
    "Workers that report",
    "short",
    "Workers with a heartbeat in the last scrape, all selected runs together.",
    f"sum({WORKERS_OF_RUN})",
    "reporting",
)
