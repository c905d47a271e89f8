"""The record of what was started: whatever is in it is either read or ignored; a full disk leaves nothing behind."""

import json
import os
import resource

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymon.stack import state
from raymon.stack.sources import Sources
from raymon.stack.state import Part, StackState

PART = Part("grafana", os.getpid(), "ticks 1", 3000, "http://127.0.0.1:3000", ["grafana", "server"], {"1": "ticks 2"})
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


def written(folder):
    state.write(folder, StackState({"grafana": PART}, Sources(targets=("h:1",)), True, "http://h:9090", True))
    return json.loads((folder / "state.json").read_text())


def test_state_round_trip(tmp_path):
    written(tmp_path)
    assert state.read(tmp_path) == StackState({"grafana": PART}, Sources(targets=("h:1",)), True, "http://h:9090", True)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damaged_record_is_read_or_ignored_and_every_use_of_it_works(tmp_path_factory, data):
    folder = tmp_path_factory.getbasetemp() / "damaged"
    folder.mkdir(exist_ok=True)
    record = written(folder)
    holder = data.draw(st.sampled_from([record, record["parts"]["grafana"], record["sources"]]))
    holder[data.draw(st.sampled_from(sorted(holder)))] = data.draw(JSON)
    (folder / "state.json").write_text(json.dumps(record))
    known = state.read(folder)
    for part in known.parts.values():
        assert isinstance(part.url + part.name, str)
        assert (part.running, part.used, part.mine) is not None
    assert known.sources.or_local().named
    state.write(folder, known)


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000, '{"parts": 1}', "\x00"])
def test_broken_file_is_an_empty_record(tmp_path, text):
    (tmp_path / "state.json").write_text(text)
    assert state.read(tmp_path) == StackState()


def test_full_disk_leaves_the_old_file_and_no_draft(tmp_path):
    path = tmp_path / "file"
    state.write_file(path, "old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            state.write_file(path, "new" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "old"


def test_file_that_is_no_text_is_replaced(tmp_path):
    (tmp_path / "state.json").write_bytes(b"\xff\xfe")
    state.write(tmp_path, StackState())
    assert state.read(tmp_path) == StackState()
