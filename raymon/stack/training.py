"""The stack for the length of one training run, as `raymon train --stack` wants it."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlencode, urlsplit

from raymon import catalog
from raymon.cluster import discovery
from raymon.cluster.auth import find_token
from raymon.cluster.http import get
from raymon.stack import state
from raymon.stack.running import RunningStack, StackOptions
from raymon.stack.sources import Sources
from raymon.stack.starting import start_stack

LAST_WORD_SECONDS: Final = 8.0
"""A flush, an export and a scrape take 7 s at most in a cluster that raymon started."""


def start_before_ray(temp_dir: Path | None = None) -> RunningStack:
    """Start what is installed; put the result's `environment` into `os.environ` before Ray starts.

    A stack that runs already is used; `RunningStack.stop` leaves running what other runs use or `raymon up` asked for.

    Args:
        temp_dir: Ray's temp dir, None for its default.
    """
    sources = Sources(temp_dirs=(temp_dir or discovery.ray_temp_dir(),))
    return start_stack(StackOptions(sources=sources, add_sources=True, with_export=True))


def follow(stack: RunningStack, metrics_urls: Sequence[str], dashboard_url: str = "") -> str:
    """Have Prometheus scrape these pages where no discovery file on this machine names them.

    That is so for a Ray without its dashboard and for a cluster that was joined from elsewhere.

    Args:
        stack: The stack of the run.
        metrics_urls: The pages.
        dashboard_url: A Ray Dashboard that lists its nodes; Prometheus asks it, if its token is in a file.

    Returns:
        Empty, or one sentence: what the user has to do, because a Prometheus that others use is not changed.
    """
    known = state.read(stack.directory).sources
    named = {target for folder in known.temp_dirs for target in _fresh_targets(folder)}
    targets = tuple(host for host in (urlsplit(url).netloc for url in metrics_urls) if host not in named)
    if not targets or not stack.prometheus_url:
        return ""
    if stack.named:
        return f"add {', '.join(targets)} to what Prometheus at {stack.prometheus_url} scrapes, if it does not yet"
    if "prometheus" not in stack.started:
        flags = " ".join(f"--target {target}" for target in targets)
        return f"Prometheus at {stack.prometheus_url} does not scrape this cluster yet: raymon up {flags}"
    sources = _sources(targets, dashboard_url)
    start_stack(StackOptions(stack.directory, sources, with_grafana=False, add_sources=True))
    return ""


def _sources(targets: tuple[str, ...], dashboard_url: str) -> Sources:
    token = find_token()
    if dashboard_url and not token:
        return Sources(dashboard_urls=(dashboard_url,))
    if dashboard_url and (file := Path(token.place)).is_absolute():
        return Sources(dashboard_urls=(dashboard_url,), token_file=file)
    return Sources(targets=targets)


def await_last_word(stack: RunningStack, run: str, seconds: float = LAST_WORD_SECONDS) -> bool:
    """Wait until a Prometheus that outlives the run has seen how it ended; tell whether it has.

    A local Ray ends with the run, within less than a scrape: to Prometheus the cluster would have vanished in the
    middle of training, and the rules would say so.
    """
    if not stack.prometheus_url or "prometheus" in stack.started:
        return True
    name = run.replace("\\", "\\\\").replace('"', '\\"')
    query = urlencode({"query": f'{catalog.RUN_STATE.name}{{run="{name}",state=~"finished|stopped|failed"}} == 1'})
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        reply = get(f"{stack.prometheus_url}/api/v1/query?{query}", timeout=2.0)
        if reply.ok and b'"metric"' in reply.body:
            return True
        time.sleep(0.3)
    return False


def _fresh_targets(temp_dir: Path) -> tuple[str, ...]:
    listed = discovery.read_discovery(temp_dir / discovery.DISCOVERY_FILE)
    return listed.targets if listed.fresh else ()
