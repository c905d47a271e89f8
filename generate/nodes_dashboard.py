"""The dashboard on object store and nodes, from Ray's own metrics, and on what the runs put into the store."""

from typing import Final

from generate.colours import GREEN, RED, YELLOW, Steps
from generate.dashboard import Dashboard, Row, choice, datasource
from generate.panel import Panel
from generate.table import Table
from raymon import catalog
from raymon.health import THRESHOLDS
from raymon.queries import cluster, flow, ray_families, workers

_NO_GPU: Final = "no node has a GPU"
_ANY_IS_BAD: Final[Steps] = ((None, GREEN), (1, RED))
_STORE_STEPS: Final[Steps] = (
    (None, GREEN),
    (THRESHOLDS.store_used_ratio - 0.15, YELLOW),
    (THRESHOLDS.store_used_ratio, RED),
)
_LOCATIONS: Final = {"MMAP_SHM": "shared memory", "MMAP_DISK": "on disk, store full", "SPILLED": "spilled"}
_SPILL_STATES: Final = {
    "PendingRestore": "waiting to be restored",
    "PendingSpill": "being spilled",
    "Pinned": "pinned in memory",
    "Restored": "restored",
    "Spilled": "spilled",
}
_SPILL_REQUESTS: Final = {
    "FailedDeletion": "failed deletions",
    "Restored": "restored",
    "Spilled": "spilled",
}
_ACTOR_STATES: Final = {
    "ALIVE": "alive",
    "ALIVE_IDLE": "alive, idle",
    "ALIVE_RUNNING_TASKS": "alive, busy",
    "DEAD": "dead",
    "DEPENDENCIES_UNREADY": "waiting for dependencies",
    "PENDING_CREATION": "waiting to be created",
    "RESTARTING": "restarting",
}

STORE: Final = Row(
    "Is the object store under pressure?",
    (
        Panel("gauge", (cluster.STORE_USED_RATIO,), width=6, height=6, maximum=1, steps=_STORE_STEPS),
        Panel("stat", (cluster.SPILLED,), width=4, height=6, steps=((None, GREEN), (THRESHOLDS.spilled_bytes, RED))),
        Panel("stat", (cluster.FALLBACK,), width=4, height=6, steps=_ANY_IS_BAD),
        Panel("timeseries", (cluster.STORE_BY_LOCATION,), width=10, height=6, names=_LOCATIONS),
        Panel("timeseries", (cluster.STORE_BY_NODE,), maximum=1),
        Panel("timeseries", (cluster.STORE_SHARED,)),
        Panel("timeseries", (cluster.STORE_OBJECTS,)),
        Panel("timeseries", (cluster.SPILL_STATES,), width=12, names=_SPILL_STATES),
        Panel("timeseries", (cluster.SPILL_REQUESTS,), width=12, names=_SPILL_REQUESTS),
    ),
)
RUNS: Final = Row(
    "What did the runs put there?",
    (
        Panel("timeseries", (flow.PUT_BYTES,)),
        Panel("timeseries", (flow.REFS_HELD,)),
        Panel("timeseries", (flow.REFS_HELD_BYTES,)),
    ),
)
FAILURES: Final = Row(
    "What failed?",
    (
        Panel("stat", (cluster.OOM_KILLS,), width=6, steps=_ANY_IS_BAD, empty="none killed"),
        Panel("stat", (cluster.FAILURES,), width=6, steps=_ANY_IS_BAD, empty="none ended unexpectedly"),
        Panel("timeseries", (cluster.ACTORS,), width=12, names=_ACTOR_STATES),
    ),
)
NODES: Final = Row(
    "How are the nodes?",
    (
        Panel("timeseries", (cluster.NODE_CPU,), maximum=100),
        Panel("timeseries", (cluster.NODE_MEMORY,), maximum=1),
        Panel("timeseries", (cluster.NODE_DISK,), maximum=1),
        Panel("timeseries", (cluster.NODE_SENT,), width=12),
        Panel("timeseries", (cluster.NODE_RECEIVED,), width=12),
        Panel("timeseries", (cluster.NODE_GPU,), width=12, maximum=100, empty=_NO_GPU),
        Panel("timeseries", (cluster.NODE_GPU_MEMORY,), width=12, empty=_NO_GPU),
        Table(
            "table",
            (workers.PROCESS_IDS,),
            width=24,
            title="Workers by node",
            keys=("NodeAddress", "run", "worker"),
            renamed={"NodeAddress": "node"},
        ),
    ),
)

NODES_BOARD: Final = Dashboard(
    "raymon-nodes",
    "raymon / Object store and nodes",
    "Ray's object store, spilling, failures and nodes, and what the runs put into the store.",
    (STORE, RUNS, FAILURES, NODES),
    (
        datasource(),
        choice("session", "Ray session", f"label_values({ray_families.STORE_USED}, SessionName)"),
        choice("run", "Run", f'label_values({catalog.RUN_INFO.name}{{SessionName=~"$session"}}, run)', filtered=True),
    ),
)
