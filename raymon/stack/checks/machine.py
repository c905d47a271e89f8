"""Checks of the machine: ports, shared memory, clock, versions."""

import importlib.metadata
import os
import re
import time
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from raymon.cluster import ports as cluster_ports
from raymon.stack.checks.inspection import Inspection, ServiceAddress
from raymon.stack.checks.outcome import Check, Outcome, absent, ok, problem, unknown

SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - looked at, never written
OLDEST_RAY: Final = (2, 40)
NEWEST_RAY: Final = (2, 60)
"""The versions of Ray that raymon is tested with, both included: docs/compatibility.md."""
LEAST_SHARED_MEMORY: Final = 1_000_000_000
"""Docker gives a container 64 MB; Ray then falls back to files on disk, which is slow. Bytes."""
MOST_CLOCK_SKEW: Final = 3.0
"""Seconds; the `Date` header has a resolution of one, and verdicts on heartbeats begin at several."""


def ports(inspection: Inspection) -> Outcome:
    """Check that no other program uses the default ports; a named address is checked elsewhere."""
    others = []
    services: tuple[tuple[str, ServiceAddress, bool], ...] = (
        ("Prometheus", inspection.prometheus, inspection.has_prometheus),
        ("Grafana", inspection.grafana_service, inspection.has_grafana),
    )
    for name, service, there in services:
        if service.named or there:
            continue
        port = urlsplit(service.url).port or 0
        if not cluster_ports.is_free(port):
            others.append(f"{port} ({name}'s)")
    if others:
        return problem(
            f"Another program listens on {', '.join(others)}.",
            "raymon up uses other ports by itself; to see the program: ss -ltnp",
        )
    return ok("No other program uses the ports of Prometheus and Grafana.")


def shared_memory(inspection: Inspection) -> Outcome:
    """Look at the file system of the object store."""
    if inspection.raylet is None and inspection.address:
        return absent("No node of this cluster runs on this machine.")
    path = SHARED_MEMORY
    if not path.exists():
        return absent(f"This system has no {path}.")
    room = os.statvfs(path)
    total, free = room.f_frsize * room.f_blocks, room.f_frsize * room.f_bavail
    if total < LEAST_SHARED_MEMORY:
        return problem(
            f"{path} has {total / 1e6:.0f} MB: the object store falls back to files on disk.",
            "in a container: docker run --shm-size=8g, in compose shm_size: 8gb, in Kubernetes an emptyDir of medium "
            "Memory at /dev/shm",
        )
    if free < 0.05 * total:
        return problem(f"{path} is full: {free / 1e6:.0f} MB of {total / 1e6:.0f} MB are free.", "ls -l /dev/shm")
    return ok(f"{path} has {free / 1e9:.1f} GB free of {total / 1e9:.1f} GB.")


def clock(inspection: Inspection) -> Outcome:
    """Compare this machine's clock with the servers' `Date`."""
    skews = {}
    now = time.time()
    if inspection.has_prometheus:
        began = time.time()
        result = inspection.ask_prometheus("query", query="time()").get("result")
        if isinstance(result, list) and result:
            skews["Prometheus"] = float(result[0]) - (began + time.time()) / 2
    if inspection.dashboard_url:
        began = time.time()
        reply = inspection.get(inspection.dashboard_url + "/api/healthz")
        if reply.server_time is not None:  # a whole second: half of one later on average
            skews["the Ray Dashboard"] = reply.server_time + 0.5 - (began + time.time()) / 2
    if not skews:
        return unknown(
            f"No other clock to compare with (here it is {time.strftime('%H:%M:%S', time.gmtime(now))} UTC)."
        )
    name, skew = max(skews.items(), key=lambda item: abs(item[1]))
    if abs(skew) > MOST_CLOCK_SKEW:
        side = "ahead of" if skew > 0 else "behind"
        return problem(
            f"The clock of {name} is {abs(skew):.0f} s {side} this machine's: ages and alerts are wrong by that.",
            "on both machines: timedatectl set-ntp true; in WSL: sudo hwclock -s",
        )
    return ok(f"Agrees with {' and '.join(skews)} within {max(abs(s) for s in skews.values()):.1f} s.")


def ray_version(inspection: Inspection) -> Outcome:
    """Compare Ray's versions here, in the cluster and in raymon's tests."""
    cluster = inspection.cluster.ray_version
    if not cluster and inspection.dashboard_url:
        cluster = str(inspection.ask_dashboard("/api/version").json().get("ray_version", ""))
    try:
        here = importlib.metadata.version("ray")
    except importlib.metadata.PackageNotFoundError:
        here = ""
    version = cluster or here
    if not version:
        return unknown("No version of Ray is known.")
    if cluster and here and cluster != here:
        return problem(
            f"The cluster runs Ray {cluster}, this Python has {here}: drivers of another version are refused.",
            f"pip install 'ray[default]=={cluster}'",
        )
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    tested = f"{'.'.join(map(str, OLDEST_RAY))} to {'.'.join(map(str, NEWEST_RAY))}"
    if numbers < OLDEST_RAY:
        advice = "pip install --upgrade 'ray[default]'"
        return problem(f"Ray {version} is older than raymon supports ({tested}).", advice)
    if numbers > NEWEST_RAY:
        return unknown(f"Ray {version} is newer than raymon's tests ({tested}); names of its metrics may differ.")
    return ok(f"Ray {version}{'' if cluster else ' here'} is among the versions that raymon is tested with ({tested}).")


CHECKS: Final = (
    Check("ports", "Are the ports free or ours?", ports),
    Check("shared-memory", "Is /dev/shm large enough?", shared_memory),
    Check("clock", "Do the clocks agree?", clock),
    Check("ray-version", "Is this version of Ray known good?", ray_version),
)
