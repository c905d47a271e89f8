"""The capture request lies in a world-writable folder: what another user plants there is refused and never blocks."""

import json
import os
import time

import pytest

from raymon.monitor.capture import REQUEST, Captures, PhaseNotes
from raymon.monitor.private_files import FOLDER, private_folder, read_file, write_file

ID = "abc123"


class Notebook:
    """A monitor that notes one phase."""

    run, worker = "r", "0"

    def __init__(self):
        self.noting = False

    def start_notes(self):
        self.noting = True

    def end_notes(self):
        was, self.noting = self.noting, False
        return PhaseNotes([("environment", 0, 1)], [], 0) if was else None


@pytest.fixture
def session(tmp_path):
    tmp_path.chmod(0o1777)
    (tmp_path / FOLDER).mkdir(0o700)
    (tmp_path / FOLDER / ID).mkdir(0o700)
    return tmp_path


def ask(session, seconds=60.0):
    text = json.dumps({"id": ID, "until": time.time() + seconds})
    (session / FOLDER / REQUEST).write_text(text)


def noting(session):
    """Return whether a process starts to note, which must take no time."""
    captures, notebook = Captures(), Notebook()
    began = time.monotonic()
    captures.look([notebook], session)
    assert time.monotonic() - began < 1.0
    return notebook.noting


def test_a_request_of_this_user_is_answered(session):
    ask(session, 0.2)
    captures, notebook = Captures(), Notebook()
    captures.look([notebook], session)
    assert notebook.noting
    time.sleep(0.25)
    captures.look([notebook], session)
    answer = json.loads((session / FOLDER / ID / f"{os.getpid()}-0.json").read_text())
    assert answer["spans"][0][0] == "environment"


@pytest.mark.parametrize("where", ["", ID])
def test_a_folder_that_others_may_change_is_refused(session, where):
    ask(session)
    (session / FOLDER / where).chmod(0o777)
    assert not noting(session)


def test_a_folder_of_another_user_is_refused(session, monkeypatch):
    ask(session)
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    if owner == 0:  # root's own folders are trusted
        for path in (session / FOLDER, session / FOLDER / ID, session / FOLDER / REQUEST):
            os.chown(path, 12345, 12345)
    assert not noting(session)


def test_a_link_in_place_of_the_folder_or_the_request_is_refused(session, tmp_path_factory):
    ask(session)
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "folder"
    (session / FOLDER).rename(elsewhere)
    (session / FOLDER).symlink_to(elsewhere)
    assert not noting(session)
    (session / FOLDER).unlink()
    elsewhere.rename(session / FOLDER)
    assert noting(session)
    request = session / FOLDER / REQUEST
    request.rename(request.with_suffix(".real"))
    request.symlink_to(request.with_suffix(".real"))
    assert not noting(session)


def test_a_link_in_place_of_the_answer_is_replaced_not_followed(session, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (session / FOLDER / ID / "answer.json").symlink_to(victim)
    with private_folder(session, ID) as folder:
        write_file(folder, "answer.json", b"{}")
        assert read_file(folder, "answer.json", 10) == b"{}"
    assert victim.read_text() == "precious"


def pipe(path):
    os.mkfifo(path)


def content(text):
    return lambda path: path.write_text(text)


@pytest.mark.parametrize(
    "plant",
    [
        pipe,
        content("[" * 4000),
        content('{"id": "abc123", "until": ' + "9" * 4000 + "}"),
        content('{"id": "abc123", "until": 1e400}'),
        content(json.dumps({"id": ID, "until": time.time() + 60}) + " " * 5000),
        content('{"id": "../abc123", "until": 1}'),
        content("null"),
    ],
    ids=["pipe", "deep", "long number", "infinite", "large", "path", "null"],
)
def test_a_planted_request_never_blocks_nor_ends_the_thread(session, plant):
    plant(session / FOLDER / REQUEST)
    assert not noting(session)
