"""Names of Ray's own families that raymon reads; `raymon.catalog` holds raymon's own.

Two of them need care: `ray_object_store_memory` counts the heap of workers too unless `Location` is chosen, and
`ray_actors` counts each actor twice unless `Source` is.
"""

from typing import Final

from raymon.queries.query import SESSION

STORE_USED: Final = "ray_object_store_used_memory"
STORE_AVAILABLE: Final = "ray_object_store_available_memory"
STORE_FALLBACK: Final = "ray_object_store_fallback_memory"
STORE_OBJECTS: Final = "ray_object_store_num_local_objects"
STORE_MEMORY: Final = "ray_object_store_memory"
SPILL_BYTES: Final = "ray_spill_manager_objects_bytes"
SPILL_REQUESTS: Final = "ray_spill_manager_request_total"
"""A gauge despite its name."""
OOM_KILLS: Final = "ray_memory_manager_worker_eviction_total"
"""Appears only after the first event."""
WORKER_FAILURES: Final = "ray_node_manager_unexpected_worker_failure_total"
"""Appears only after the first event."""
ACTORS: Final = "ray_actors"
RESOURCES: Final = "ray_resources"
"""Of one node: by `Name`, and by `State`, which is `AVAILABLE` or `USED`."""
UNPLACED: Final = "ray_scheduler_unscheduleable_tasks"
"""Tasks and actors that wait to be placed, by `Reason`."""
NODE_CPU: Final = "ray_node_cpu_utilization"
NODE_MEMORY_USED: Final = "ray_node_mem_used"
NODE_MEMORY_TOTAL: Final = "ray_node_mem_total"
NODE_DISK_FREE: Final = "ray_node_disk_free"
NODE_DISK_USED: Final = "ray_node_disk_usage"
NODE_SENT: Final = "ray_node_network_send_speed"
NODE_RECEIVED: Final = "ray_node_network_receive_speed"
NODE_GPU: Final = "ray_node_gpus_utilization"
NODE_GPU_MEMORY: Final = "ray_node_gram_used"
"""In MiB."""

LOCATION_SHARED: Final = 'Location="MMAP_SHM"'
LOCATION_SPILLED: Final = 'Location="SPILLED"'
LOCATION_STORE: Final = 'Location!="WORKER_HEAP"'
SOURCE_GCS: Final = 'Source="gcs"'


def of_ray(family: str, *matchers: str) -> str:
    """Return a selector of one of Ray's families in the selected sessions."""
    return f"{family}{{{','.join((SESSION, *matchers))}}}"
