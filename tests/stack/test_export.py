"""`raymon up` starts `raymon export`, which judges what Prometheus scrapes; Prometheus stores the verdicts."""

import re

from support import ROOT, Command, Prometheus, free_port, poll
from synthetic import fleet, serve

from raymon.cluster import ports
from raymon.health import REMARKS, RUN_STATES
from raymon.queries import verdicts
from raymon.stack import state
from raymon.stack.running import stop_stack


def test_verdicts_are_in_prometheus(tmp_path):
    directory = tmp_path / "stack"
    with serve(fleet(workers=4, nodes=1, runs=1)) as targets:
        flags = [f"--target={target}" for target in targets]
        port = free_port()
        try:
            with Command(
                "up", "--no-grafana", *flags, f"--prometheus-port={port}", f"--directory={directory}", cwd=ROOT
            ) as up:
                assert up.wait(60) == 0, up.text()
                assert re.search(r"export +http://127\.0\.0\.1:\d+ ", up.text())
            prometheus = Prometheus(f"http://127.0.0.1:{port}")
            series = poll(lambda: prometheus.query(verdicts.FINDINGS.fill()), 60, "a verdict is stored", every=0.5)
            assert {series["metric"]["code"] for series in series} <= {*RUN_STATES, *REMARKS}
            (level,) = prometheus.query(verdicts.SEVERITY.fill())
            assert float(level["value"][1]) in range(1, len(verdicts.LEVELS) + 1)
            assert sum(float(s["value"][1]) for s in prometheus.query(verdicts.WORKER_STATES.fill())) == 4
            with Command("up", "--no-grafana", f"--directory={directory}", cwd=ROOT) as again:
                assert again.wait(60) == 0, again.text()
                assert "started" not in again.text(), "it runs already"
            export = state.read(directory).parts["export"]
        finally:
            stopped, _ = stop_stack(directory)
    assert stopped == ["export", "prometheus"]
    assert ports.is_free(export.port)


def test_port_in_use_is_one_sentence(tmp_path):
    with serve(fleet(workers=1, nodes=1, runs=1)) as (target, *_):
        taken = target.rpartition(":")[2]
        with Command("export", "--port", taken, "--metrics-url", target, cwd=tmp_path) as refused:
            assert refused.wait(30) == 2
            assert refused.text() == f"raymon export: port {taken} is in use; choose another with --port\n"
