"""Incidents on the page, read from files as the watcher writes them."""

import pytest
from page_views import NOW, run_view, snapshot, worker_view

from raymon.incident.store import IncidentStore
from raymon.page import layout
from raymon.page.choice import Choice
from raymon.page.incident_list import read
from raymon.views import WorkerLoss

DATA = {
    "run": "r",
    "code": "worker_stalled",
    "worker": "1",
    "sentence": "Worker 1 is stalled.",
    "opened_at": 1e9 - 30.0,
    "closed_at": None,
    "stacks": {"groups": [{"processes": ["worker 1"], "frames": ["recv (my_env.py:88)", "step (<my_env>.py:10)"]}]},
    "deaths": [
        {"kind": "ended", "worker": "1", "pid": 6, "sentence": "SIGKILL"},
        {"kind": "lost", "worker": "1", "sentence": "lost (error): ValueError: bad", "frames": ["act (<my_env>.py:3)"]},
        {"kind": "ended", "worker": "2", "pid": 7, "sentence": "SIGSEGV"},
    ],
}
BEFORE_DEATHS = {
    "view": {"workers": [{"worker": "1", "pid": 6}]},
    "cluster": {
        "actors": [{"class": "W", "pid": 6, "state": "DEAD", "cause": "SIGKILL"}],
        "ended_workers": [{"kind": "worker", "pid": 6, "exit": "connection error"}],
    },
}
"""Of an incident without the part `deaths`."""


@pytest.fixture
def incidents(tmp_path):
    store = IncidentStore(tmp_path)
    store.write(store.create("r", "worker_stalled", "1", 1e9 - 30.0), DATA, "report")
    store.write(store.create("other", "no_progress", "", 1e9 - 30.0), {**DATA, "run": "other", "stacks": []}, "report")
    return read(tmp_path)


LOSSES = (
    WorkerLoss("1", 1e9 - 90.0, "error", "KeyError: 3, in `act (my_env.py:9)`"),
    WorkerLoss("2", 1e9 - 60.0, "oom"),
    WorkerLoss("1", 1e9 - 30.0, "error", "ValueError: bad"),
)


def drawn(incidents, losses=(), **choice):
    view = run_view(worker_view("1", pid=7, where="Env.step → recv (my_env.py:88)"), worker_losses=losses)
    return str(layout.page(snapshot(view), Choice(**choice), incident_list=incidents, now=NOW))


def test_only_the_incidents_of_the_run_are_listed(incidents):
    html = drawn(incidents)
    section = html.partition('data-section="incidents"')[2].partition("</section>")[0]
    assert "Worker 1 is stalled." in section
    assert "open since 30 s" in section
    assert section.count("report.html") == 1


def test_detail_shows_the_stack_and_the_cause_of_death(incidents):
    html = drawn(incidents, worker="1")
    assert "<summary><code>recv (my_env.py:88)</code></summary>" in html
    assert "step (&lt;my_env&gt;.py:10)" in html
    assert "Ray: SIGKILL" in html  # of process 6, which 7 has replaced
    assert "The driver: lost (error): ValueError: bad" in html
    assert "act (&lt;my_env&gt;.py:3)" in html
    assert "SIGSEGV" not in html
    assert "<code>Env.step → recv (my_env.py:88)</code>" in html


def test_losses_that_are_in_no_incident_are_shown_with_their_moment(incidents):
    html = drawn(incidents, LOSSES, worker="1")
    code = '<code class="whole">act (my_env.py:9)</code>'
    lost = f"The driver: lost (error): KeyError: 3, in {code} · 2001-09-09 01:45:10 UTC"
    assert lost in html
    assert html.count("ValueError: bad") == 1, "the incident has it, with its frames"
    assert "oom" not in html, "of another worker"
    assert lost in drawn((), LOSSES, worker="1"), "as on a recording without its incidents"


def test_ends_of_an_incident_without_that_part_are_those_of_its_view(tmp_path):
    store = IncidentStore(tmp_path)
    data = {name: value for name, value in DATA.items() if name != "deaths"} | BEFORE_DEATHS
    store.write(store.create("r", "worker_stalled", "1", 1e9 - 30.0), data, "report")
    html = drawn(read(tmp_path), worker="1")
    assert "Ray: SIGKILL" in html
    assert "Ray: connection error" in html
