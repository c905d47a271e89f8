"""Checks of Ray: the package, the cluster, its token, its metrics and raymon's families among them."""

import importlib.metadata
import importlib.util
import sys
import time
from typing import Final

from raymon import catalog
from raymon.cluster import discovery
from raymon.health import THRESHOLDS
from raymon.stack.checks.result import Check, Finding, absent, ok, problem, unknown
from raymon.stack.checks.situation import Situation

# The modules that `ray[default]` adds to `ray` and without which nothing is exported; found by name, never imported.
_DEFAULT_MODULES: Final = ("aiohttp", "aiohttp_cors", "colorful", "opencensus", "opentelemetry", "prometheus_client")

_LET_IN: Final = "on the head node: ray get-auth-token; here: export RAY_AUTH_TOKEN_PATH=FILE with that token"


def package(_: Situation) -> Finding:
    """Look for Ray with its dashboard and metrics here."""
    try:
        version = importlib.metadata.version("ray")
    except importlib.metadata.PackageNotFoundError:
        return problem("Ray is not installed in this Python.", "pip install 'ray[default]'")
    # a module that is loaded may have no spec (colorful replaces itself), and then find_spec raises
    missing = [name for name in _DEFAULT_MODULES if name not in sys.modules and importlib.util.find_spec(name) is None]
    if missing:
        return problem(
            f"Ray {version} is here, but not {', '.join(missing)}: plain `ray` exports no metrics.",
            f"pip install 'ray[default]=={version}'   (on every node)",
        )
    return ok(f"Ray {version} with its dashboard and metrics.")


def reachable(situation: Situation) -> Finding:
    """Ask the control store for its nodes."""
    asked = situation.asked
    if not situation.address:
        if asked.metrics_urls or asked.dashboard_url:
            return absent("No --address given: the cluster is judged by the URLs alone.")
        return problem(
            "No Ray runs on this machine and RAY_ADDRESS is not set.",
            "start a run (raymon train), or ray start --head, or name a cluster: raymon doctor --address HOST:PORT",
        )
    cluster = situation.cluster
    if cluster.refused:
        return problem(f"The cluster at {situation.address} does not let us in: {cluster.error}.", _LET_IN)
    if cluster.error:
        return problem(
            f"The cluster at {situation.address} does not answer: {cluster.error}.",
            "check the address (ray status --address HOST:PORT), the firewall and RAY_AUTH_TOKEN",
        )
    others = sorted({raylet.address for raylet in discovery.raylets()} - {situation.address})
    more = f" Other clusters on this machine: {', '.join(others)} (--address looks at one)." if others else ""
    return ok(f"{situation.address} has {len(cluster.nodes)} living node(s).{more}")


def token(situation: Situation) -> Finding:
    """Show the token to the dashboard."""
    if not situation.dashboard_url:
        return absent("No Ray Dashboard to show a token to.")
    mode = situation.get(situation.dashboard_url + "/api/authentication_mode")
    if not mode.ok:
        return problem(
            f"The Ray Dashboard at {situation.dashboard_url} does not answer: {mode.error}.",
            "check --dashboard-url; from elsewhere: ssh -L 8265:127.0.0.1:8265 HEAD, or ray start --dashboard-host",
        )
    if mode.json().get("authentication_mode") == "disabled":
        return ok("The cluster wants no token.")
    found, place = discovery.auth_token()
    if not found:
        return problem(
            "The cluster wants a token and there is none in RAY_AUTH_TOKEN, RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token.",
            _LET_IN,
        )
    reply = situation.ask_dashboard("/api/version")
    if reply.status in (401, 403):
        return problem(
            f"The token from {place} is not this cluster's ({reply.error}).",
            _LET_IN,
        )
    if not reply.ok:
        return unknown(f"The dashboard answered {reply.error or reply.status} to /api/version.")
    return ok(f"The token from {place} is accepted.")


def endpoints(situation: Situation) -> Finding:
    """GET every node's metrics page."""
    urls = situation.metrics_urls
    if not urls:
        if situation.cluster.nodes:
            return problem(
                "The nodes export no metrics: their metrics port is 0.", "pip install 'ray[default]' on every node"
            )
        return unknown("No metrics endpoint is known.", "raymon doctor --metrics-url http://NODE:PORT/metrics")
    down = {url: reply.error for url, reply in situation.pages.items() if not reply.ok}
    if down:
        url, why = next(iter(down.items()))
        return problem(
            f"{len(down)} of {len(urls)} do not answer, such as {url}: {why}.",
            "open the port in the firewall; fix it with ray start --metrics-export-port=8080; check the node's agent "
            "in session_latest/logs/dashboard_agent.log",
        )
    size = sum(len(reply.body) for reply in situation.pages.values())
    slowest = max(reply.seconds for reply in situation.pages.values())
    return ok(f"{len(urls)} endpoint(s) answer, {size / 1000:.0f} kB, the slowest in {1000 * slowest:.0f} ms.")


def discovery_file(situation: Situation) -> Finding:
    """Look whether the file that Prometheus follows is written and complete."""
    found = situation.discovery
    if found is None:
        return absent("The cluster's files are not on this machine; its Prometheus finds the nodes in another way.")
    start = "start Ray with its dashboard (include_dashboard=True), or give Prometheus the nodes: raymon up --target"
    if found.age_seconds is None:
        return problem(f"{found.path}: {found.error}, so a Prometheus that follows it finds no node.", start)
    if not found.fresh:
        return problem(
            f"{found.path} was last written {found.age_seconds:.0f} s ago: no head node writes it any more.", start
        )
    nodes = {f"{node['address']}:{node['metrics_port']}" for node in situation.cluster.nodes if node["metrics_port"]}
    if lacking := nodes - set(found.targets):
        return problem(
            f"{found.path} lacks {', '.join(sorted(lacking))}: it belongs to another cluster in the same temp dir.",
            "one cluster per temp dir: ray start --temp-dir=DIR, and raymon up --ray-temp-dir DIR",
        )
    return ok(f"{found.path} names {len(found.targets)} target(s), written {found.age_seconds:.0f} s ago.")


def families(situation: Situation) -> Finding:
    """Look for raymon's families on the pages."""
    if not any(reply.ok for reply in situation.pages.values()):
        return unknown("No metrics page to look at.")
    names = {key.name for key, _ in situation.samples if key.name.startswith(catalog.PREFIX)}
    if not names:
        return problem(
            f"None of {len(situation.pages)} page(s) has a {catalog.PREFIX}… family: no process records with raymon.",
            "start a run: raymon train; in a trainer of your own: raymon.Monitor in the worker (docs/instrument.md)",
        )
    runs = sorted({key.labels.get("run", "") for key, _ in situation.samples if key.name in names} - {""})
    return ok(f"{len(names)} families of run(s) {', '.join(runs[:8])}{' …' if len(runs) > 8 else ''}.")


def gauges(situation: Situation) -> Finding:
    """Look whether the processes that record still beat."""
    recorded = {
        (key.labels.get("run", ""), key.labels.get("worker", ""))
        for key, _ in situation.samples
        if key.name.startswith(catalog.PREFIX)
    }
    if not recorded:
        return unknown("No process records.")
    now = time.time()
    beats: dict[tuple[str, str], float] = {}
    for key, value in situation.samples:
        if key.name == catalog.HEARTBEAT.name:
            who = (key.labels.get("run", ""), key.labels.get("worker", ""))
            beats[who] = min(beats.get(who, float("inf")), now - value)
    if not beats:
        return absent("Counters are there but no process beats: the runs have ended, or all their processes are dead.")
    late = {who: age for who, age in beats.items() if age > THRESHOLDS.driver_gone_seconds}
    if late:
        (run, worker), age = max(late.items(), key=lambda item: item[1])
        return problem(
            f"{len(late)} of {len(beats)} process(es) stopped beating, such as worker {worker} of {run}: {age:.0f} s.",
            "raymon top shows which are stalled or dead; raymon profile tells where one hangs",
        )
    return ok(f"{len(beats)} process(es) beat, the oldest beat is {max(beats.values()):.1f} s old.")


CHECKS: Final = (
    Check("ray-package", "Is ray[default] installed here?", package),
    Check("ray", "Does the cluster answer?", reachable),
    Check("token", "Is Ray's token found and accepted?", token),
    Check("endpoints", "Do the nodes' metrics pages answer?", endpoints),
    Check("discovery-file", "Is the file that Prometheus follows fresh?", discovery_file),
    Check("families", "Are raymon's families exported?", families),
    Check("gauges", "Are the processes that record alive?", gauges),
)
