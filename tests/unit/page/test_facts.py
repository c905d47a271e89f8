"""Facts of a run are computed once for all drawings of a collection, and anew after the next one."""

import pytest
from page_views import page_html, run_view, snapshot, worker_view

from raymon.health.verdicts import judged_workers
from raymon.page import context, facts
from raymon.page.context import UNJUDGED


@pytest.fixture(autouse=True)
def nothing_drawn_before():
    facts._recent.clear()


def test_workers_are_matched_with_their_verdicts_once_for_each_collection(monkeypatch):
    calls = []

    def counted(run, verdict):
        calls.append(run)
        return judged_workers(run, verdict)

    monkeypatch.setattr(context.health, "judged_workers", counted)
    first = snapshot(run_view(worker_view("0"), worker_view("1")))
    drawn = [page_html(first), page_html(first, order="steps"), page_html(first, q="worker 1")]
    assert len(calls) == 1
    assert [html.count('data-key="worker-') for html in drawn] == [2, 2, 1]
    after = page_html(snapshot(run_view(worker_view("0"), worker_view("1"), worker_view("2"))))
    assert len(calls) == 2
    assert after.count('data-key="worker-') == 3


def test_facts_of_an_earlier_collection_are_forgotten_with_its_view():
    views = [run_view(worker_view("0")) for _ in range(3)]
    for taken_at, view in enumerate(views):
        facts.facts_of(view, UNJUDGED, float(taken_at))
    assert sum(known.run == views[0].run for known in facts._recent) == 1


def test_a_late_drawing_of_an_earlier_collection_leaves_the_facts_of_the_newest():
    earlier, newest = run_view(worker_view("0")), run_view(worker_view("0"))
    facts.facts_of(earlier, UNJUDGED, 1.0)
    known = facts.facts_of(newest, UNJUDGED, 2.0)
    late = facts.facts_of(earlier, UNJUDGED, 1.0)
    assert late.are_of(earlier, UNJUDGED)
    assert facts.facts_of(newest, UNJUDGED, 2.0) is known
