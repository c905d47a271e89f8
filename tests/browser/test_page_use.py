"""Using the status page: search, filter, order, detail, keyboard, addresses, a phone, a thousand workers."""

import time
from collections import Counter

import pytest
from stage import Stage, looking_at, processes, show, states
from support import Command, chromium_page, free_port, poll, settle
from synthetic import fleet, serve


@pytest.fixture(scope="module")
def status():
    with (
        Stage(*processes("use", {2: "slow"}, workers=6), *processes("second")) as stage,
        looking_at(stage.url) as status,
    ):
        yield status


@pytest.fixture(scope="module")
def page(status):
    with chromium_page() as page:
        yield page


def workers(page):
    return set(states(page))


def test_search_filter_and_order_are_kept_in_the_address(page, status):
    show(page, status.url, "?run=use")
    poll(lambda: len(workers(page)) == 6, 20)
    poll(lambda: states(page)["2"] == "slow", 40)
    search = page.locator("input[data-bind=q]")
    search.fill("pid 1004")
    poll(lambda: workers(page) == {"4"}, 10)
    search.fill("no such thing")
    poll(lambda: "clear the search" in page.locator("tbody").inner_text(), 10)
    search.fill("")
    page.locator('button[data-set="state=slow"]').click()
    poll(lambda: workers(page) == {"2"}, 10)
    poll(lambda: "state=slow" in page.url, 10)
    page.reload()
    page.wait_for_selector("tr[data-worker]")
    assert workers(page) == {"2"}
    page.locator('button[data-set="state="]').click()
    poll(lambda: len(workers(page)) == 6, 10)
    page.locator('button[data-set="order=worker"]').click()
    poll(lambda: list(states(page)) == ["0", "1", "2", "3", "4", "5"], 10)


def test_redraw_between_typing_and_a_click_loses_neither(page, status):
    slow = page.context.new_page()
    # The page waits a moment for the next letter; here so long that a redraw comes in between for certain.
    slow.add_init_script("const soon = setTimeout; setTimeout = (f, ms) => soon(f, ms > 50 && ms < 500 ? 2500 : ms)")
    show(slow, status.url, "?run=use&q=no such thing")
    poll(lambda: "clear the search" in slow.locator("tbody").inner_text(), 20)
    slow.locator("input[data-bind=q]").fill("worker")
    slow.locator('button[data-set="order=worker"]').click()
    poll(lambda: list(states(slow)) == ["0", "1", "2", "3", "4", "5"], 10)
    assert slow.locator("input[data-bind=q]").input_value() == "worker"
    slow.close()


def test_choice_made_while_the_server_is_down_applies_when_it_is_back(page, tmp_path):
    with Stage(*processes("away", workers=5)) as stage:
        command = ("status", "--port", str(free_port()), "--metrics-url", stage.url)
        with Command(*command, cwd=tmp_path) as status:
            poll(lambda: "Status page: http" in status.text(), 60, "the page")
            show(page, f"http://127.0.0.1:{command[2]}")
            poll(lambda: len(workers(page)) == 5, 20)
        page.locator("input[data-bind=q]").fill("pid 1004")
        page.wait_for_timeout(1000)
        with Command(*command, cwd=tmp_path):
            poll(lambda: workers(page) == {"4"}, 60, "the search")
            poll(lambda: "q=pid+1004" in page.url, 20, "the address")


def test_run_selector_shows_the_run_that_is_drawn(page):
    with Stage(*processes("beta"), *processes("gamma")) as stage, looking_at(stage.url) as status:
        show(page, status.url)
        chosen = page.locator("select[data-bind=run]")
        for run in ("beta", "gamma", "beta"):
            chosen.select_option(run)
            poll(lambda run=run: run in page.title(), 20, run)
        stage.play(*processes("alpha"), *processes("beta"), *processes("gamma"), *processes("omega"))
        poll(lambda: chosen.locator("option").count() == 4, 20, "the other runs")
        assert "beta" in page.title()
        assert chosen.input_value() == "beta"


def test_typing_and_focus_survive_redraws(page, status):
    show(page, status.url, "?run=use")
    search = page.locator("input[data-bind=q]")
    search.click()
    for letter in "worker 3":
        search.press(letter if letter != " " else "Space")
        page.wait_for_timeout(250)
    assert search.input_value() == "worker 3"
    assert search.evaluate("box => box.getRootNode().activeElement === box")
    poll(lambda: workers(page) == {"3"}, 10)


def test_detail_opens_and_closes_by_keyboard(page, status):
    show(page, status.url, "?run=use")
    page.locator('tr[data-worker="4"] button').focus()
    page.keyboard.press("Enter")
    detail = page.locator('[data-section="detail"][data-worker="4"]')
    detail.wait_for(timeout=10_000)
    text = detail.inner_text()
    for word in (
        "Rollout p99",
        "Memory",
        "Last heartbeat",
        "Its time by phase",
        "--worker 4",
        "/logs/worker-",
    ):
        assert word in text, word
    page.keyboard.press("Escape")
    poll(lambda: detail.count() == 0, 10)
    page.locator('.row button[data-set="worker=1"]').click()
    poll(lambda: page.locator('[data-section="detail"][data-worker="1"]').count(), 10)
    poll(lambda: "worker=1" in page.url, 10)


def test_pointer_reads_a_chart(page, status):
    show(page, status.url, "?run=use")
    plot = page.locator('[data-section="learning"] .plot').first
    plot.scroll_into_view_if_needed()

    def pointed_at():
        box = plot.bounding_box()
        page.mouse.move(box["x"] + box["width"] - 5, box["y"] + box["height"] / 2)
        assert page.locator(".tip").is_visible()
        assert "·" in page.locator(".tip").inner_text()

    settle(pointed_at, 10)


@pytest.mark.parametrize("width", [360, 768, 2400])
def test_nothing_is_wider_than_the_screen(page, status, width):
    page.set_viewport_size({"width": width, "height": 800})
    show(page, status.url, "?run=use&worker=2")
    page.wait_for_selector("tr[data-worker]")
    inside = page.eval_on_selector(".raymon .page", "all => [all.scrollWidth, all.clientWidth]")
    assert inside[0] <= inside[1]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    rows = Counter(page.eval_on_selector_all(".tile", "tiles => tiles.map(tile => Math.round(tile.offsetTop))"))
    assert list(rows.values()) == {360: [1, 2, 2, 2], 768: [4, 3], 2400: [7]}[width]
    page.set_viewport_size({"width": 1280, "height": 900})


def luminance(page, selector, part):
    text = page.eval_on_selector(selector, f"one => getComputedStyle(one).{part}")
    channels = [float(x) / 255 for x in text.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_in_light_and_dark(page, status, scheme):
    page.emulate_media(color_scheme=scheme)
    show(page, status.url, "?run=use")
    page.wait_for_selector("tr[data-worker]")
    ground = luminance(page, ".verdict", "backgroundColor")
    assert (ground < 0.1) == (scheme == "dark")
    for selector in (".sentence", ".headline", ".tile .name", ".tile .under", "td small", ".state", ".ends"):
        words = luminance(page, selector, "color")
        ratio = (max(words, ground) + 0.05) / (min(words, ground) + 0.05)
        assert ratio >= 4.5, (selector, scheme, ratio)
    page.emulate_media(color_scheme="light")


def test_every_control_and_drawing_has_a_label(page, status):
    show(page, status.url, "?run=use")
    page.wait_for_selector("tr[data-worker]")
    names = page.eval_on_selector_all(
        ".raymon button, .raymon input, .raymon select, .raymon svg:not([aria-hidden]), .lane, .shares",
        "all => all.map(one => one.getAttribute('aria-label') || one.innerText || '')",
    )
    assert len(names) > 20
    assert all(name.strip() for name in names)
    assert page.locator('[role="status"]').first.inner_text().endswith(".")
    tall = page.eval_on_selector_all(".chip", "all => all.map(one => one.getBoundingClientRect().height)")
    assert min(tall) >= 24


def test_thousand_workers(page):
    faults = {501: "stopped", 733: "slow"}
    with serve(fleet(workers=1000, nodes=16, runs=1, faults=faults)) as targets, looking_at(*targets) as status:
        show(page, status.url)
        poll(lambda: "1000 in all" in page.locator('[data-section="workers"]').inner_text(), 60)
        poll(lambda: states(page).get("501") == "stalled", 60)
        assert len(workers(page)) == 25
        assert page.locator(".row.fleet").count() == 1
        times = []
        for wanted in ("777", "12", "501", "733", "999"):
            begun = time.perf_counter()
            page.locator("input[data-bind=q]").fill(f"worker {wanted}")
            poll(lambda wanted=wanted: workers(page) == {wanted}, 10, every=0.02)
            times.append(time.perf_counter() - begun)
        # The aim is half a second, which an idle machine meets; here other tests run at the same time.
        assert sorted(times)[2] < 4.0, times
        page.locator("input[data-bind=q]").fill("")
        page.locator("text=Show 25 more").click(timeout=10_000)
        poll(lambda: len(workers(page)) == 50, 10)
