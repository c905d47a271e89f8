"""Prometheus on our own configuration, quickened, for tests: discovery file and rules put in the right place."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import yaml
from support import ROOT, Prometheus, running_prometheus

from generate import rules

CONFIG = ROOT / "prometheus" / "prometheus.yml"


@contextlib.contextmanager
def scraping(discovery: Path, folder: Path, rule_speed: float = 1.0, interval: str = "1s") -> Iterator[Prometheus]:
    """Run Debian's Prometheus with `prometheus/prometheus.yml`, its discovery file and its intervals exchanged."""
    config = yaml.safe_load(CONFIG.read_text())
    config["global"] = {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval}
    (scrape,) = config["scrape_configs"]
    (discovered,) = scrape["file_sd_configs"]
    discovered.update(files=[str(discovery)], refresh_interval="1s")
    (folder / "rules.yml").write_text(rules.text(rule_speed))
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    with running_prometheus(folder / "prometheus.yml", folder / "data") as prometheus:
        yield prometheus


class Span:
    """A stretch of time in which queries are asked, as Grafana does with the whole stretch on the screen."""

    def __init__(self, prometheus: Prometheus, begin: float, step: float = 1.0) -> None:
        self.prometheus = prometheus
        self.begin = begin
        self.end = time.time()
        self.step = step

    def series(self, expression: str) -> list:
        """Return the series that have a value anywhere in the stretch."""
        parameters = {"start": str(self.begin), "end": str(self.end), "step": str(self.step)}
        return list(self.prometheus.api("query_range", query=expression, **parameters)["result"])
