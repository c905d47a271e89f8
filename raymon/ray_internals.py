"""Everything private to Ray that raymon touches, and what happens where a Ray version lacks it.

Works with Ray 2.40 to 2.60. Importing this module imports nothing outside the standard library; Ray is imported inside
functions, and those that only look at a Ray that may not be there read `sys.modules` instead.
"""
# ruff: noqa: ANN401  # Ray is not annotated

import contextlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

FAST_REPORTS: Final[dict[str, Any]] = {"_system_config": {"metrics_report_interval_ms": 1000}}
"""Options of `ray.init` that export metrics every second. Without it: every 10 s, and everything is seen later."""

WAITING_FRAME: Final = r"(?:\w+\.)*(?:main_loop|run_task_loop|_?wait_ready|wait) \((?:.*/)?ray/_private/"
"""Pattern of an innermost frame that waits for Ray. Without it: profiles show idle threads as busy in Ray."""
OUTER_FILES: Final = r"(?:.*/)?ray/(?:_private|util/tracing)/"
"""Pattern of the files between Ray's start of a process and the user's code. Without it: stacks begin further out."""

ASK_CLUSTER: Final = """
import json, sys
try:
    from ray._private.authentication.authentication_token_setup import maybe_enable_token_auth_if_token_available
    maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
except ImportError:
    pass
from ray._raylet import GcsClient
client = GcsClient(address=sys.argv[1])
patience = float(sys.argv[2])
def value(key, namespace):
    found = client.internal_kv_get(key, namespace, timeout=patience)
    return found.decode() if found else ""
nodes = [
    {"address": info.node_manager_address, "metrics_port": info.metrics_export_port}
    for info in client.get_all_node_info(timeout=patience).values() if info.state == 0
]
metadata = value(b"CLUSTER_METADATA", b"cluster")
print(json.dumps({
    "nodes": nodes,
    "dashboard": value(b"dashboard", b"dashboard"),
    "version": json.loads(metadata).get("ray_version", "") if metadata else "",
}))
"""
"""Program (arguments: address, seconds) that prints a cluster's nodes, dashboard and version as JSON.

It runs in a child process: `ray.init` would start processes and join as a driver, while the client of Ray's control
store only asks. Without it: `raymon doctor`, `up` and `status` find only clusters that wrote a discovery file.
"""


def report_seconds() -> float:
    """Return how often Ray's processes report their metrics to the exporter. Without it: Ray's default, 10 s."""
    try:
        from ray._raylet import Config  # type: ignore[attr-defined]  # compiled, without annotations

        return float(Config.metrics_report_interval_ms()) / 1000
    except Exception:  # noqa: BLE001  # whatever this Ray lacks
        return 10.0


def call_after_init(function: Callable[[], None]) -> bool:
    """Have Ray call a function whenever `ray.init` connects this process; return False if Ray cannot (yet).

    Without it: the flush thread notices within a second.
    """
    hooks = getattr(sys.modules.get("ray._private.worker"), "_post_init_hooks", None)
    if hooks is None:
        return False
    hooks.append(function)
    return True


def session_folder() -> Path | None:
    """Return this node's folder of the Ray session this process belongs to.

    Without it (None): no timeline is captured and no stacks are written; recording goes on.
    """
    try:
        node = sys.modules["ray._private.worker"]._global_node
        return Path(node.get_session_dir_path()) if node is not None else None
    except Exception:  # noqa: BLE001  # whatever this Ray lacks
        return None


def raylet_socket() -> str | None:
    """Return the path of the socket at which this node's raylet listens.

    Without it: a driver learns some ten seconds later, from the control store, that its node has died.
    """
    try:
        name = sys.modules["ray._private.worker"]._global_node.raylet_socket_name
        return str(name) if name else None
    except Exception:  # noqa: BLE001  # whatever this Ray lacks
        return None


def connection() -> object:
    """Return what identifies this process's connection to Ray; it differs after `ray.shutdown()` and `ray.init()`.

    Without it (None): the run's name is published once per process.
    """
    try:
        return sys.modules["ray._private.worker"].global_worker.current_cluster_and_job
    except Exception:  # noqa: BLE001  # whatever this Ray lacks
        return None


def in_task_pool() -> bool:
    """Return whether this process is one of Ray's pool, which run tasks: neither a driver nor an actor.

    Without it (False): where monitors are in tasks, a process that Ray ends because it is idle shows as stalled.
    """
    try:
        ray = sys.modules["ray"]
        worker = sys.modules["ray._private.worker"].global_worker
        return bool(worker.mode == ray.WORKER_MODE and worker.actor_id.is_nil())
    except Exception:  # noqa: BLE001  # whatever this Ray lacks
        return False


def referenced_objects() -> set[str] | None:
    """Return the ids of the objects this process refers to, by Ray's own count.

    Without it (None): only `DriverMonitor.release` ends what `hold` began.
    """
    try:
        worker = sys.modules["ray._private.worker"].global_worker
        return {counted.decode() for counted in worker.core_worker.get_all_reference_counts()}
    except Exception:  # noqa: BLE001  # whatever this Ray lacks
        return None


def awaited_actors() -> list[str]:
    """Return the ids of the actors whose results this process waits for in `ray.get` or `ray.wait` at this moment.

    Without it (empty): the worker that a process waits for is not named.
    """
    try:
        ray = sys.modules["ray"]

        refs: dict[Any, None] = {}
        for frame in sys._current_frames().values():
            refs.update(dict.fromkeys(_refs_awaited_in(frame)))
        if not refs:
            return []
        _, pending = ray.wait(list(refs), num_returns=len(refs), timeout=0, fetch_local=False)
        actors = dict.fromkeys(ref.task_id().actor_id().hex() for ref in pending)
        return [actor for actor in actors if not actor.startswith("f" * 24)]  # that of tasks, which have no actor
    except Exception:  # noqa: BLE001  # whatever this Ray lacks
        return []


def _refs_awaited_in(innermost: Any) -> list[Any]:
    from ray import ObjectRef

    frame = innermost
    while frame is not None:
        code = frame.f_code
        if code.co_name in ("get", "wait") and code.co_filename.endswith("ray/_private/worker.py"):
            names = frame.f_locals.get("object_refs"), frame.f_locals.get("ray_waitables")
            values = [each for value in names for each in (value if isinstance(value, list | tuple) else [value])]
            return [value for value in values if isinstance(value, ObjectRef)]
        frame = frame.f_back
    return []


def is_dead(actor_id: str) -> bool:
    """Return whether Ray has given an actor up for good.

    Without it (False): an RLlib runner that is not restarted any more shows as restarting.
    """
    try:
        from ray._private.state import actors

        return bool(actors(actor_id)["State"] == "DEAD")
    except Exception:  # noqa: BLE001  # whatever this Ray lacks
        return False


def record_zero(recorder: Any, tags: Mapping[str, str]) -> None:
    """Export a counter's series as 0; `Counter.inc(0)` raises.

    Without it: a series starts with its first event, which `increase()` then does not see.
    """
    record = getattr(recorder, "_record", None)
    if record is not None:
        record(0.0, dict(tags))


def is_actor_class(cls: object) -> bool:
    """Return whether `ray.remote` made this class. Without it: `instrument` takes plain classes only."""
    actor = sys.modules.get("ray.actor")
    return actor is not None and isinstance(cls, actor.ActorClass)


def class_inside(actor_class: Any) -> object:
    """Return the class that `ray.remote` was given. Without it: `instrument` takes plain classes only."""
    return actor_class.__ray_metadata__.modified_class


def original_class(cls: type) -> type:
    """Return the class as the user wrote it, of one that Ray has derived. Without it: pickles name Ray's class."""
    original: type = getattr(cls, "__ray_actor_class__", cls)
    return original


def actor_options(actor_class: Any) -> dict[str, Any]:
    """Return the options given to `ray.remote`. Without it: a derived actor class has Ray's default options."""
    return dict(getattr(actor_class, "_default_options", None) or {})


def send_tokens() -> None:
    """Have Ray reread `RAY_AUTH_MODE`, which it reads once, when imported. Without it: set the variable beforehand."""
    from ray._raylet import Config  # type: ignore[attr-defined]  # compiled, without annotations

    Config.initialize("")


def kv_get(key: bytes) -> bytes | None:
    """Return a value of the cluster's key-value store; raise where this Ray has none.

    Without it: every process needs `RAYMON_RUN` and `RAYMON_WORKER`, and keeps its counts until it has them.
    """
    from ray.experimental.internal_kv import _internal_kv_get

    value = _internal_kv_get(key)
    return bytes(value) if value else None


def kv_put(key: bytes, value: bytes, overwrite: bool) -> bool:
    """Put a value; return whether the key existed (then nothing is written unless `overwrite`). See `kv_get`."""
    from ray.experimental.internal_kv import _internal_kv_put

    return bool(_internal_kv_put(key, value, overwrite=overwrite))


def kv_delete(key: bytes) -> None:
    """Delete a key. See `kv_get`."""
    from ray.experimental.internal_kv import _internal_kv_del

    _internal_kv_del(key)


def kv_list(prefix: bytes) -> list[bytes]:
    """Return the keys with a prefix. See `kv_get`."""
    from ray.experimental.internal_kv import _internal_kv_list

    return list(_internal_kv_list(prefix))


def control_store_tables(address: str) -> Callable[[], tuple[list[Any], list[Any], list[Any]]]:
    """Return a function that reads (actors, worker processes, nodes) from the control store at `address`.

    It does not join the cluster. The entries are Ray's messages `ActorTableData` and `WorkerTableData`, and one mapping
    per node. Without it: incidents lack Ray's causes of death.
    """
    from ray import _raylet
    from ray.core.generated import gcs_pb2

    with contextlib.suppress(ImportError):  # Ray below 2.52 has no tokens
        from ray._private.authentication import authentication_token_setup

        authentication_token_setup.maybe_enable_token_auth_if_token_available(warn_if_disabled=False)
    accessor = _raylet.GlobalStateAccessor(  # type: ignore[attr-defined]  # compiled, without annotations
        _raylet.GcsClientOptions.create(address, None, True, False)  # type: ignore[attr-defined]  # likewise
    )
    accessor.connect()

    def read() -> tuple[list[Any], list[Any], list[Any]]:
        actors = [gcs_pb2.ActorTableData.FromString(raw) for raw in accessor.get_actor_table(None, None)]
        workers = [gcs_pb2.WorkerTableData.FromString(raw) for raw in accessor.get_worker_table()]
        return actors, workers, list(accessor.get_node_table())

    return read
