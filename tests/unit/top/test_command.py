"""`raymon top` as people and scripts use it."""

import json
import sys

import pytest
from health_views import fleet as fleet_view
from health_views import snapshot_of
from support import ROOT, Command, poll
from synthetic import fleet, serve

from raymon.health import Finding, RunVerdict
from raymon.top import command

KEYS = {
    "run",
    "run_state",
    "verdict",
    "workers",
    "nodes",
    "phases",
    "flow",
    "driver",
    "ended",
    "data_age_seconds",
    "source",
    "problems",
}
WORKER_KEYS = {
    "worker",
    "state",
    "reason",
    "where",
    "process",
    "pid",
    "node",
    "steps_per_second",
    "latency_seconds",
    "last_progress_seconds_ago",
    "restarts",
    "rss_bytes",
    "policy_lag",
    "failures_per_second",
    "failures_total",
    "rollouts_total",
    "role",
    "phases",
    "flow",
}


def raymon_top(*arguments):
    with Command("top", *arguments, cwd=ROOT) as command:
        return command.wait(60), command.text()


@pytest.fixture(scope="module")
def healthy():
    with serve(fleet(workers=4, nodes=2, runs=1)) as addresses:
        yield [part for address in addresses for part in ("--metrics-url", address)]


@pytest.fixture(scope="module")
def troubled():
    with serve(fleet(workers=4, nodes=1, runs=1, faults={1: "slow", 2: "stopped"})) as addresses:
        yield ["--metrics-url", addresses[0]]


def test_once_json_has_the_promised_keys_and_exit_code_0(healthy):
    code, text = raymon_top("--once", "--json", "--seconds", "5", *healthy)
    data = json.loads(text)
    assert code == 0, text
    assert set(data) == KEYS
    assert set(data["verdict"]) == {"state", "severity", "sentence", "advice", "evidence", "findings"}
    assert len(data["workers"]) == 4
    for node in data["nodes"]:
        assert 0.0 < node["cpu_ratio"] < 1.0 < node["memory_used_bytes"] < node["memory_total_bytes"]
        assert (node["listed"], node["departure_reason"], node["clock_offset_seconds"]) == (True, None, 0.0)
    for worker in data["workers"]:
        assert set(worker) == WORKER_KEYS
        assert set(worker["latency_seconds"]) == {"p50", "p95", "p99"}
        assert worker["state"] == "running"
        assert worker["steps_per_second"] > 0
        assert isinstance(worker["pid"], int)
        assert isinstance(worker["restarts"], int)
    assert data["data_age_seconds"] < 5


def test_once_counts_its_seconds_from_the_first_page_on(monkeypatch):
    class SlowPage:
        """A collector whose first page takes six seconds."""

        def snapshot(self):
            return snapshot_of(*([fleet_view(0.1)] if now[0] >= 6.0 else []), taken_at=now[0])

    now = [0.0]
    monkeypatch.setattr(command, "POLL_SECONDS", 0.0)

    def clock():
        now[0] += 0.5
        return now[0]

    assert command.watch(SlowPage(), 7.0, clock).taken_at >= 13.0


def test_once_names_the_trouble_worst_first_and_exits_with_1(troubled):
    code, text = raymon_top("--once", "--seconds", "9", *troubled)
    assert code == 1, text
    assert "Worker stalled" in text
    assert text.index("\n2 ") < text.index("\n1 ") < text.index("\n0 "), text


@pytest.mark.parametrize("json_option", [(), ("--json",)])
def test_no_endpoint_is_exit_code_2_with_a_sentence(capsys, json_option):
    assert command.main(["--once", "--seconds", "0.5", "--metrics-url", "127.0.0.1:1", *json_option]) == 2
    text = capsys.readouterr().out
    assert "nothing listens there" in text
    if json_option:
        data = json.loads(text)
        assert (set(data), data["run"], data["workers"]) == (KEYS, None, [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--json"], "--json needs --once"),
        (["--once", "--metrics-url", "ftp://x"], "not a metrics endpoint"),
        (["--once", "--metrics-url", "a:1", "--discovery-file", "x"], "not several"),
    ],
)
def test_wrong_options_are_exit_code_2_with_a_sentence(capsys, arguments, message):
    with pytest.raises(SystemExit) as ended:
        command.main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_unknown_run_is_answered_with_the_known_ones(healthy, capsys):
    assert command.main(["--once", "--seconds", "2", "--run", "nonsense", *healthy]) == 2
    assert "There is no run 'nonsense'; there are run-0." in capsys.readouterr().out


def test_terminal_is_redrawn_until_interrupted(healthy):
    terminal = (sys.executable, "-c", "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)")
    with Command(sys.executable, "-m", "raymon", "top", *healthy, cwd=ROOT, program=terminal, TERM="xterm") as top:
        poll(lambda: top.text().count("steps/s") >= 4, 40, "several pictures", every=0.3)
        assert "\x1b[?1049h" in top.text(), "the alternate screen is used"


def test_exit_codes_of_severities():
    codes = {name: command.exit_code(RunVerdict((Finding("x", name, "X."),))) for name in command.EXIT_CODES}
    assert codes == {"ok": 0, "info": 0, "warning": 1, "critical": 1, "unknown": 2}
    assert command.exit_code(None) == 2
