"""Viewers share drawings."""

import threading

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
