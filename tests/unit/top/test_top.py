"""`raymon top` as people and scripts use it."""

import json
import sys

import pytest
from metrics_pages import FakeCluster, FakeDriver, FakeWorker
from rich.console import Console
from support import ROOT, Command, poll
from synthetic import fleet, serve

from raymon.health import Finding, RunVerdict, WorkerVerdict, judged_workers, worst_first
from raymon.live.snapshot import snapshot_of
from raymon.top import command
from raymon.top.screen import screen
from raymon.views import RunView, WorkerView

KEYS = {"run", "verdict", "workers", "data_age_seconds", "source"}
WORKER_KEYS = {
    "worker",
    "state",
    "reason",
    "pid",
    "node",
    "steps_per_second",
    "latency_seconds",
    "last_progress_seconds_ago",
    "restarts",
    "rss_bytes",
    "policy_lag",
}


def raymon_top(*arguments):
    with Command("top", *arguments, cwd=ROOT) as command:
        return command.wait(60), command.text()


def drawn(snapshot, rows=None, width=150):
    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    with console.file:
        console.print(screen(snapshot, snapshot.run(), "nothing", rows))
    return console.export_text()


@pytest.fixture(scope="module")
def healthy():
    with serve(fleet(workers=4, nodes=2, runs=1)) as addresses:
        yield [part for address in addresses for part in ("--metrics-url", address)]


@pytest.fixture(scope="module")
def troubled():
    with serve(fleet(workers=4, nodes=1, runs=1, faults={1: "slow", 2: "stopped"})) as addresses:
        yield ["--metrics-url", addresses[0]]


def test_once_json_has_exactly_the_promised_shape_and_exit_code_0(healthy):
    code, text = raymon_top("--once", "--json", *healthy)
    told = json.loads(text)
    assert code == 0, text
    assert set(told) == KEYS
    assert set(told["verdict"]) == {"state", "severity", "sentence", "advice", "evidence", "findings"}
    assert len(told["workers"]) == 4
    for worker in told["workers"]:
        assert set(worker) == WORKER_KEYS
        assert set(worker["latency_seconds"]) == {"p50", "p95", "p99"}
        assert worker["state"] == "running"
        assert worker["steps_per_second"] > 0
        assert isinstance(worker["pid"], int)
        assert isinstance(worker["restarts"], int)
    assert told["data_age_seconds"] < 5


def test_once_names_the_trouble_worst_first_and_exits_with_1(troubled):
    code, text = raymon_top("--once", "--seconds", "9", *troubled)
    assert code == 1, text
    assert "Worker stalled" in text
    assert text.index("\n2 ") < text.index("\n1 ") < text.index("\n0 "), text


def test_nothing_there_is_exit_code_2_with_a_sentence():
    code, text = raymon_top("--once", "--metrics-url", "127.0.0.1:1")
    assert code == 2
    assert "nothing listens there" in text
    code, text = raymon_top("--once", "--json", "--metrics-url", "127.0.0.1:1")
    told = json.loads(text)
    assert (code, set(told), told["run"], told["workers"]) == (2, KEYS, None, [])
    assert "nothing listens there" in told["verdict"]["sentence"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--json",), "--json goes with --once"),
        (("--once", "--metrics-url", "ftp://x"), "not a metrics endpoint"),
        (("--once", "--metrics-url", "a:1", "--discovery-file", "x"), "not several"),
    ],
)
def test_wrong_use_is_exit_code_2_with_a_sentence(arguments, told):
    code, text = raymon_top(*arguments)
    assert code == 2
    assert told in text
    assert "Traceback" not in text


def test_an_unknown_run_is_named_with_those_there_are(healthy):
    code, text = raymon_top("--once", "--run", "nonsense", *healthy)
    assert code == 2
    assert "There is no run 'nonsense'; there are run-0." in text


def test_live_in_a_terminal_redraws_until_interrupted(healthy):
    terminal = (sys.executable, "-c", "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)")
    with Command(sys.executable, "-m", "raymon", "top", *healthy, cwd=ROOT, program=terminal, TERM="xterm") as command:
        poll(lambda: command.text().count("steps/s") >= 4, 40, "several pictures", every=0.3)
        assert "\x1b[?1049h" in command.text(), "the terminal's own screen is left alone"


def test_exit_codes_of_severities():
    codes = {severity: command.exit_code(RunVerdict((Finding("x", severity, "X."),))) for severity in command._EXIT}
    assert codes == {"ok": 0, "info": 0, "warning": 1, "critical": 1, "unknown": 2}
    assert command.exit_code(None) == 2


def test_what_came_over_the_network_is_never_markup():
    hostile = "[bold red]x[/] [link=http://evil]y[/link]"
    workers = (WorkerView(worker=hostile, activity="environment", heartbeat_age_seconds=0.1),)
    text = drawn(snapshot_of([RunView(run=hostile, state="training", data_age_seconds=0.1, workers=workers)]))
    assert text.count(hostile) == 3, "in the evidence, the numbers and the table"


def test_old_numbers_say_how_old_and_unknown_ones_are_dashes():
    text = drawn(snapshot_of([RunView(run="r", state="training", data_age_seconds=100.0)]))
    assert "data 1 min 40 s old" in text
    assert "steps/s \N{EN DASH}" in text


def test_a_thousand_workers_fit_the_screen_the_worst_on_top():
    made = FakeCluster(FakeDriver(expected=1000), *(FakeWorker(str(i)) for i in range(1000)))
    made.run(3)
    made.processes[500].activity = "starting"
    made.processes[501].beats = False
    snapshot = made.run(15)
    lines = drawn(snapshot, rows=40).splitlines()
    assert len(lines) <= 40
    assert [line.split()[0] for line in lines if line.startswith(("499", "500"))] == ["500", "499"]
    assert any("more" in line for line in lines)


def test_ranking_keeps_numbers_in_order_within_a_state():
    view = RunView(run="r", workers=tuple(WorkerView(worker=str(number)) for number in range(4)))
    states = ["running", "stalled", "waiting", "slow"]
    workers = tuple(WorkerVerdict(str(number), state, "why") for number, state in enumerate(states))
    verdict = RunVerdict((Finding("healthy", "ok", "X."),), workers)
    assert [worker.worker for worker, _ in worst_first(judged_workers(view, verdict))] == ["1", "3", "0", "2"]
