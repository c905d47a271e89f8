"""How `raymon up` configures and starts Prometheus."""

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from raymon.cluster import discovery
from raymon.cluster.http import get
from raymon.stack import files
from raymon.stack.sources import Sources

DEFAULT_PORT: Final = 9090
RETENTION: Final = "30d"
RELOAD_SECONDS: Final = 15.0
"""How long a running Prometheus gets to reload its configuration."""
# jobs must have different names, but a series keeps its labels when its node is found in another way
_JOB: Final = [{"target_label": "job", "replacement": "ray"}]


def config(sources: Sources, directory: Path) -> str:
    """Return the text of `prometheus.yml`: Ray's nodes, `raymon export` and raymon's rules; loads in 2.42 and 3.x."""
    packaged = files.scrape_config()
    kept = {
        "follow_redirects": False,
        "metric_relabel_configs": packaged["scrape_configs"][0].get("metric_relabel_configs", []),
    }
    jobs: list[Mapping[str, Any]] = []
    if sources.temp_dirs:
        names = [str(folder / discovery.DISCOVERY_FILE) for folder in sources.temp_dirs]
        # Ray replaces the file by rename, which a watch can miss: the interval is what notices a new session
        discovered = {"files": names, "refresh_interval": "10s"}
        jobs.append({"job_name": "ray", "file_sd_configs": [discovered], **kept})
    for number, url in enumerate(sources.dashboard_urls):
        # a redirect would hand the token on to another host
        dashboard: dict[str, Any] = {"url": f"{url.rstrip('/')}/api/prometheus/sd", "follow_redirects": False}
        dashboard["refresh_interval"] = "10s"
        if sources.token_file:
            dashboard["authorization"] = {"type": "Bearer", "credentials_file": str(sources.token_file.resolve())}
        jobs.append({"job_name": f"ray-http-{number}", "http_sd_configs": [dashboard], "relabel_configs": _JOB, **kept})
    if sources.targets:
        static = [{"targets": list(sources.targets)}]
        jobs.append({"job_name": "ray-static", "static_configs": static, "relabel_configs": _JOB, **kept})
    # a file, so that a started or moved `raymon export` needs no reload
    verdicts = {"files": [str(export_targets(directory))], "refresh_interval": "10s"}
    jobs.append({"job_name": "raymon", "file_sd_configs": [verdicts], "follow_redirects": False})
    return "# Written by raymon up; changes are lost at its next start.\n" + yaml.safe_dump(
        {
            "global": packaged["global"],
            "rule_files": [str(path) for path in files.rule_files()],
            "scrape_configs": jobs,
        },
        sort_keys=False,
    )


def export_targets(directory: Path) -> Path:
    """Return the file with the address of `raymon export`, in Prometheus's format for discovery."""
    return directory / "export-targets.json"


def command(program: str, directory: Path, port: int) -> list[str]:
    """Return how to start Prometheus on the loopback with its data below `directory`."""
    return [
        program,
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'prometheus-data'}",
        f"--storage.tsdb.retention.time={RETENTION}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]


def reload_config(pid: int, url: str, log: Path) -> str:
    """Have a running Prometheus reload its configuration; return why it did not, empty when it did."""
    before, begin = _loaded_at(url), log.stat().st_size if log.exists() else 0
    os.kill(pid, signal.SIGHUP)
    deadline = time.monotonic() + RELOAD_SECONDS
    while time.monotonic() < deadline:
        if _loaded_at(url) > before:
            return ""
        if refusal := _refusal(log, begin):
            return f"it refused its new configuration: {refusal}"
        time.sleep(0.1)
    return f"it did not load its new configuration within {RELOAD_SECONDS:g} s; see {log}"


def _loaded_at(url: str) -> float:
    """Return when Prometheus last loaded its configuration, as a Unix time; 0 when it does not say."""
    for line in get(f"{url}/metrics", timeout=2.0).body.decode(errors="replace").splitlines():
        name, _, value = line.partition(" ")
        if name == "prometheus_config_last_reload_success_timestamp_seconds":
            return float(value)
    return 0.0


def _refusal(log: Path, begin: int) -> str:
    """Return what the log says of a refused configuration after its first `begin` bytes."""
    with log.open("rb") as written:
        written.seek(begin)
        lines = written.read().decode(errors="replace").splitlines()
    refused = [line for line in lines if "Error reloading config" in line]
    return refused[0].partition(" err=")[2].strip('"').replace('\\"', '"') if refused else ""
