"""A real Prometheus with raymon's own configuration and rules, their intervals shortened for tests."""

import contextlib
import re
import time
from collections.abc import Iterator
from pathlib import Path

import yaml
from support import ROOT, Prometheus, running_prometheus

from generate import rules

CONFIG = ROOT / "prometheus" / "prometheus.yml"


@contextlib.contextmanager
def scraping(discovery: Path, folder: Path, rule_speed: float = 1.0, interval: str = "1s") -> Iterator[Prometheus]:
    """Run Debian's Prometheus with `prometheus/prometheus.yml`, its discovery file and its intervals replaced."""
    with running_prometheus(configure(discovery, folder, rule_speed, interval), folder / "data") as prometheus:
        yield prometheus


def configure(discovery: Path, folder: Path, rule_speed: float = 1.0, interval: str = "1s") -> Path:
    """Write that configuration and the rules into a folder; return the configuration's path."""
    config = yaml.safe_load(CONFIG.read_text())
    config["global"] = {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval}
    scrape, _verdicts = config["scrape_configs"]
    (discovered,) = scrape["file_sd_configs"]
    discovered.update(files=[str(discovery)], refresh_interval="1s")
    (folder / "rules.yml").write_text(quickened(rules.text(), rule_speed))
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    return path


def quickened(rules_text: str, speed: float) -> str:
    """Divide every duration of the rules (windows, offsets, holds and intervals) by `speed`."""

    def shorter(match: re.Match) -> str:
        seconds = int(match["number"]) * {"s": 1, "m": 60}[match["unit"]]
        return f"{match['before']}{seconds / speed * 1000:.0f}ms"

    return re.sub(r"(?P<before>\[|offset |for: |interval: )(?P<number>\d+)(?P<unit>[sm])\b", shorter, rules_text)


class Span:
    """A period for range queries, as Grafana asks for the whole time on the screen."""

    def __init__(self, prometheus: Prometheus, begin: float, step: float = 1.0) -> None:
        self.prometheus = prometheus
        self.begin = begin
        self.end = time.time()
        self.step = step

    @property
    def seconds(self) -> float:
        """Return the length of the period."""
        return self.end - self.begin

    def series(self, expression: str) -> list:
        """Return the series that have a value anywhere in the period."""
        parameters = {"start": str(self.begin), "end": str(self.end), "step": str(self.step)}
        return list(self.prometheus.api("query_range", query=expression, **parameters)["result"])
