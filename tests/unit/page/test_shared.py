"""Viewers share drawings."""

import threading
import time
from dataclasses import replace

from page_views import snapshot

from raymon.html.markup import join
from raymon.page import shared
from raymon.page.choice import Choice
from raymon.page.shared import Drawings


def test_viewers_of_the_same_choice_share_a_drawing():
    calls = []

    def draw(taken, choice, *beside):
        calls.append((taken, choice, *beside))
        return join(choice.run)

    drawings = Drawings(most=2, draw=draw)
    first, second = snapshot(), snapshot()
    threads = [threading.Thread(target=drawings.page, args=(first, Choice(), ())) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert drawings.page(first, Choice(run="b"), ()) == "b"
    drawings.page(second, Choice(), ())
    assert len(calls) == 3, "another choice and another snapshot are drawn"


def test_drawing_too_old_for_another_viewer_is_forgotten(monkeypatch):
    drawings = Drawings(draw=lambda taken, choice, *beside: join(choice.run))
    for run in "abc":
        drawings.page(snapshot(), Choice(run=run))
    assert len(drawings) == 3
    monkeypatch.setattr(shared, "REUSE_SECONDS", 1e-9)
    drawings.page(snapshot(), Choice(run="d"))
    assert len(drawings) == 1, "each holds a snapshot with the history of all runs"


def slow_snapshot():
    """Return a snapshot whose collection took long."""
    return replace(snapshot(), round_seconds=4.0)


def test_what_was_drawn_last_is_drawn_in_advance(monkeypatch):
    monkeypatch.setattr(shared, "REUSE_SECONDS", 60.0)
    calls = []

    def draw(taken, choice, *beside):
        calls.append((taken, choice))
        return join(choice.run)

    drawings, old, new = Drawings(draw=draw), slow_snapshot(), slow_snapshot()
    drawings.prepare(old)
    assert not calls, "nobody looks"
    drawings.page(old, Choice(run="a"))
    drawings.page(old, Choice(run="b"))
    drawings.prepare(new)
    assert calls[2:] == [(new, Choice(run="b"))]
    assert drawings.page(new, Choice(run="b")) == "b"
    assert len(calls) == 3


def test_whoever_gets_drawings_made_in_advance_is_a_viewer(monkeypatch):
    monkeypatch.setattr(shared, "REUSE_SECONDS", 60.0)
    monkeypatch.setattr(shared, "WATCHED_SECONDS", 0.5)
    calls = []
    drawings = Drawings(draw=lambda taken, *key: calls.append(taken) or join("a"))
    drawings.page(snapshot(), Choice())
    for _ in range(4):
        new = slow_snapshot()
        drawings.prepare(new)
        drawings.page(new, Choice())
        assert calls[-1] is new
        time.sleep(0.2)
    assert len(calls) == 5, "each was drawn in advance, and only then"


def test_a_collection_does_not_wait_for_viewers_to_store_its_drawing():
    drawing, go_on = threading.Event(), threading.Event()

    def draw(taken, *key):
        if taken is slow:
            drawing.set()
            go_on.wait(30.0)
        return join("a")

    drawings, slow = Drawings(draw=draw), snapshot()
    viewer = threading.Thread(target=drawings.page, args=(slow, Choice()))
    viewer.start()
    assert drawing.wait(30.0)
    drawings.prepare(slow_snapshot())
    assert viewer.is_alive(), "it was not waited for"
    go_on.set()
    viewer.join()


def test_nothing_is_drawn_in_advance_once_the_viewers_have_left(monkeypatch):
    calls = []
    drawings = Drawings(draw=lambda taken, *key: calls.append(taken) or join("a"))
    drawings.page(snapshot(), Choice())
    monkeypatch.setattr(shared, "WATCHED_SECONDS", 0.0)
    drawings.prepare(slow_snapshot())
    assert len(calls) == 1


def test_page_that_cannot_be_drawn_in_advance_leaves_the_collection_alone():
    def draw(taken, *key):
        if taken is broken:
            raise ValueError("found nonsense")
        return join("a")

    drawings, fine, broken = Drawings(draw=draw), snapshot(), slow_snapshot()
    drawings.page(fine, Choice())
    drawings.prepare(broken)
    assert drawings.page(fine, Choice()) == "a"


def test_small_fleet_is_not_drawn_in_advance():
    calls = []
    drawings = Drawings(draw=lambda taken, *key: calls.append(taken) or join("a"))
    drawings.page(snapshot(), Choice())
    drawings.prepare(replace(snapshot(), round_seconds=0.05))
    assert len(calls) == 1
