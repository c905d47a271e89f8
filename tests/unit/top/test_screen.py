"""What `raymon top` draws, from numbers."""

import io
import re

import pytest
from metrics_pages import FakeCluster, FakeDriver, FakeWorker
from page_views import NOW, page_html, run_view, snapshot, worker_view
from rich.console import Console

from raymon import catalog
from raymon.top.screen import screen
from raymon.views import NodeView


def drawn(taken, rows=None, elapsed=0.0):
    """The picture as text, `elapsed` seconds after the snapshot was taken."""
    console = Console(width=150, record=True, file=io.StringIO())
    console.print(screen(taken, taken.run(), "nothing", rows, NOW + elapsed))
    return console.export_text()


@pytest.mark.parametrize(("elapsed", "age"), [(0.0, "500 ms"), (20.0, "20 s"), (100.0, "1 min 40 s")])
def test_ages_grow_while_no_collection_ends(elapsed, age):
    text = drawn(snapshot(), elapsed=elapsed)
    assert f"data {age} old" in text
    assert any(line.startswith("0 ") and age in line for line in text.splitlines()), "the progress of worker 0"
    assert ("The last collection ended" in text) == (elapsed > 8.0)


def test_failed_collection_is_said_above_the_verdict():
    lines = drawn(snapshot(problem="The collection failed.", problem_since=1e9 - 30.0)).splitlines()
    assert lines[0].strip() == "! The collection failed. Since 30 s."
    assert "Healthy" in lines[1]


def test_text_from_the_network_is_never_markup():
    hostile = "[bold red]x[/] [link=http://evil]y[/link]"
    text = drawn(snapshot(run_view(worker_view(hostile, activity="environment"), run=hostile)))
    assert text.count(hostile) >= 2, "in the numbers and the table"
    escape = drawn(snapshot(run_view(worker_view("0"), run="a\x1b]0;title\x07b")))
    assert "\x1b" not in escape


def test_code_is_bold_and_keeps_its_backticks_only_without_styles():
    worker = worker_view("0", activity="environment", stuck_seconds=60.0, where="Env.step (sim.py:88)")
    taken = snapshot(run_view(worker, worker_view("1")))
    assert "in `Env.step (sim.py:88)`, for 1 min" in drawn(taken)
    console = Console(width=200, file=io.StringIO(), color_system="standard", force_terminal=True)
    console.print(screen(taken, taken.run(), "nothing", None, NOW))
    written = console.file.getvalue()
    bold = re.findall(r"\x1b\[1(?:;31)?mEnv.step \(sim.py:88\)\x1b\[0m", written)
    assert len(bold) == 2, "in the verdict and in the table"
    assert "`" not in written


def test_unknown_numbers_are_dashes():
    assert "steps/s \N{EN DASH}" in drawn(snapshot(run_view(steps_per_second=None)))


def test_references_are_shown_once_the_driver_has_held_one():
    driver = FakeDriver()
    fake = FakeCluster(driver, FakeWorker("0"))
    for held, shown in ((0.0, ""), (3.0, "refs 3"), (0.0, "refs 0")):
        driver.set(catalog.REFS_HELD, held)
        taken = fake.run(2)
        assert re.findall(r"refs \S+", drawn(taken)) == ([shown] if shown else [])
        assert ("References held" in page_html(taken)) == bool(shown)


def test_failing_rollouts_are_named():
    workers = worker_view("0", failures={"TypeError": 23.0}, rollouts_per_second=9.0), worker_view("1")
    text = drawn(snapshot(run_view(*workers)))
    assert text.count("fails: TypeError, 23/s") == 1


def test_silent_node_is_named_with_its_workers():
    silent = NodeView(
        "http://10.0.0.3:1/metrics", "10.0.0.3", silent_seconds=20.0, error="timed out", workers=("2", "5")
    )
    fine = NodeView("http://10.0.0.4:1/metrics", "10.0.0.4", silent_seconds=0.0)
    text = drawn(snapshot(run_view(nodes=(silent, fine))), elapsed=2.0)
    assert "node 10.0.0.3: has not answered for 22 s (timed out); workers 2 and 5 run on it" in text
    assert "10.0.0.4" not in text


def test_thousand_workers_fit_the_screen_with_the_worst_on_top():
    cluster = FakeCluster(FakeDriver(expected=1000), *(FakeWorker(str(i)) for i in range(1000)))
    cluster.run(3)
    cluster.processes[500].activity = "starting"
    cluster.processes[501].beats = False
    lines = drawn(cluster.run(15), rows=40).splitlines()
    assert len(lines) <= 40
    assert [line.split()[0] for line in lines if line.startswith(("499", "500"))] == ["500", "499"]
    assert any("more" in line for line in lines)
