"""The page on a recording: its slider, dragged, brings back the numbers that the live page showed at that moment."""

import time

import pytest
from stage import Stage, looking_at, processes, show
from support import chromium_page, poll

from raymon import catalog

RETURNS = (111.0, 222.0)


def numbers(page):
    """The main numbers and the workers' states and speeds, as text."""
    tiles = page.locator(".tiles").first.locator("b").all_inner_texts()
    rows = page.eval_on_selector_all(
        "tr[data-worker]", "rows => rows.map(r => [r.dataset.worker, r.dataset.state, r.cells[2].innerText])"
    )
    return tiles, sorted(rows)


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """Watch a live page whose return changes once; yield the recording, and what was shown of each return, and when."""
    folder = tmp_path_factory.mktemp("record") / "recording"
    shown = {}
    with (
        Stage(*processes("recorded", workers=3)) as stage,
        looking_at(stage.url, options=("--record", str(folder))) as live,
        chromium_page() as page,
    ):
        show(page, live.url)
        for value in RETURNS:
            stage.edit(catalog.FLEET_RETURN, "recorded", value, statistic="mean")
            stage._edits.reverse()  # the newest edit of a series counts
            poll(lambda wanted=value: f"{wanted:.0f}" in " ".join(numbers(page)[0]), 30, f"a return of {value:g}")
            time.sleep(4.0)
            shown[value] = (time.time(), numbers(page))
            time.sleep(4.0)  # the slider has whole seconds: the moment must not stand at the edge to the next return
    return folder, shown


def test_dragged_slider_shows_the_numbers_of_the_live_page(watched):
    folder, shown = watched
    with looking_at(options=("--recording", str(folder))) as status, chromium_page() as page:
        show(page, status.url)
        slider = page.locator('input[type=range][data-bind="at"]')
        first, last = (float(slider.get_attribute(name)) for name in ("min", "max"))
        for value, (moment, live) in shown.items():
            box = slider.bounding_box()
            page.mouse.move(box["x"] + box["width"] - 8, box["y"] + box["height"] / 2)
            page.mouse.down()
            share = (moment - first) / (last - first)
            page.mouse.move(box["x"] + 8 + share * (box["width"] - 16), box["y"] + box["height"] / 2, steps=12)
            page.mouse.up()
            poll(lambda wanted=value: f"{wanted:.0f}" in " ".join(numbers(page)[0]), 20, f"a return of {value:g}")
            assert abs(float(slider.input_value()) - moment) < 4.0
            for second in range(-3, 3):  # the page drew the snapshot of a moment before it was read
                show(page, status.url, f"?at={moment + second:.0f}")
                if numbers(page) == live:
                    break
            else:
                pytest.fail(f"no moment near {moment:.0f} shows {live}; the last shows {numbers(page)}")
            show(page, status.url)
