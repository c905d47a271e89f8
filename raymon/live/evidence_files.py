"""Read what the processes of a run left behind while they made no progress, on this machine and on other nodes.

    >>> EvidenceFiles().read([("192.0.2.1", 4711)])  # no such node here, and no dashboard to ask
    {}

`raymon.monitor` writes two small files per process into Ray's folder of logs. On this machine they are read from disk;
those of other nodes come through the Ray Dashboard, which asks the agent of each node; processes there that are well
write their stacks after one file has been read (`raymon.monitor.stack_request`). Nothing joins the cluster. Ray's
token goes to a dashboard that the user named, and otherwise only to that of a Ray of this user's or root's.
"""

import threading
import time
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Final
from urllib.parse import urlencode

from raymon.cluster import discovery
from raymon.cluster.auth import cluster_is_trusted, headers_for
from raymon.cluster.control_store import ask_control_store
from raymon.cluster.http import get
from raymon.monitor.native_stacks import dump_name
from raymon.monitor.private_files import FOLDER
from raymon.monitor.process_evidence import MOST_BYTES, MOST_DUMP_BYTES, ProcessEvidence, parse
from raymon.monitor.process_evidence import read as read_here
from raymon.monitor.stack_request import CONTENT as REQUEST_CONTENT
from raymon.monitor.stack_request import NAME as REQUEST
from raymon.monitor.standstill import file_name

MOST_NODES: Final = 32
"""Nodes asked at one time."""
MOST_REMOTE: Final = 64
"""Processes on other nodes that are read at one time."""
ANSWER_SECONDS: Final = 1.4
"""After a request: the flush thread looks once a second, and another thread takes the stacks."""
_FIND_SECONDS: Final = 60.0
_PARALLEL: Final = 8

Headers = Mapping[str, str]
Process = tuple[str, int]
"""Address of the node and process id on it."""


class EvidenceFiles:
    """Reads the files; safe to use from several threads.

    Args:
        dashboard_url: The Ray Dashboard, if the user named one. Otherwise that of a cluster with a node on this machine
            is looked up at the first request for another node, which takes seconds.
    """

    def __init__(self, dashboard_url: str = "") -> None:
        base = dashboard_url if "://" in dashboard_url or not dashboard_url else f"http://{dashboard_url}"
        self._named = base.rstrip("/")
        self._found: dict[str, bool] = {}
        self._found_at = float("-inf")
        self._lock = threading.Lock()

    def read(
        self, processes: Iterable[Process], seconds: float = 3.0, request: bool = False
    ) -> dict[Process, ProcessEvidence]:
        """Return what was left behind, by process; processes that left nothing, or nothing readable, are missing.

        Takes at most about `seconds`, longer only while it looks for a dashboard, and never raises. Call it from a
        thread that may wait, unless every process is on this machine.

        Args:
            processes: The processes to read.
            seconds: How long that may take.
            request: Whether to request the stacks of processes on other nodes that are well.
        """
        deadline = time.monotonic() + seconds
        raylets = discovery.raylets()
        here = {raylet.node_address for raylet in raylets}
        evidence: dict[Process, ProcessEvidence] = {}
        elsewhere: dict[str, list[int]] = {}
        for node, pid in processes:
            if node not in here:
                elsewhere.setdefault(node, []).append(pid)
                continue
            for session in dict.fromkeys(raylet.session_dir for raylet in raylets if raylet.node_address == node):
                if left_behind := read_here(session, pid):
                    evidence[node, pid] = left_behind
                    break
        if elsewhere:
            dashboards = self._dashboards([raylet.gcs_address for raylet in raylets])
            remote = self._read_remote(dashboards, elsewhere, deadline)
            if request:
                later: Mapping[Process, ProcessEvidence] = {}
                if requested_at := _request(dashboards, elsewhere, deadline):
                    time.sleep(max(0.0, min(requested_at + ANSWER_SECONDS, deadline - 0.5) - time.monotonic()))
                    later = self._read_remote(dashboards, elsewhere, deadline)
                remote = _answered(remote, later)
            evidence.update(remote)
        return evidence

    @staticmethod
    def _read_remote(
        dashboards: Mapping[str, Headers], nodes: Mapping[str, Collection[int]], deadline: float
    ) -> dict[Process, ProcessEvidence]:
        if not dashboards:
            return {}
        with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="raymon-stacks") as pool:
            chosen = list(nodes)[:MOST_NODES]
            listed = dict(zip(chosen, pool.map(lambda node: _listed(dashboards, node, deadline), chosen), strict=True))
            wanted = [
                (url, dashboards[url], node, pid, names)
                for node, (url, names) in listed.items()
                for pid in nodes[node]
                if {file_name(pid), dump_name(pid)} & names
            ][:MOST_REMOTE]
            texts = pool.map(lambda each: _fetch(each[0], each[1], each[2], each[3], each[4], deadline), wanted)
            files = {(node, pid): text for (_, _, node, pid, _), text in zip(wanted, texts, strict=True)}
        now = time.time()  # the age of a dump is not known: it is as old as it has to be at least
        read = {(node, pid): parse(pid, own, dump, now) for (node, pid), (own, dump) in files.items()}
        return {process: evidence for process, evidence in read.items() if evidence is not None}

    def _dashboards(self, clusters: Iterable[str]) -> dict[str, Headers]:
        """Return URL to headers of the dashboards to ask.

        Those of the clusters of this machine's nodes are looked for once a minute. Whether one may be sent the token is
        decided at each request, since its port may have passed to another user.
        """
        if self._named:
            return {self._named: headers_for(self._named, named=True)}
        with self._lock:
            if time.monotonic() - self._found_at > _FIND_SECONDS:
                self._found_at = time.monotonic()
                self._found = {}
                for address in dict.fromkeys(clusters):
                    trusted = cluster_is_trusted(address)
                    if url := ask_control_store(address, send_token=trusted).dashboard_url:
                        self._found[url] = trusted
            return {url: headers_for(url, cluster_trusted=trusted) for url, trusted in self._found.items()}


def _request(dashboards: Mapping[str, Headers], nodes: Iterable[str], deadline: float) -> float:
    """Request the stacks of the processes of some nodes; return when, by the monotonic clock, 0 if no node took it."""

    def taken(node: str) -> bool:
        replies = (_get_file(url, headers, node, REQUEST, MOST_BYTES, deadline) for url, headers in dashboards.items())
        return any(REQUEST_CONTENT.strip() in reply for reply in replies)

    with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="raymon-stacks") as pool:
        took = list(pool.map(taken, list(nodes)[:MOST_NODES]))
    return time.monotonic() if any(took) else 0.0


def _answered(
    before: Mapping[Process, ProcessEvidence], after: Mapping[Process, ProcessEvidence]
) -> dict[Process, ProcessEvidence]:
    """Return the newer evidence, without the stacks of healthy processes that answered only an earlier request."""
    merged = {**before, **after}
    for process, evidence in merged.items():
        earlier = before.get(process)
        if evidence.state == "none" and earlier is not None and earlier.written == evidence.written:
            merged[process] = replace(evidence, where="", stacks=(), requested=False)
    return merged


def _listed(dashboards: Mapping[str, Headers], node: str, deadline: float) -> tuple[str, frozenset[str]]:
    """Return the first dashboard that knows a node and the names of the files there."""
    for url, headers in dashboards.items():
        query = {"node_ip": node, "glob": f"{FOLDER}/*", "timeout": _whole_seconds(deadline)}
        reply = get(f"{url}/api/v0/logs?{urlencode(query)}", _left(deadline), headers, MOST_DUMP_BYTES)
        data = reply.json().get("data") if reply.ok else None
        if isinstance(data, dict):
            return url, frozenset(_names(data.get("result")))
    return "", frozenset()


def _names(value: Any) -> Iterable[str]:  # noqa: ANN401  # any JSON: Ray sorts the names into lists by kind
    lists = value.values() if isinstance(value, dict) else [value]
    for names in lists:
        for name in names if isinstance(names, list) else ():
            if isinstance(name, str) and name.startswith(f"{FOLDER}/"):
                yield name.removeprefix(f"{FOLDER}/")


def _fetch(
    url: str, headers: Headers, node: str, pid: int, names: Collection[str], deadline: float
) -> tuple[bytes, bytes]:
    """Return the two files of a process; empty where there is none."""

    def content(name: str, most_bytes: int) -> bytes:
        if name not in names:
            return b""
        body = _get_file(url, headers, node, name, most_bytes, deadline)
        return body[max(0, body.find(b"{")) :]  # older Rays put a mark before the file

    return content(file_name(pid), MOST_BYTES), content(dump_name(pid), MOST_DUMP_BYTES)


def _get_file(url: str, headers: Headers, node: str, name: str, most_bytes: int, deadline: float) -> bytes:
    """Return a file in raymon's folder of logs on a node; empty if it cannot be read."""
    query = {"node_ip": node, "filename": f"{FOLDER}/{name}", "lines": -1, "timeout": _whole_seconds(deadline)}
    reply = get(f"{url}/api/v0/logs/file?{urlencode(query)}", _left(deadline), headers, most_bytes)
    return reply.body if reply.ok else b""


def _left(deadline: float) -> float:
    return max(0.1, deadline - time.monotonic())


def _whole_seconds(deadline: float) -> int:
    return max(1, round(_left(deadline)))
