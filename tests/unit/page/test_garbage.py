"""Short pauses of the garbage collector."""

import gc

import pytest

from raymon.page.garbage import LongCollections


@pytest.mark.parametrize(("allowed_seconds", "frozen"), [(1e-9, True), (60.0, False)])
def test_what_a_long_collection_leaves_is_not_visited_again(allowed_seconds, frozen):
    collections = LongCollections(allowed_seconds)
    collections.watch()
    try:
        gc.collect()
        assert (gc.get_freeze_count() > 0) == frozen
    finally:
        gc.callbacks.remove(collections.saw)
        gc.unfreeze()
