"""A Prometheus of its own, for benchmarks: its API, its rules and what it takes of the machine."""

import contextlib
import json
import os
import signal
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

PROMETHEUS: Final = Path(__file__).resolve().parent.parent / "prometheus"
"""The packaged configurations and rules."""


class Server:
    """A running Prometheus and its HTTP API."""

    def __init__(self, url: str, process: subprocess.Popen[bytes], config: Path) -> None:
        self.url = url
        self._process = process
        self._config = config

    def load(self, rule_files: Sequence[Path]) -> None:
        """Load files of rules."""
        config = yaml.safe_load(self._config.read_text())
        self._config.write_text(yaml.safe_dump({**config, "rule_files": [str(path) for path in rule_files]}))
        self._process.send_signal(signal.SIGHUP)

    def rule_groups(self) -> dict[str, float]:
        """Return the groups of rules by name, with the seconds that the last evaluation took; 0 before the first."""
        groups = self.api("rules")["groups"]
        return {group["name"]: float(group["evaluationTime"]) for group in groups}

    def api(self, path: str, **parameters: str) -> Any:  # noqa: ANN401  # JSON
        """Return the data of a reply."""
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}") as reply:
            return json.load(reply)["data"]

    def ready(self) -> bool:
        """Return whether it answers."""
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/-/ready") as reply:
            return bool(reply.status == 200)
        return False

    def memory_bytes(self) -> int:
        """Return its resident memory."""
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def processor_seconds(self) -> float:
        """Return its CPU seconds."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def prometheus(folder: Path, discovery: Path, port: int) -> Iterator[Server]:
    """Run Debian's Prometheus with raymon's configuration, without rules, and another discovery file."""
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    config["scrape_configs"][0]["file_sd_configs"][0]["files"] = [str(discovery)]
    config["rule_files"] = []
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    command = [
        "prometheus",
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
        "--web.enable-remote-write-receiver",
        "--log.level=error",
    ]
    with subprocess.Popen(command) as process:
        server = Server(f"http://127.0.0.1:{port}", process, folder / "prometheus.yml")
        try:
            while not server.ready():
                if process.poll() is not None:
                    raise SystemExit("benchmarks: Prometheus ended at once; see above")
                time.sleep(0.2)
            yield server
        finally:
            process.terminate()
