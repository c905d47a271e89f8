"""Facts of a run are computed once for all drawings of a collection, and anew after the next one."""

from page_views import page_html, run_view, snapshot, worker_view

from raymon.health.verdicts import judged_workers
from raymon.page import context, facts
from raymon.page.context import UNJUDGED


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
    for view in views:
        facts.facts_of(view, UNJUDGED)
    assert sum(known.run == views[0].run for known in facts._recent) == 1
