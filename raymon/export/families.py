"""Turn the collector's snapshot into the families that Prometheus scrapes: the verdict on each run and worker.

Only what holds now is exported: when a verdict changes, the series of the earlier one ends, so that no query sees two
at once. Label values are enumerated: codes, states and severities are those of `raymon.health`.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from raymon import catalog
from raymon.health import REMARKS, RUN_STATES, WORKER_SEVERITIES, RunVerdict
from raymon.live.snapshot import Snapshot

MOST_AGE_SECONDS: Final = 15.0
"""An older snapshot is not exported: no verdict is better than one that no longer holds."""
_CODES: Final = frozenset({*RUN_STATES, *REMARKS})


class Verdicts(Collector):
    """The families of the newest snapshot, for a registry of prometheus_client.

    Args:
        snapshot: Returns the newest snapshot, without waiting.
    """

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot

    def describe(self) -> Iterable[Metric]:
        """Return the families without samples: registering must not wait for a snapshot."""
        return (_family(family) for family in catalog.of("export"))

    def collect(self) -> Iterator[Metric]:
        """Yield the families; without samples if the snapshot is too old."""
        snapshot = self._snapshot()
        verdicts = snapshot.verdicts if snapshot.age_seconds() <= MOST_AGE_SECONDS else {}
        run_verdict, run_finding, worker_state = map(
            _family, (catalog.RUN_VERDICT, catalog.RUN_FINDING, catalog.WORKER_STATE)
        )
        for name, verdict in verdicts.items():
            run = catalog.ascii_label(name)  # as the families from Ray's exporter carry it
            _add_run(run, verdict, run_verdict, run_finding)
            for worker in verdict.workers:
                if worker.state in WORKER_SEVERITIES:
                    severity = WORKER_SEVERITIES[worker.state]
                    worker_state.add_metric([run, worker.worker, worker.state, severity], 1.0)
        yield from (run_verdict, run_finding, worker_state)


def _add_run(run: str, verdict: RunVerdict, verdicts: GaugeMetricFamily, findings: GaugeMetricFamily) -> None:
    if verdict.state in _CODES:
        verdicts.add_metric([run, verdict.state, verdict.severity], 1.0)
    for code, severity in dict.fromkeys((finding.code, finding.severity) for finding in verdict.findings):
        if code in _CODES:
            findings.add_metric([run, code, severity], 1.0)


def _family(family: catalog.Metric) -> GaugeMetricFamily:
    return GaugeMetricFamily(family.name, family.help, labels=family.all_labels)
