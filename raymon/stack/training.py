"""The stack for the length of one training run, as `raymon train --stack` wants it."""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from raymon.stack import discovery, state
from raymon.stack.prometheus_server import Sources
from raymon.stack.running import Options, Stack, start_stack


def start_before_ray(temp_dir: Path | None = None) -> Stack:
    """Start what is installed; put the result's `environment` into `os.environ` before Ray starts.

    A stack that runs already is used; `Stack.stop` leaves running what other runs use or `raymon up` asked for.

    Args:
        temp_dir: Ray's temp dir, None for its default.
    """
    return start_stack(Options(sources=Sources(temp_dirs=(temp_dir or discovery.ray_temp_dir(),)), add_sources=True))


def follow(stack: Stack, metrics_urls: Sequence[str]) -> str:
    """Have Prometheus scrape these pages where no discovery file on this machine names them.

    That is so for a Ray without its dashboard and for a cluster that was joined from elsewhere.

    Returns:
        Empty, or one sentence: what the user has to do, because a Prometheus that others use is not changed.
    """
    known = Sources.from_plain(state.read(stack.directory).sources)
    named = {target for folder in known.temp_dirs for target in _fresh_targets(folder)}
    targets = tuple(host for host in (urlsplit(url).netloc for url in metrics_urls) if host not in named)
    if not targets or not stack.prometheus_url:
        return ""
    if "prometheus" not in stack.started:
        flags = " ".join(f"--target {target}" for target in targets)
        return f"Prometheus at {stack.prometheus_url} does not scrape this cluster yet: raymon up {flags}"
    start_stack(Options(stack.directory, Sources(targets=targets), with_grafana=False, add_sources=True))
    return ""


def _fresh_targets(temp_dir: Path) -> tuple[str, ...]:
    found = discovery.read_discovery(temp_dir)
    return found.targets if found.fresh else ()
