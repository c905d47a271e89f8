"""Checks of Ray: the package, the cluster, its token, its metrics and raymon's families among them."""

import importlib.metadata
import shlex
import time
from typing import Final

from raymon import catalog
from raymon.cluster import discovery
from raymon.cluster.auth import PLACES, unencrypted, unencrypted_cluster
from raymon.cluster.start import missing_modules
from raymon.health import THRESHOLDS
from raymon.stack.checks.inspection import Inspection
from raymon.stack.checks.outcome import Check, Outcome, absent, ok, problem, unknown

_ACCESS: Final = "on the head node: ray get-auth-token; here: export RAY_AUTH_TOKEN_PATH=FILE with that token"


def package(_: Inspection) -> Outcome:
    """Look for Ray with its dashboard and metrics in this Python."""
    try:
        version = importlib.metadata.version("ray")
    except importlib.metadata.PackageNotFoundError:
        return problem("Ray is not installed in this Python.", "pip install 'ray[default]'")
    if missing := missing_modules():
        return problem(
            f"Ray {version} is here, but not {', '.join(missing)}: plain `ray` exports no metrics.",
            f"pip install 'ray[default]=={version}'   (on every node)",
        )
    return ok(f"Ray {version} with its dashboard and metrics.")


def reachable(inspection: Inspection) -> Outcome:
    """Ask the control store for its nodes."""
    if not inspection.address:
        if inspection.options.metrics_urls or inspection.options.dashboard_url:
            return absent("No --address given: the cluster is judged by the URLs alone.")
        return problem(
            "No Ray runs on this machine and RAY_ADDRESS is not set.",
            "start a run (raymon train), or ray start --head, or name a cluster: raymon doctor --address HOST:PORT",
        )
    cluster = inspection.cluster
    if cluster.refused:
        return problem(f"The cluster at {inspection.address} refuses access: {cluster.error}.", _ACCESS)
    if cluster.error:
        return problem(
            f"The cluster at {inspection.address} does not answer: {cluster.error}.",
            "check the address (ray status --address HOST:PORT), the firewall and RAY_AUTH_TOKEN",
        )
    others = sorted({raylet.gcs_address for raylet in discovery.raylets()} - {inspection.address})
    more = f" Other clusters on this machine: {', '.join(others)} (--address looks at one)." if others else ""
    warning = unencrypted_cluster(inspection.address) if inspection.cluster_is_trusted else ""
    return ok(f"{inspection.address} has {len(cluster.nodes)} living node(s){warning and f'; {warning}'}.{more}")


def _without_token(inspection: Inspection) -> Outcome | None:
    """Ask the dashboard whether it wants a token; return None if it does."""
    mode = inspection.get(inspection.dashboard_url + "/api/authentication_mode")
    if not mode.ok and inspection.get(inspection.dashboard_url + "/api/version").ok:
        return ok("The cluster wants no token: its Ray is older than tokens.")
    if not mode.ok:
        return problem(
            f"The Ray Dashboard at {inspection.dashboard_url} does not answer: {mode.error}.",
            "check --dashboard-url; from elsewhere: ssh -L 8265:127.0.0.1:8265 HEAD, or ray start --dashboard-host",
        )
    return ok("The cluster wants no token.") if mode.json().get("authentication_mode") == "disabled" else None


def token(inspection: Inspection) -> Outcome:
    """Send the token to the dashboard."""
    if not inspection.dashboard_url:
        return absent("No Ray Dashboard to send a token to.")
    if without := _without_token(inspection):
        return without
    if not inspection.token:
        return problem(f"The cluster wants a token and there is none in {PLACES}.", _ACCESS)
    place = inspection.token.place
    if not inspection.dashboard_is_trusted:
        return unknown(
            f"The token from {place} was not sent to {inspection.dashboard_url}: its process is not yours.",
            f"if you trust that address: raymon doctor --dashboard-url {inspection.dashboard_url}",
        )
    reply = inspection.ask_dashboard("/api/version")
    if reply.status in (401, 403):
        return problem(
            f"The token from {place} is not this cluster's ({reply.error}).",
            _ACCESS,
        )
    if not reply.ok:
        return unknown(f"The dashboard answered {reply.error or reply.status} to /api/version.")
    if inspection.token.readable_by_others:
        return ok(
            f"The token from {place} is accepted, but every user of this machine can read it.",
            f"chmod 600 {shlex.quote(place)}",
        )
    if warning := unencrypted(inspection.dashboard_url):
        return ok(f"The token from {place} is accepted; {warning}.")
    return ok(f"The token from {place} is accepted.")


def endpoints(inspection: Inspection) -> Outcome:
    """GET every node's metrics page."""
    urls = inspection.metrics_urls
    if not urls:
        if inspection.cluster.nodes:
            return problem(
                "The nodes export no metrics: their metrics port is 0.", "pip install 'ray[default]' on every node"
            )
        return unknown("No metrics endpoint is known.", "raymon doctor --metrics-url http://NODE:PORT/metrics")
    down = {url: reply.error for url, reply in inspection.pages.items() if not reply.ok}
    if down:
        url, why = next(iter(down.items()))
        return problem(
            f"{len(down)} of {len(urls)} do not answer, such as {url}: {why}.",
            "open the port in the firewall; fix it with ray start --metrics-export-port=8080; check the node's agent "
            "in session_latest/logs/dashboard_agent.log",
        )
    size = sum(len(reply.body) for reply in inspection.pages.values())
    slowest = max(reply.seconds for reply in inspection.pages.values())
    return ok(f"{len(urls)} endpoint(s) answer, {size / 1000:.0f} kB, the slowest in {1000 * slowest:.0f} ms.")


def discovery_file(inspection: Inspection) -> Outcome:
    """Check that the file which Prometheus follows is written and complete."""
    discovery = inspection.discovery
    if discovery is None:
        return absent("The cluster's files are not on this machine; its Prometheus finds the nodes in another way.")
    start = "start Ray with its dashboard (include_dashboard=True), or give Prometheus the nodes: raymon up --target"
    if discovery.age_seconds is None:
        return problem(f"{discovery.path}: {discovery.error}, so a Prometheus that follows it finds no node.", start)
    if not discovery.fresh:
        return problem(
            f"{discovery.path} was last written {discovery.age_seconds:.0f} s ago: no head node writes it any more.",
            start,
        )
    nodes = {f"{node.address}:{node.metrics_port}" for node in inspection.cluster.nodes if node.metrics_port}
    if lacking := nodes - set(discovery.targets):
        return problem(
            f"{discovery.path} lacks {', '.join(sorted(lacking))}: it belongs to another cluster in the same temp dir.",
            "one cluster per temp dir: ray start --temp-dir=DIR, and raymon up --ray-temp-dir DIR",
        )
    return ok(f"{discovery.path} names {len(discovery.targets)} target(s), written {discovery.age_seconds:.0f} s ago.")


def families(inspection: Inspection) -> Outcome:
    """Look for raymon's families on the pages."""
    if not any(reply.ok for reply in inspection.pages.values()):
        return unknown("No metrics page to look at.")
    names = {key.name for key, _ in inspection.samples if key.name.startswith(catalog.PREFIX)}
    if not names:
        return problem(
            f"None of {len(inspection.pages)} page(s) has a {catalog.PREFIX}… family: no process records with raymon.",
            "start a run: raymon train; in a trainer of your own: raymon.Monitor in the worker (docs/instrument.md)",
        )
    runs = sorted({key.labels.get("run", "") for key, _ in inspection.samples if key.name in names} - {""})
    return ok(f"{len(names)} families of run(s) {', '.join(runs[:8])}{' …' if len(runs) > 8 else ''}.")


def gauges(inspection: Inspection) -> Outcome:
    """Check the heartbeat of the processes that record."""
    recorded = {
        (key.labels.get("run", ""), key.labels.get("worker", ""))
        for key, _ in inspection.samples
        if key.name.startswith(catalog.PREFIX)
    }
    if not recorded:
        return unknown("No process records.")
    now = time.time()
    beats: dict[tuple[str, str], float] = {}
    for key, value in inspection.samples:
        if key.name == catalog.HEARTBEAT.name:
            process = (key.labels.get("run", ""), key.labels.get("worker", ""))
            beats[process] = min(beats.get(process, float("inf")), now - value)
    if not beats:
        return absent("There are counters but no heartbeat: the runs have ended, or all their processes are dead.")
    late = {process: age for process, age in beats.items() if age > THRESHOLDS.driver_gone_seconds}
    if late:
        (run, worker), age = max(late.items(), key=lambda item: item[1])
        return problem(
            f"{len(late)} of {len(beats)} process(es) have lost their heartbeat, such as worker {worker} of {run}, "
            f"{age:.0f} s ago.",
            "raymon top shows which are stalled or dead; raymon profile shows where one hangs",
        )
    return ok(f"{len(beats)} process(es) have a heartbeat, the oldest {max(beats.values()):.1f} s ago.")


CHECKS: Final = (
    Check("ray-package", "Is ray[default] installed here?", package),
    Check("ray", "Does the cluster answer?", reachable),
    Check("token", "Is Ray's token found and accepted?", token),
    Check("endpoints", "Do the nodes' metrics pages answer?", endpoints),
    Check("discovery-file", "Is the file that Prometheus follows fresh?", discovery_file),
    Check("families", "Are raymon's families exported?", families),
    Check("gauges", "Are the processes that record alive?", gauges),
)
