"""A real training run with a killed worker, scraped by a real Prometheus: names, ledger, panels, restarts."""

import json
import time

import pytest
from promql import stored_names
from scraping import Span, scraping
from support import Command, poll, ray_session

from generate.dashboards import DASHBOARDS
from raymon import catalog
from raymon.queries import cluster, flow, language, learning, run, verdicts, workers
from raymon.queries.query import Query

# The fixture is most of the time; on a loaded machine it takes minutes.
pytestmark = pytest.mark.timeout(600)
RUN = "real"
STEP_RUN = "real-step"
RATE_INTERVAL = "8s"
IN_FLIGHT = 4 * 32 * 64
"""Steps in the fragments that were being sampled at the crash and at the end."""
PANELS = [
    pytest.param(board, panel, query, id=f"{board.uid}: {panel.title or query.title}: {query.title}")
    for board in DASHBOARDS
    for panel in board.panels()
    for query in panel.queries
]


def queries_of(module):
    return [value for value in vars(module).values() if isinstance(value, Query)]


EMPTY = {
    id(cluster.OOM_KILLS): "no worker was killed for memory",
    id(cluster.NODE_GPU): "no GPU",
    id(cluster.NODE_GPU_MEMORY): "no GPU",
    id(run.ROLLOUT_FAILURES): "no rollout failed",
    id(workers.ONE_FAILURES): "no rollout failed",
    id(flow.TASK_PROCESSES): "no task records",
    id(learning.GPU): "the learner is not on CUDA",
    id(learning.GPU_MEMORY): "the learner is not on CUDA",
    **{id(query): "raymon export does not run" for query in queries_of(verdicts) if query is not verdicts.SEVERITY},
    **{id(query): "no language model is trained" for query in queries_of(language)},
}
ABSENT = (
    "with the learner on CUDA",
    "after a rollout failed",
    "after a rollout without a step",
    catalog.TASK_PROCESSES.present,
    catalog.TOKENS.present,
    catalog.ROLE.present,
)
"""Conditions of families, as the catalogue words them, that do not hold for these runs."""


class RealRun:
    """Two runs that have ended, and everything that Prometheus stored about them.

    Attributes:
        prometheus: Still running and scraping; Ray is still running too.
        summaries: The `summary.json` of each run.
        walls: Training time in seconds of each run at its last update.
        span: From before the first run to after the last.
    """

    def __init__(self, prometheus, summaries, walls, span):
        self.prometheus = prometheus
        self.summaries = summaries
        self.walls = walls
        self.span = span


def train(folder, address, name, *options, until):
    """Train with two workers on the Ray at an address until something is seen, however fast the machine is."""
    with Command(
        "train",
        "--name",
        name,
        "--runs",
        str(folder),
        "--address",
        address,
        "--workers",
        "2",
        "--no-page",
        "--total-env-steps",
        "1000000000",
        *options,
        cwd=folder,
    ) as command:
        poll(until, 200, f"what the run is for\n{command.text()}")
        command.interrupt()
        assert command.wait(60) == 130, command.text()
    return json.loads((folder / name / "summary.json").read_text())


def worked_after_a_restart(prometheus):
    """Tell whether a replacement of worker 1 has made progress 2 s after it was counted."""
    restarted = f'timestamp({catalog.WORKER_RESTARTS.name}{{run="{RUN}",worker="1"}} > 0)'
    (first,) = prometheus.query(f"min_over_time(({restarted})[10m:1s])")
    (latest,) = prometheus.query(f'max({catalog.PROGRESS.name}{{run="{RUN}",worker="1"}})')
    return float(latest["value"][1]) > float(first["value"][1]) + 2


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """Train with the default sampler and a worker that crashes, then with one call per step, and scrape both."""
    import ray

    folder = tmp_path_factory.mktemp("real")
    with ray_session(num_cpus=3, dashboard=True) as temp:
        discovery = temp / "prom_metrics_service_discovery.json"
        poll(discovery.exists, 30, "Ray wrote its discovery file")
        address = ray.get_runtime_context().gcs_address
        with scraping(discovery, folder) as prometheus:
            begin = time.time()
            crash = ("--inject", "crash worker=1 after=3s", "--inject", "ref-leak mb=1")
            step = ("--sampler", "step", "--envs-per-worker", "1")
            summaries = {
                RUN: train(folder, address, RUN, *crash, until=lambda: worked_after_a_restart(prometheus)),
                STEP_RUN: train(
                    folder, address, STEP_RUN, *step, until=lambda: last_row(folder / STEP_RUN)["time_seconds"] > 5
                ),
            }
            ended = time.time()
            poll(lambda: float(prometheus.query("min(timestamp(up))")[0]["value"][1]) > ended + 2, 30, "all is stored")
            walls = {name: last_row(folder / name)["time_seconds"] for name in summaries}
            yield RealRun(prometheus, summaries, walls, Span(prometheus, begin))


def last_row(directory):
    return json.loads((directory / "progress.jsonl").read_text().splitlines()[-1])


def total(real, metric, *matchers, by="", name=RUN):
    """Return a counter's value at the end of a run, summed, or by a label."""
    selector = ",".join((f'run="{name}"', *matchers))
    result = real.prometheus.query(f"sum by ({by}) (last_over_time({metric.name}{{{selector}}}[10m]))")
    values = {sample["metric"].get(by, ""): float(sample["value"][1]) for sample in result}
    return values if by else values.get("", 0.0)


def test_the_stored_names_are_the_catalogue(real):
    expected = {name for metric in catalog.every() if metric.present not in ABSENT for name in stored_names(metric)}
    assert real.prometheus.names(catalog.PREFIX) == expected


def test_the_labels_are_those_of_the_catalogue(real):
    rays = {"Component", "NodeAddress", "SessionName", "Version", "WorkerId", "job", "instance", "le", "__name__"}
    for metric in catalog.every():
        for name in stored_names(metric):
            for sample in real.prometheus.api("series", **{"match[]": name}):
                assert set(sample) - rays == set(metric.all_labels) | ({"worker"} & set(sample)), name


def test_counters_of_the_driver_equal_its_ledger(real):
    books = real.summaries[RUN]["ledger"]
    expected = {
        catalog.FRAGMENTS: {
            "received": books["received"],
            "trained": books["trained"],
            "dropped": sum(books["dropped"].values()),
        },
        catalog.FRAGMENT_STEPS: {
            "received": books["received_steps"],
            "trained": books["trained_steps"],
            "dropped": books["dropped_steps"],
        },
    }
    for metric, outcomes in expected.items():
        assert total(real, metric, by="outcome") == outcomes
    reasons = total(real, catalog.FRAGMENTS_DROPPED, by="reason")
    assert {reason: number for reason, number in reasons.items() if number} == books["dropped"]
    assert total(real, catalog.ACTOR_CALLS) == books["calls"]
    assert books["received"] == books["trained"] + sum(books["dropped"].values()) + books["waiting"]


def test_steps_sampled_equal_steps_received_or_in_flight(real):
    books = real.summaries[STEP_RUN]["ledger"]
    sampled = total(real, catalog.ENV_STEPS, name=STEP_RUN)
    assert books["received_steps"] <= sampled <= books["calls"]
    # Of the crashed worker, what it counted since its last flush and Ray's last export is missing: about two seconds.
    books, seconds = real.summaries[RUN]["ledger"], real.summaries[RUN]["time_seconds"]
    lost = 4 * books["received_steps"] / seconds
    assert books["received_steps"] - lost <= total(real, catalog.ENV_STEPS) <= books["received_steps"] + IN_FLIGHT


def test_a_killed_worker_is_counted_by_reason_and_replaced(real):
    books = real.summaries[RUN]["ledger"]
    reasons = total(real, catalog.WORKER_LOSSES, by="reason")
    assert {reason: number for reason, number in reasons.items() if number} == books["losses"]
    assert books["losses"]["killed"] >= 1
    by_worker = total(real, catalog.WORKER_RESTARTS, by="worker")
    assert sum(by_worker.values()) == books["restarts"], (by_worker, books)
    assert by_worker["1"] >= 1


def test_rates_never_fall_below_zero_over_the_restart(real):
    for sample in real.span.series(workers.STEPS.fill(run=RUN, rate_interval=RATE_INTERVAL)):
        assert min(float(value) for _, value in sample["values"]) >= 0


@pytest.mark.parametrize("name", [RUN, STEP_RUN])
def test_the_phases_sum_to_the_wall_time(real, name):
    phases = total(real, catalog.PHASE_SECONDS, by="phase", name=name)
    assert set(phases) == set(catalog.DRIVER_PHASES)
    # Between the last update and the end lie an iteration that was broken off and what was still on its way.
    first, last = real.walls[name], real.summaries[name]["time_seconds"]
    for seconds in (sum(phases.values()), sum(real.summaries[name]["phase_seconds"].values())):
        assert 0.99 * first - 0.1 <= seconds <= 1.01 * last + 0.1


def test_no_alert_fires_for_a_worker_that_came_back(real):
    fired = {sample["metric"]["alertname"] for sample in real.span.series('ALERTS{alertstate="firing"}')}
    assert fired == set()


@pytest.mark.parametrize(("board", "panel", "query"), PANELS)
def test_every_panel_has_data(real, board, panel, query):
    sample = real.span.series(query.fill(rate_interval=RATE_INTERVAL, window=f"{real.span.seconds:.0f}s"))
    if id(query) in EMPTY:
        assert not sample, f"allowed to be empty since {EMPTY[id(query)]}; it is not, so take it off the list"
    else:
        assert sample, query.expression
        if panel.kind in ("timeseries", "state-timeline"):
            at_most_ten(sample)


def at_most_ten(samples):
    by_moment = {}
    for series in samples:
        for moment, _ in series["values"]:
            by_moment[moment] = by_moment.get(moment, 0) + 1
    assert max(by_moment.values()) <= 10


def test_both_runs_appear_separately(real):
    shown = {sample["metric"]["run"] for sample in real.span.series(run.RUN_INFO.fill())}
    assert shown == {RUN, STEP_RUN}
    window = f"{real.span.seconds:.0f}s"
    batch = flow.INFERENCE_BATCH.fill(rate_interval=RATE_INTERVAL, window=window)
    batches = {sample["metric"]["run"] for sample in real.span.series(batch)}
    assert batches == {STEP_RUN}
