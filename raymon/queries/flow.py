"""Queries on what flows through a run and what it uses: fragments, references, calls, memory, processor time."""

from typing import Final

from raymon import catalog
from raymon.queries.query import RATE_INTERVAL, WORKERS_ONLY, Query, latest, of, rate, top

_RECEIVED: Final = 'outcome="received"'
_DROPPED: Final = 'outcome="dropped"'

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
    "cps",
    "Fragments received, trained on and dropped by the drivers, per second.",
    rate(catalog.FRAGMENTS, "outcome"),
    "{{outcome}}",
)
FRAGMENT_STEPS: Final = Query(
    "Environment steps in fragments per second",
    "cps",
    "The same in environment steps: what is received and not trained on was sampled in vain.",
    rate(catalog.FRAGMENT_STEPS, "outcome"),
    "{{outcome}}",
)
DROPPED: Final = Query(
    "Fragments dropped",
    "cps",
    "Fragments dropped per second, by reason; stale ones were sampled by a policy that is too old.",
    rate(catalog.FRAGMENTS_DROPPED, "reason"),
    "{{reason}}",
)
DROPPED_RATIO: Final = Query(
    "Samples dropped",
    "percentunit",
    "Environment steps dropped over environment steps received.",
    f"sum(rate({of(catalog.FRAGMENT_STEPS, _DROPPED)}[{RATE_INTERVAL}]))"
    f" / (sum(rate({of(catalog.FRAGMENT_STEPS, _RECEIVED)}[{RATE_INTERVAL}])) > 0)",
)
PUT_BYTES: Final = Query(
    "Sent through the object store",
    "Bps",
    "Bytes per second that rollouts and weights bring into Ray's object store.",
    rate(catalog.PUT_BYTES, "kind"),
    "{{kind}}",
)
REFS_HELD: Final = Query(
    "Object references held",
    "short",
    "References the driver holds; each keeps its object in memory until it is dropped.",
    top(latest(catalog.REFS_HELD, "run")),
    "{{run}}",
)
REFS_HELD_BYTES: Final = Query(
    "Held by references",
    "bytes",
    "Bytes in the object store that the driver's references keep alive.",
    top(latest(catalog.REFS_HELD_BYTES, "run")),
    "{{run}}",
)
REFS_AGE: Final = Query(
    "Age of the oldest reference",
    "s",
    "Time since the oldest reference the driver still holds was made; one that only grows is a leak.",
    top(f"clamp_min(time() - (max by (run) ({of(catalog.REFS_OLDEST)}) > 0), 0)"),
    "{{run}}",
)
ACTOR_CALLS: Final = Query(
    "Actor calls per second",
    "cps",
    "Sampling calls the driver makes to its actors; a call has a price however little it carries.",
    top(rate(catalog.ACTOR_CALLS, "run")),
    "{{run}}",
)
INFERENCE_BATCH: Final = Query(
    "Observations per inference batch",
    "short",
    "Mean number of observations the driver's policy answers at once; only with inference in the driver.",
    top(f"{rate(catalog.INFERENCE_OBSERVATIONS, 'run')} / ({rate(catalog.INFERENCE_BATCHES, 'run')} > 0)"),
    "{{run}}",
)

# --- what does it use? ----------------------------------------------------------------------------------------------
MEMORY: Final = Query(
    "Memory of the processes",
    "bytes",
    "Resident memory of the ten largest processes of the runs, the driver included.",
    top(latest(catalog.RESIDENT_MEMORY, "run, worker")),
    "{{run}} {{worker}}",
)
CPU: Final = Query(
    "Processor time of the processes",
    "percentunit",
    "Processor seconds per second of the ten busiest processes; 100 % is one core.",
    top(rate(catalog.CPU_SECONDS, "run, worker")),
    "{{run}} {{worker}}",
)
RECORDING_COST: Final = Query(
    "Cost of recording",
    "percentunit",
    "Processor time raymon's own threads take, of all the processor time of the run's processes.",
    top(f"{rate(catalog.RECORDING_SECONDS, 'run')} / ({rate(catalog.CPU_SECONDS, 'run')} > 0)"),
    "{{run}}",
)
RECORDING_DROPPED: Final = Query(
    "Observations dropped by recording",
    "short",
    "Observations of the dashboard's time range that could not be handed to Ray; counters then read too low.",
    top(f"sum by (run) (increase({of(catalog.RECORDING_DROPPED)}[$__range]))"),
    "{{run}}",
)
REPORTING: Final = Query(
    "Processes that report",
    "short",
    "Processes whose heartbeat is in the last scrape, drivers included; the dead drop out within half a minute.",
    f"count by (run) (max by (run, worker) ({of(catalog.HEARTBEAT)}))",
    "{{run}}",
)
WORKERS_REPORTING: Final = Query(
    "Workers that report",
    "short",
    "Workers whose heartbeat is in the last scrape.",
    f"count(max by (run, worker) ({of(catalog.HEARTBEAT, WORKERS_ONLY)}))",
)
