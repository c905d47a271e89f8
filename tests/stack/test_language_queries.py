"""The queries on language models, asked of a real Prometheus that scrapes a run and the engines beside it."""

import time

import pytest
import yaml
from http_replies import ReplyHandler, ReplyServer
from metrics_pages import FakeController, FakeReward, FakeRollout
from support import poll, running_prometheus

from raymon import catalog
from raymon.queries import language
from raymon.queries.query import Query

QUERIES = {name: query for name, query in vars(language).items() if isinstance(query, Query)}
LATENCY = {"0.1": 0.0, "0.5": 0.9, "1.0": 1.0, "+Inf": 1.0}
"""Bound to the share of the requests whose first token came within it."""


def engines(requests):
    """Return the page of a vLLM and of an SGLang after so many requests."""
    for engine in ("vllm", "sglang"):
        yield f"# TYPE {engine}:time_to_first_token_seconds histogram"
        for bound, share in LATENCY.items():
            labels = f'{{le="{bound}",model_name="m"}}'
            yield f"{engine}:time_to_first_token_seconds_bucket{labels} {share * requests}"
        yield f'{engine}:time_to_first_token_seconds_count{{model_name="m"}} {requests}'
        yield f'{engine}:time_to_first_token_seconds_sum{{model_name="m"}} {0.3 * requests}'
    yield 'vllm:kv_cache_usage_perc{engine="0"} 0.4'
    yield 'vllm:kv_cache_usage_perc{engine="1"} 0.6'
    yield 'sglang:token_usage{model_name="m"} 0.28'


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory):
    """A Prometheus that scrapes a page on which seconds pass in real time."""
    driver = FakeController(expected=3)
    processes = [FakeRollout("0", seconds=1, tail=0.2), FakeRollout("1", seconds=1), FakeReward("2"), driver]
    for process in processes:
        process.second(time.time())  # every counter is scraped at its beginning
    began, lived = time.time(), [0]

    class Handler(ReplyHandler):
        def do_GET(self):
            while lived[0] < time.time() - began:
                lived[0] += 1
                for process in processes:
                    process.second(time.time())
                processes[0].version = driver.numbers[catalog.UPDATES, ()] - 2.0
            rows = [line for process in processes for line in process.lines()]
            body = "".join(rows) + "\n".join(engines(10.0 * lived[0])) + "\n"
            self.reply(body.encode(), content_type="text/plain; version=0.0.4")

    folder = tmp_path_factory.mktemp("prometheus")
    with ReplyServer(Handler) as server:
        scrape = {"job_name": "ray", "static_configs": [{"targets": [f"127.0.0.1:{server.server_port}"]}]}
        config = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": [scrape]}
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        with running_prometheus(folder / "prometheus.yml", folder / "data") as running:
            yield running


def ask(prometheus, query):
    """Return the labels without the name, as one text, and the value of each series, once there are any."""
    expression = query.fill(rate_interval="8s", window="30s")
    samples = poll(lambda: prometheus.query(expression), 40, f"{query.title} has data", every=0.5)
    return {" ".join(series["metric"].values()): float(series["value"][1]) for series in samples}


@pytest.mark.parametrize("name", QUERIES)
def test_query_has_data(prometheus, name):
    assert ask(prometheus, QUERIES[name])


def test_engines_are_shown_beside(prometheus):
    # 95 % lie in the bucket from 0.5 to 1 s that holds the last tenth: in its middle.
    assert ask(prometheus, language.FIRST_TOKEN) == pytest.approx({"vLLM": 0.75, "SGLang": 0.75})
    assert ask(prometheus, language.CACHE_USED) == pytest.approx({"vLLM": 0.6, "SGLang": 0.28})


def test_figures_are_those_of_the_run(prometheus):
    assert ask(prometheus, language.NO_SIGNAL)["r"] == pytest.approx(0.1)
    assert ask(prometheus, language.BUFFER_CAPACITY)["r"] == 64.0
    assert set(ask(prometheus, language.WEIGHT_AGE)) == {"r 0", "r 1"}, "the reward worker has no version"
    phases = prometheus.query(language.ROLE_PHASES.fill(rate_interval="8s", window="30s"))
    samples = {(series["metric"]["role"], series["metric"]["phase"]) for series in phases}
    assert samples == {("rollout", "generate"), ("reward", "reward")}
