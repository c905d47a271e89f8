"""The status page in a real browser, through the real collector, in every state a run can be in."""

import contextlib
import json
from urllib.parse import urlsplit

import pytest
from scraping import scraping
from stage import Stage, looking_at, processes, show, states, verdict
from support import chromium_page, free_port, poll

from raymon import catalog

EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def stage():
    cast = [
        *processes("good"),
        *processes("lame", {2: "slow"}),
        *processes("stuck", {1: "stalled", 3: "stopped"}),
        *processes("lost", {0: "dead"}),
        *processes("back", {0: "dead"}),
        *processes("done"),
        *processes("fell"),
        *processes("young", age=2.0),
        *processes(EVIL),
    ]
    with Stage(*cast) as stage:
        for run in ("good", "lame", "stuck", "young", EVIL):
            stage.edit(catalog.WORKER_LOSSES, run, 0.0)
            stage.edit(catalog.WORKER_RESTARTS, run, 0.0)
        stage.edit(catalog.RUN_STATE, "done", 0.0, state="training")
        stage.edit(catalog.RUN_STATE, "done", 1.0, state="finished")
        stage.edit(catalog.RUN_STATE, "fell", 0.0, state="training")
        stage.edit(catalog.RUN_STATE, "fell", 1.0, state="failed")
        stage.edit(catalog.WORKER_TROUBLE, "lost", 1.0, state="given_up", worker="0")
        stage.edit(catalog.WORKER_TROUBLE, "back", 1.0, state="restarting", worker="0")
        stage.edit(catalog.RUN_STATE, "young", 0.0, state="training")
        stage.edit(catalog.RUN_STATE, "young", 1.0, state="starting")
        stage.edit(catalog.ACTIVITY, "young", 0.0, activity="environment")
        stage.edit(catalog.ACTIVITY, "young", 1.0, activity="starting")
        for metric in (catalog.PROGRESS, catalog.ENV_STEPS, catalog.ROLLOUTS, catalog.TRAINED_STEPS, catalog.UPDATES):
            stage.edit(metric, "young", None)
        yield stage


@pytest.fixture(scope="module")
def status(stage):
    with looking_at(stage.url) as status:
        yield status


@pytest.fixture(scope="module")
def page(status):
    with chromium_page() as page:
        page.requested, page.dialogs = [], []
        page.on("request", lambda request: page.requested.append(request.url))
        page.on("dialog", lambda dialog: (page.dialogs.append(dialog.message), dialog.dismiss()))
        yield page


def test_starting(page, status):  # first of all: it is young for a minute and a half only
    show(page, status.url, "?run=young")
    poll(lambda: set(states(page).values()) == {"starting"}, 20)
    assert verdict(page)[0] == "starting"
    assert "not reported yet" in page.locator('[data-tile="progress"]').inner_text()


def test_healthy(page, status):
    show(page, status.url, "?run=good")
    poll(lambda: set(states(page).values()) <= {"running", "waiting"} and len(states(page)) == 4, 30)
    poll(lambda: page.locator(".verdict.severity-ok, .verdict.severity-info").count(), 30, "a good verdict")
    assert page.locator('[data-pulse="live"]').count() == 1
    rate = page.locator('[data-tile="steps"] b')
    poll(lambda: 3.4 <= float(rate.inner_text().split("/")[0].strip().removesuffix("k")) <= 4.6, 20, "4k steps/s")
    assert "4 of 4" in page.locator('[data-tile="workers"]').inner_text().replace("\n", " ")
    for phase in ("learning", "sampling", "other"):
        assert phase in page.locator('[data-section="phases"]').inner_text()
    poll(lambda: page.locator(".lane i.on-environment").count() >= 4, 20, "the strip")
    poll(lambda: page.title().endswith("good · raymon"), 10)


def test_every_number_explains_how_it_is_computed(page, status):
    show(page, status.url, "?run=good&worker=1")
    for place in (".tile .name", ".facts dt", ".chart .name", "th button"):
        help_texts = page.eval_on_selector_all(place, "all => all.map(one => one.dataset.help || '')")
        assert len(help_texts) > 5, place
        assert all(len(text) > 15 for text in help_texts), (place, help_texts)
    page.locator(".tile .name").first.hover()
    poll(lambda: "step counters" in page.locator(".tip").inner_text(), 5, "the help is shown")


def test_slow_worker_is_first_and_named(page, status):
    show(page, status.url, "?run=lame")
    poll(lambda: next(iter(states(page).items())) == ("2", "slow"), 40, "worker 2 slow, on top")
    poll(lambda: verdict(page)[0] == "straggler_bound", 20)
    assert "orker 2" in verdict(page)[1]


def test_stalled_workers_have_their_own_reasons(page, status):
    show(page, status.url, "?run=stuck")
    poll(lambda: [states(page)[worker] for worker in "13"] == ["stalled", "stalled"], 40)
    assert verdict(page)[0] == "worker_stalled"
    assert "heartbeat" in page.locator('tr[data-worker="3"] .why').inner_text()
    assert "heartbeat" not in page.locator('tr[data-worker="1"] .why').inner_text().replace("heartbeats", "")
    assert [states(page)[worker] for worker in "02"] == ["running", "running"]
    assert page.locator(".lane i.on-stalled").count() >= 2


def test_lost_workers(page, status):
    show(page, status.url, "?run=lost")
    poll(lambda: states(page).get("0") == "given_up", 40)
    assert verdict(page)[0] == "workers_lost"
    assert "given up" in page.locator(".troubled").inner_text()
    show(page, status.url, "?run=back&worker=0")
    poll(lambda: states(page).get("0") == "restarting", 20)
    assert "killed" in page.locator('[data-section="detail"]').inner_text()


def test_finished_run_keeps_its_last_numbers(page, status):
    show(page, status.url, "?run=done")
    poll(lambda: verdict(page)[0] == "finished", 20)
    assert page.locator('[data-pulse="ended"]').inner_text() == "finished"
    assert "steps" in page.locator('[data-tile="progress"]').inner_text()


def test_failed_run_keeps_its_last_numbers_and_gives_advice(page, status):
    show(page, status.url, "?run=fell")
    poll(lambda: verdict(page)[0] == "failed", 20)
    assert page.locator(".verdict.severity-critical").count() == 1
    assert "--resume" in verdict(page)[1]
    assert page.locator('[data-pulse="ended"]').inner_text() == "failed"
    assert len(states(page)) == 4
    poll(lambda: page.title().startswith("Failed"), 10)


def test_labels_with_html_are_text(page, status):
    show(page, status.url)
    page.select_option('select[data-bind="run"]', label=EVIL)
    poll(lambda: page.locator(".raymon .page").get_attribute("data-run") == EVIL, 10)
    assert EVIL in page.title()
    assert page.locator(".raymon img").count() == 0
    assert page.dialogs == []


def test_two_runs_share_the_curves(page, status):
    show(page, status.url, "?run=good")
    page.select_option('select[data-bind="against"]', label="against lame")
    learning = page.locator('[data-section="learning"]')
    poll(lambda: learning.locator(".legend").inner_text().split() == ["good", "lame"], 10)
    assert learning.locator(".line.b").count() >= 5
    page.locator('button[data-set="axis=steps"]').click()
    poll(lambda: "steps" in learning.locator(".ends").first.inner_text(), 10)


def test_several_viewers_cost_one_collection(page, status, stage):
    with page.context.new_page() as second, page.context.new_page() as third:
        for viewer in (page, second, third):
            show(viewer, status.url, "?run=good")
        before, shown = stage.asked, third.locator(".pulse").inner_text()
        poll(lambda: stage.asked >= before + 4, 20)
        first_age = [stage.asked, shown]
        poll(lambda: stage.asked >= first_age[0] + 3, 20)
        assert stage.asked - before < 12


def test_page_sends_requests_to_its_own_server_only(page, status):
    assert len(page.requested) > 10
    strange = [url for url in page.requested if not url.startswith((status.url, "data:", "blob:"))]
    assert strange == []


def test_alerts_come_from_prometheus_and_from_the_page_when_it_is_gone(page, tmp_path):
    discovery = tmp_path / "prom_metrics_service_discovery.json"
    with contextlib.ExitStack() as stack, Stage(*processes("stuck", {1: "stalled"})) as stage:
        discovery.write_text(json.dumps([{"labels": {"job": "ray"}, "targets": [urlsplit(stage.url).netloc]}]))
        prometheus = stack.enter_context(scraping(discovery, tmp_path, rule_speed=10.0))
        with looking_at(stage.url, options=("--prometheus-url", prometheus.url)) as status:
            show(page, status.url)
            fires = page.locator(".alert", has_text="RaymonWorkerStalled")
            poll(lambda: fires.locator("small").inner_text().endswith("Prometheus"), 60, "Prometheus fires")
            poll(lambda: page.locator('[data-service="Prometheus"].answers').count() == 1, 25, "it is seen to answer")
            stack.close()
            poll(
                lambda: fires.locator("small").inner_text().endswith("evaluated here"), 30, "the page judges by itself"
            )
            assert "does not answer" in page.locator("footer").inner_text()
            assert page.locator('[data-pulse="live"]').count() == 1


def test_page_without_an_endpoint_names_the_commands(page):
    with looking_at(f"http://127.0.0.1:{free_port()}/metrics") as status:
        show(page, status.url, view="empty")
        poll(lambda: verdict(page)[0] == "empty", 20)
        text = page.locator(".raymon .page").inner_text()
        assert "raymon train" in text
        assert "raymon doctor" in text


def test_page_follows_run_exporter_and_server_coming_and_going(page):
    with Stage() as stage, looking_at(stage.url) as status:
        show(page, status.url, view="empty")
        poll(lambda: verdict(page)[0] == "empty", 20)
        stage.play(*processes("late"))
        page.wait_for_selector('.page[data-run="late"]', timeout=15_000)
        poll(lambda: page.locator('[data-pulse="live"]').count(), 10)
        stage.silent = True
        poll(lambda: page.locator('[data-pulse="late"]').count(), 20, "it says that the numbers are getting old")
        poll(lambda: page.locator(".page.old .banner").count(), 30, "it says that they are old")
        assert "not the present" in page.locator(".banner").inner_text()
        assert "grayscale" in page.eval_on_selector(".tiles", "tiles => getComputedStyle(tiles).filter")
        poll(lambda: verdict(page)[0] in ("stale", "driver_gone"), 30, "so does the verdict")
        assert stage.url in page.locator("footer").inner_text()
        stage.silent = False
        poll(lambda: page.locator('[data-pulse="live"]').count(), 20, "live again")
        status.interrupt()
        assert status.wait(15) == 0
        poll(lambda: page.locator(".page.frozen .banner.silent").count(), 20, "the page says that it is frozen")
        age = page.locator(".pulse time")
        poll(lambda: int(age.inner_text().split()[0]) >= 8, 20, "the age grows without the server")
        assert not page.locator('[role="dialog"]:visible').count()
