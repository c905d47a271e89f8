"""The page never lies about itself: ages grow, a failed or slow collection is said, one odd run empties nothing."""

import re
from dataclasses import replace

import pytest
from page_views import history, page_html, run_view, snapshot, worker_view

from raymon.page import choice, layout
from raymon.views import NodeView


def pulse(html):
    return re.search(r'data-pulse="(\w+)"', html)[1]


def banners(html):
    return re.findall(r'class="banner[^"]*" role="alert"><svg.*?</svg><span>([^<]*)<', html)


def ages(html):
    return [float(age) for age in re.findall(r'data-age="([\d.]+)"', html)]


def test_fresh_snapshot_is_live_without_a_banner():
    html = page_html(snapshot())
    assert pulse(html) == "live"
    assert banners(html) == []


@pytest.mark.parametrize(("elapsed", "state"), [(3.0, "live"), (7.0, "late"), (20.0, "old")])
def test_ages_grow_while_no_collection_ends(elapsed, state):
    fresh, later = page_html(snapshot(), worker="0"), page_html(snapshot(), elapsed, worker="0")
    assert pulse(later) == state
    assert len(ages(fresh)) >= 5
    assert ages(later) == [pytest.approx(age + elapsed) for age in ages(fresh)]


def test_slow_collection_is_a_banner():
    (text,) = banners(page_html(snapshot(), 20.0))
    assert text.startswith("The last collection ended 20 s ago, the next has not: nothing here is newer. ")
    assert "The newest number is 20 s old" in text


def test_failed_collection_is_a_banner_above_a_live_run():
    html = page_html(snapshot(problem="The collection failed.", problem_since=1e9 - 30.0), 2.0)
    assert banners(html) == ["The collection failed. Since 32 s."]
    assert 'data-view="run"' in html


def test_finished_run_is_never_old():
    html = page_html(snapshot(run_view(state="finished", data_age_seconds=600.0)))
    assert pulse(html) == "ended"
    assert banners(html) == []


def test_section_that_cannot_be_drawn_is_a_note_and_the_others_are_drawn(monkeypatch, caplog):
    def broken(_):
        raise ZeroDivisionError("odd number")

    monkeypatch.setattr(layout, "tiles", broken)
    html = page_html(snapshot())
    assert "This section cannot be drawn (ZeroDivisionError: odd number)" in html
    for section in ("workers", "phases", "activity", "learning", "store"):
        assert f'data-section="{section}"' in html
    assert "could not be drawn" in caplog.text


def test_code_between_backticks_is_drawn_as_code():
    hangs = worker_view("0", stuck_seconds=60.0, where="Env.step <sim.py:88>")
    html = page_html(snapshot(run_view(hangs, worker_view("1"))), worker="0")
    code = '<code class="whole">Env.step &lt;sim.py:88&gt;</code>'
    assert html.count(f"in {code}, for 1 min") >= 3, "in the verdict, its alert, the table and the detail"
    assert 'See where it is: <code class="whole">raymon profile --worker 0</code>.' in html
    assert 'title="it hangs in Env.step &lt;sim.py:88&gt;, for 1 min"' in html
    assert "`" not in html


EXTREMES = (1e300, -1e300, 5e-324, float("nan"), float("inf"), 0.0)


@pytest.mark.parametrize("value", EXTREMES)
def test_extreme_numbers_break_no_section(value):
    workers = (
        worker_view("0", steps_per_second=value, rss_bytes=value, episode_return=value, policy_lag=value),
        worker_view("1", latency_seconds={"p50": value, "p95": value}, cpu_ratio=value),
    )
    numbers = dict.fromkeys(("steps_per_second", "iteration_seconds", "trained_steps", "target_steps"), value)
    odd = run_view(*workers, learning={"return_mean": value, "nonfinite_updates": value}, **numbers)
    series = {name: [value, -value, value / 3, 1.0] for name in ("steps_per_second", "return_mean", "store_used_bytes")}
    taken = snapshot(run_view(), histories={"r": history(4, **series)})
    taken = replace(taken, runs=(odd, run_view(run="other")))
    for order in choice.ORDERS:
        html = page_html(taken, worker="0", order=order)
        assert "cannot be drawn" not in html
        assert 'value="other"' in html


def test_nodes_are_shown_with_those_in_trouble_first():
    silent = NodeView("http://10.0.0.3:1/metrics", "10.0.0.3", 20.0, error="timed out", workers=("2", "5"))
    fine = NodeView("http://10.0.0.4:1/metrics", "10.0.0.4", 0.0)
    html = page_html(snapshot(run_view(nodes=(fine, silent))), 2.0)
    section = html.partition('data-section="nodes"')[2].partition("</section>")[0]
    assert "has not answered for 22 s (timed out); workers 2 and 5 run on it" in section
    assert section.index("10.0.0.3") < section.index("10.0.0.4")
    assert 'data-section="nodes"' not in page_html(snapshot(run_view(nodes=(fine,))))
