"""Figures of inference engines on the nodes' pages, from text to what the page and the terminal show."""

import pytest
from metrics_pages import FakeCluster, FakeController, FakeRollout, FakeWorker, line
from page_views import page_html

from raymon.live.engines import MOST_BOUNDS
from raymon.top.json_output import report

BOUNDS = ("0.1", "0.5", "1.0", "+Inf")


class FakeEngine:
    """An engine of vLLM behind Ray's exporter: 20 requests a second, each of which waits for 0.5 to 1 s."""

    def __init__(self, family="ray_vllm_time_to_first_token_seconds_bucket", **labels):
        self.family, self.labels, self.requests, self.serves = family, labels, 1000.0, True

    def second(self, now):
        self.requests += 20.0

    def lines(self):
        for bound in BOUNDS if self.serves else ():
            yield line(self.family, self.requests if float(bound) >= 1.0 else 0.0, le=bound, **self.labels)
        if self.serves:
            yield line("ray_vllm_kv_cache_usage_perc", 0.25, engine="0")
            yield line("ray_vllm_kv_cache_usage_perc", 0.75, engine="1")
            yield line("ray_vllm_num_requests_running", 3.0)


def test_engines_are_shown_with_a_language_model():
    engine = FakeEngine()
    fake = FakeCluster(FakeRollout("0"), FakeController(expected=1), engine)
    snapshot = fake.run(10)
    flow = snapshot.run().flow
    assert flow.first_token_seconds == pytest.approx(0.5 + 0.5 * 0.95)
    assert flow.cache_used_ratio == 0.75
    html = page_html(snapshot)
    assert "First token" in html
    assert "Cache in use" in html
    assert report(snapshot)["flow"]["cache_used_ratio"] == 0.75
    engine.serves = False
    flow = fake.run(80).run().flow
    assert (flow.first_token_seconds, flow.cache_used_ratio) == (None, None)


def test_engines_are_not_shown_with_a_run_that_uses_none():
    flow = FakeCluster(FakeWorker("0"), FakeEngine()).run(10).run().flow
    assert (flow.first_token_seconds, flow.cache_used_ratio) == (None, None)


def test_an_engine_that_starts_again_and_odd_lines_do_no_harm():
    engine = FakeEngine("sglang:time_to_first_token_seconds_bucket")
    fake = FakeCluster(FakeRollout("0"), FakeController(expected=1), engine)
    fake.run(5)
    engine.requests = 0.0
    assert fake.run(5).run().flow.first_token_seconds == pytest.approx(0.975)
    odd = [line(engine.family, 5.0, le=bound) for bound in ("", "x", "NaN", "-1")]
    odd += [line(engine.family, fake.now, le=str(bound)) for bound in range(2, MOST_BOUNDS + 50)]
    engine.lines = lambda: iter([*odd, line(engine.family, -3.0, le="+Inf")])
    fake.run(5)
    assert len(fake.collector._memory.engines._totals) <= MOST_BOUNDS
