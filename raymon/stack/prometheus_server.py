"""How `raymon up` configures and starts Prometheus."""

import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import yaml

from raymon.cluster import discovery
from raymon.stack import fetch, files

DEFAULT_PORT: Final = 9090
RETENTION: Final = "30d"
RELOAD_SECONDS: Final = 15.0
"""How long a running Prometheus gets to read its configuration again."""
# jobs must have different names, but a series shall keep its labels when its node is found in another way
_JOB: Final = [{"target_label": "job", "replacement": "ray"}]


@dataclass(frozen=True, slots=True)
class Sources:
    """Where the nodes' addresses come from; several may be given, none means the local Ray's temp dir.

    Attributes:
        temp_dirs: Ray temp dirs, each with a discovery file that follows its newest session.
        dashboard_urls: Ray Dashboards that list their nodes over HTTP.
        targets: Fixed `host:port` addresses.
        token_file: A file with the token the Ray Dashboards want, None for none.
    """

    temp_dirs: tuple[Path, ...] = ()
    dashboard_urls: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    token_file: Path | None = None

    def and_also(self, kept: Mapping[str, Any]) -> "Sources":
        """Return these sources and those of `plain`, each once."""
        before = Sources.from_plain(kept)
        return Sources(
            tuple(dict.fromkeys((*before.temp_dirs, *self.temp_dirs))),
            tuple(dict.fromkeys((*before.dashboard_urls, *self.dashboard_urls))),
            tuple(dict.fromkeys((*before.targets, *self.targets))),
            self.token_file or before.token_file,
        )

    def plain(self) -> dict[str, Any]:
        """Return the sources as JSON holds them."""
        return {
            "temp_dirs": [str(folder) for folder in self.temp_dirs],
            "dashboard_urls": list(self.dashboard_urls),
            "targets": list(self.targets),
            "token_file": str(self.token_file) if self.token_file else "",
        }

    @classmethod
    def from_plain(cls, kept: Mapping[str, Any]) -> "Sources":
        """Return what `plain` gave; nothing for an empty mapping."""
        file = kept.get("token_file")
        return cls(
            tuple(Path(folder) for folder in kept.get("temp_dirs", ())),
            tuple(kept.get("dashboard_urls", ())),
            tuple(kept.get("targets", ())),
            Path(file) if file else None,
        )

    @property
    def named(self) -> bool:
        """Whether there is any source."""
        return bool(self.temp_dirs or self.dashboard_urls or self.targets)

    def or_else(self, kept: Mapping[str, Any]) -> "Sources":
        """Return these sources, or those of `plain` when there are none."""
        if self.named:
            return self
        before = Sources.from_plain(kept)
        return replace(before, token_file=self.token_file or before.token_file)

    def or_local(self) -> "Sources":
        """Return these sources, or the local Ray's temp dir when there are none."""
        return self if self.named else Sources(temp_dirs=(discovery.ray_temp_dir(),))


def config(sources: Sources) -> str:
    """Return the text of `prometheus.yml`: Ray's nodes and raymon's rules; loads in 2.42 and 3.x."""
    packaged = files.scrape_config()
    kept = {"metric_relabel_configs": packaged["scrape_configs"][0].get("metric_relabel_configs", [])}
    jobs: list[Mapping[str, Any]] = []
    if sources.temp_dirs:
        names = [str(folder / discovery.DISCOVERY_FILE) for folder in sources.temp_dirs]
        # Ray replaces the file by rename, which a watch can miss: the interval is what notices a new session
        found = {"files": names, "refresh_interval": "10s"}
        jobs.append({"job_name": "ray", "file_sd_configs": [found], **kept})
    for number, url in enumerate(sources.dashboard_urls):
        asked: dict[str, Any] = {"url": f"{url.rstrip('/')}/api/prometheus/sd", "refresh_interval": "10s"}
        if sources.token_file:
            asked["authorization"] = {"type": "Bearer", "credentials_file": str(sources.token_file.resolve())}
        jobs.append({"job_name": f"ray-http-{number}", "http_sd_configs": [asked], "relabel_configs": _JOB, **kept})
    if sources.targets:
        static = [{"targets": list(sources.targets)}]
        jobs.append({"job_name": "ray-static", "static_configs": static, "relabel_configs": _JOB, **kept})
    return "# Written by raymon up; changes are lost at its next start.\n" + yaml.safe_dump(
        {
            "global": packaged["global"],
            "rule_files": [str(path) for path in files.rule_files()],
            "scrape_configs": jobs,
        },
        sort_keys=False,
    )


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


def read_config_again(pid: int, url: str, log: Path) -> str:
    """Have a running Prometheus read its configuration again; return why it did not, empty when it did."""
    before, begin = _taken_over_at(url), log.stat().st_size if log.exists() else 0
    os.kill(pid, signal.SIGHUP)
    deadline = time.monotonic() + RELOAD_SECONDS
    while time.monotonic() < deadline:
        if _taken_over_at(url) > before:
            return ""
        if refusal := _refusal(log, begin):
            return f"it refused its new configuration: {refusal}"
        time.sleep(0.1)
    return f"it did not take its new configuration over within {RELOAD_SECONDS:g} s; see {log}"


def _taken_over_at(url: str) -> float:
    """Return when Prometheus took its configuration over last, as a Unix time; 0 when it does not tell."""
    for line in fetch.get(f"{url}/metrics", timeout=2.0).body.decode(errors="replace").splitlines():
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
