"""The learning curves, drawn from numbers."""

import numpy as np
import pytest
from page_views import history, page_html, run_view, snapshot

STEPS = np.arange(20.0) * 1000.0


@pytest.mark.parametrize("missing", [slice(0, 5), slice(5, 8), slice(0, 20)])
def test_samples_without_steps_are_left_out_of_curves_over_steps(missing):
    steps = STEPS.copy()
    steps[missing] = np.nan
    curves = history(trained_steps=steps, return_mean=np.linspace(0, 100, 20), return_min=STEPS, return_max=STEPS)
    html = page_html(snapshot(run_view(), histories={"r": curves}), axis="steps")
    assert "cannot be drawn" not in html
    assert "nan" not in html.lower().replace("names", "")


def test_two_runs_over_steps_share_one_axis():
    histories = {
        "r": history(trained_steps=STEPS, return_mean=STEPS),
        "other": history(trained_steps=STEPS * 2, return_mean=STEPS),
    }
    html = page_html(snapshot(run_view(), run_view(run="other"), histories=histories), axis="steps", against="other")
    assert "38k steps" in html
