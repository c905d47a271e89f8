"""What page and terminal show of a run that trains a language model."""

import re

from language_views import flow, reward, rollout, trains
from page_views import NOW, history, page_html, run_view, snapshot
from rich.console import Console
from support import ROOT

from raymon.catalog import LANGUAGE_PHASES
from raymon.top.screen import screen

FLOW = flow(
    responses_per_second={"complete": 9.0, "truncated": 1.0, "aborted": 0.0},
    buffer_depth=12.0,
    buffer_capacity=64.0,
    buffer_oldest_age_seconds=3.0,
    weight_sync_seconds=0.8,
    weight_sync_bytes=1.2e9,
)
VIEW = trains(
    reward("2"),
    rollout("0"),
    rollout("1"),
    flow=FLOW,
    policy_lag_mean=1.0,
    policy_lag_max=3.0,
    workers_by_state={"expected": 0, "up": 3},  # a driver that does not say how many it expects
)
TOGETHER = (*LANGUAGE_PHASES, "inference", "checkpoint", "waiting")
HISTORY = {"r": history(tokens_out=[4000.0] * 20, tail_ratio=[0.1] * 20)}


def test_section_is_shown_with_its_figures():
    html = page_html(snapshot(VIEW, histories=HISTORY))
    assert 'data-section="language"' in html
    for text in (
        "Truncated",
        "10 %",
        "12 of 64",
        "1.2 GB",
        "2 rollout · 1 reward",
        "1, at most 3",
        "Tokens per second",
    ):
        assert text in html, text
    assert "of 0<" not in html
    assert "Rollout workers, on average" in html
    assert "Reward workers, on average" in html
    assert 'data-set="order=role"' in html
    assert 'data-section="broken"' not in html


def test_run_without_a_language_model_shows_nothing_of_it():
    html = page_html(snapshot(run_view()))
    assert 'data-section="language"' not in html
    assert 'data-set="order=role"' not in html


def test_terminal_shows_roles_and_flow():
    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(screen(snapshot(VIEW), VIEW, "", rows=None, now=NOW))
    text = console.export_text()
    assert "tokens/s 4k" in text
    assert "workers 3   " in text
    assert "no signal 6.2 %   buffer 12 of 64   weight sync 800 ms   staleness 3" in text
    assert [line.split()[:2] for line in text.splitlines() if line.startswith(("0 ", "1 ", "2 "))] == [
        ["0", "rollout"],
        ["1", "rollout"],
        ["2", "reward"],
    ]


def test_phases_that_appear_together_have_different_colours():
    style = (ROOT / "raymon" / "html" / "style.css").read_text()
    colours = {phase: re.findall(rf"\.on-{phase}\b[^{{]*{{ background: var\((--\w+)\)", style) for phase in TOGETHER}
    assert all(colours.values())
    assert len({name for names in colours.values() for name in names}) == len(TOGETHER)
