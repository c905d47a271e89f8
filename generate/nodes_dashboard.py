"""The dashboard on object store and nodes: Ray's own families, well filtered, and what the runs put there."""

from typing import Final

from generate.dashboard import Dashboard, Row, choice, datasource
from generate.panel import GREEN, RED, YELLOW, Panel
from generate.table import Table
from raymon import catalog
from raymon.health import THRESHOLDS
from raymon.queries import cluster, flow, ray_families, workers

_NO_GPU: Final = "no node has a GPU"
_STORE_STEPS = ((None, GREEN), (THRESHOLDS.store_used_ratio - 0.15, YELLOW), (THRESHOLDS.store_used_ratio, RED))

STORE: Final = Row(
    "Is the object store under pressure?",
    (
        Panel("gauge", (cluster.STORE_USED_RATIO,), width=6, height=6, maximum=1, steps=_STORE_STEPS),
        Panel("stat", (cluster.SPILLED,), width=4, height=6, steps=((None, GREEN), (THRESHOLDS.spilled_bytes, RED))),
        Panel("stat", (cluster.FALLBACK,), width=4, height=6, steps=((None, GREEN), (1, RED))),
        Panel("timeseries", (cluster.STORE_BY_LOCATION,), width=10, height=6),
        Panel("timeseries", (cluster.STORE_BY_NODE,), width=8, maximum=1),
        Panel("timeseries", (cluster.STORE_SHARED,), width=8),
        Panel("timeseries", (cluster.STORE_OBJECTS,), width=8),
        Panel("timeseries", (cluster.SPILL_STATES,), width=12),
        Panel("timeseries", (cluster.SPILL_REQUESTS,), width=12),
    ),
)
RUNS: Final = Row(
    "What did the runs put there?",
    (
        Panel("timeseries", (flow.PUT_BYTES,), width=8),
        Panel("timeseries", (flow.REFS_HELD,), width=8),
        Panel("timeseries", (flow.REFS_HELD_BYTES,), width=8),
    ),
)
FAILURES: Final = Row(
    "What failed?",
    (
        Panel("stat", (cluster.OOM_KILLS,), width=6, steps=((None, RED),), empty="none killed for memory"),
        Panel("stat", (cluster.FAILURES,), width=6, steps=((None, RED),), empty="none failed"),
        Panel("timeseries", (cluster.ACTORS,), width=12),
    ),
)
NODES: Final = Row(
    "How are the nodes?",
    (
        Panel("timeseries", (cluster.NODE_CPU,), width=8, maximum=100),
        Panel("timeseries", (cluster.NODE_MEMORY,), width=8, maximum=1),
        Panel("timeseries", (cluster.NODE_DISK,), width=8, maximum=1),
        Panel("timeseries", (cluster.NODE_SENT,), width=12),
        Panel("timeseries", (cluster.NODE_RECEIVED,), width=12),
        Panel("timeseries", (cluster.NODE_GPU,), width=12, maximum=100, empty=_NO_GPU),
        Panel("timeseries", (cluster.NODE_GPU_MEMORY,), width=12, empty=_NO_GPU),
        Table(
            "table",
            (workers.PROCESS_IDS,),
            width=24,
            title="Which worker is where",
            keys=("NodeAddress", "run", "worker"),
        ),
    ),
)

NODES_BOARD: Final = Dashboard(
    "raymon-nodes",
    "raymon / Object store and nodes",
    "Ray's object store, spilling, failures and nodes, beside what the runs put into the store.",
    (STORE, RUNS, FAILURES, NODES),
    (
        datasource(),
        choice("session", "Ray session", f"label_values({ray_families.STORE_USED}, SessionName)"),
        choice("run", "Run", f'label_values({catalog.RUN_INFO.name}{{SessionName=~"$session"}}, run)', filtered=True),
    ),
)
