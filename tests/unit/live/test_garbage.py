"""Full garbage collections are rare and short in a reader."""

import gc

import pytest

from raymon.live.garbage import RareCollections


@pytest.fixture
def full_collections():
    """Count the full collections that Python begins while two million objects come and stay."""
    callbacks, usual = [], gc.get_threshold()

    def count(largest_share):
        full = 0

        def saw(phase, info):
            nonlocal full
            full += phase == "stop" and info["generation"] == 2

        collections = RareCollections(largest_share, short_seconds=60.0)
        callbacks[:] = [collections.saw, saw]
        collections.watch()
        gc.callbacks.append(saw)
        gc.collect()
        full = 0
        kept = [[] for _ in range(2_000_000)]
        assert kept
        for callback in callbacks:
            gc.callbacks.remove(callback)
        callbacks.clear()
        return full

    yield count
    for callback in callbacks:
        gc.callbacks.remove(callback)
    gc.set_threshold(*usual)


def test_after_a_full_collection_there_is_none_for_long(full_collections):
    assert full_collections(1e-6) == 0


def test_full_collections_go_on_within_their_share(full_collections):
    assert full_collections(1e9) > 0


def test_the_other_generations_are_collected_as_always():
    usual = gc.get_threshold()
    collections = RareCollections()
    try:
        collections.saw("start", {"generation": 2})
        collections.saw("stop", {"generation": 2})
        assert gc.get_threshold()[:2] == usual[:2]
    finally:
        gc.set_threshold(*usual)


@pytest.mark.parametrize(("short_seconds", "frozen"), [(1e-9, True), (60.0, False)])
def test_what_a_long_collection_leaves_is_not_visited_again(short_seconds, frozen):
    collections, usual = RareCollections(short_seconds=short_seconds), gc.get_threshold()
    collections.watch()
    try:
        gc.collect()
        assert (gc.get_freeze_count() > 0) == frozen
    finally:
        gc.callbacks.remove(collections.saw)
        gc.unfreeze()
        gc.set_threshold(*usual)
