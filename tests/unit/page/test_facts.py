"""Facts of a run are computed once for all drawings of a collection, and anew after the next one."""

from page_views import page_html, run_view, snapshot, worker_view

from raymon.health.verdicts import judged_workers
from raymon.page import context


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
