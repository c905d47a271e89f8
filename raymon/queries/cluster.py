"""Queries on the cluster: Ray's object store, actors, failures and nodes."""

from typing import Final

from raymon.queries import ray_families as ray
from raymon.queries.query import Query, top
from raymon.queries.ray_families import of_ray

STORE_USED_RATIO: Final = Query(
    "Object store used",
    "percentunit",
    "Shared memory in use divided by its size, all nodes together; Ray spills to disk when it is full.",
    f"sum({of_ray(ray.STORE_USED)}) / (sum({of_ray(ray.STORE_USED)}) + sum({of_ray(ray.STORE_AVAILABLE)}))",
    legend="",
)
STORE_BY_NODE: Final = Query(
    "Object store used, by node",
    "percentunit",
    "Shared memory in use divided by its size, on the ten fullest nodes.",
    top(
        f"sum by (NodeAddress) ({of_ray(ray.STORE_USED)}) / (sum by (NodeAddress) ({of_ray(ray.STORE_USED)})"
        f" + sum by (NodeAddress) ({of_ray(ray.STORE_AVAILABLE)}))"
    ),
    "{{NodeAddress}}",
)
STORE_SHARED: Final = Query(
    "Objects in shared memory",
    "bytes",
    "Bytes of objects in shared memory, on the ten nodes with the most.",
    top(f"sum by (NodeAddress) ({of_ray(ray.STORE_MEMORY, ray.LOCATION_SHARED)})"),
    "{{NodeAddress}}",
)
STORE_BY_LOCATION: Final = Query(
    "Objects by location",
    "bytes",
    "Bytes of objects in shared memory, on disk because it was full, and spilled; the workers' own heap is left out.",
    f"sum by (Location) ({of_ray(ray.STORE_MEMORY, ray.LOCATION_STORE)})",
    "{{Location}}",
)
STORE_OBJECTS: Final = Query(
    "Objects",
    "short",
    "Number of objects in the stores of the ten nodes with the most.",
    top(f"sum by (NodeAddress) ({of_ray(ray.STORE_OBJECTS)})"),
    "{{NodeAddress}}",
)
SPILLED: Final = Query(
    "Spilled to disk",
    "bytes",
    "Bytes of objects on disk because the store was full; reading them back is slow.",
    f"sum({of_ray(ray.STORE_MEMORY, ray.LOCATION_SPILLED)})",
    legend="",
)
SPILL_STATES: Final = Query(
    "Spilling by state",
    "bytes",
    "Bytes of objects pinned in memory, being spilled, spilled, being restored and restored.",
    f"sum by (State) ({of_ray(ray.SPILL_BYTES)})",
    "{{State}}",
)
SPILL_REQUESTS: Final = Query(
    "Spilled, restored, failed",
    "short",
    "Objects spilled and restored so far, and deletions that failed.",
    f"sum by (Type) ({of_ray(ray.SPILL_REQUESTS)})",
    "{{Type}}",
)
FALLBACK: Final = Query(
    "Allocated on disk",
    "bytes",
    "Bytes of objects that went to disk because shared memory was full; more than zero slows every fragment.",
    f"sum({of_ray(ray.STORE_FALLBACK)})",
    legend="",
)
OOM_KILLS: Final = Query(
    "Killed for memory",
    "short",
    "Worker processes that Ray killed because a node ran out of memory.",
    f"sum by (Name) ({of_ray(ray.OOM_KILLS)})",
    "{{Name}}",
)
FAILURES: Final = Query(
    "Ended unexpectedly",
    "short",
    "Worker processes that ended unexpectedly.",
    f"sum by (NodeAddress) ({of_ray(ray.WORKER_FAILURES)})",
    "{{NodeAddress}}",
)
ACTORS: Final = Query(
    "Actors by state",
    "short",
    "Actors by state, as Ray's control store counts them.",
    f"sum by (State) ({of_ray(ray.ACTORS, ray.SOURCE_GCS)})",
    "{{State}}",
)
NODE_CPU: Final = Query(
    "Processors of the nodes",
    "percent",
    "Utilization of all cores of the ten busiest nodes; above 95 % every process waits for a core.",
    top(f"max by (ip) ({of_ray(ray.NODE_CPU)})"),
    "{{ip}}",
)
NODE_MEMORY: Final = Query(
    "Memory of the nodes",
    "percentunit",
    "Memory in use divided by all memory, on the ten fullest nodes; Ray kills workers when it runs out.",
    top(f"max by (ip) ({of_ray(ray.NODE_MEMORY_USED)}) / max by (ip) ({of_ray(ray.NODE_MEMORY_TOTAL)})"),
    "{{ip}}",
)
NODE_DISK: Final = Query(
    "Disks of the nodes",
    "percentunit",
    "Space in use divided by all space, on the ten fullest nodes; Ray stops spilling when a disk is nearly full.",
    top(
        f"max by (ip) ({of_ray(ray.NODE_DISK_USED)}) / (max by (ip) ({of_ray(ray.NODE_DISK_USED)})"
        f" + max by (ip) ({of_ray(ray.NODE_DISK_FREE)}))"
    ),
    "{{ip}}",
)
NODE_SENT: Final = Query(
    "Network, sent",
    "binBps",
    "Bytes sent per second, on the ten nodes that send the most.",
    top(f"max by (ip) ({of_ray(ray.NODE_SENT)})"),
    "{{ip}}",
)
NODE_RECEIVED: Final = Query(
    "Network, received",
    "binBps",
    "Bytes received per second, on the ten nodes that receive the most.",
    top(f"max by (ip) ({of_ray(ray.NODE_RECEIVED)})"),
    "{{ip}}",
)
NODE_GPU: Final = Query(
    "GPUs of the nodes",
    "percent",
    "Utilization of the ten busiest GPUs.",
    top(f"max by (ip, GpuIndex) ({of_ray(ray.NODE_GPU)})"),
    "{{ip}} GPU {{GpuIndex}}",
)
NODE_GPU_MEMORY: Final = Query(
    "GPU memory of the nodes",
    "bytes",
    "Memory in use on the ten GPUs that use the most.",
    top(f"max by (ip, GpuIndex) ({of_ray(ray.NODE_GPU_MEMORY)}) * 1024 * 1024"),
    "{{ip}} GPU {{GpuIndex}}",
)
