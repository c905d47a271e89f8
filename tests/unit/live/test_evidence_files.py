"""Ray's token goes to a dashboard that was named or is one's own, not to whatever listens where one was found."""

import json
import re
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from http_replies import ReplyHandler, ReplyServer
from support import ROOT

from raymon.cluster import start
from raymon.cluster.control_store import ControlStoreReply
from raymon.cluster.discovery import Raylet
from raymon.incident.processes import standings
from raymon.live import evidence_files
from raymon.live.evidence_files import EvidenceFiles
from raymon.monitor.private_files import private_folder
from raymon.monitor.stack_request import CONTENT, NAME

REMOTE = [("192.0.2.1", 4711)]
FILES = b'{"data": {"result": {"internal": ["raymon/process-4711.json"]}}}'


@pytest.fixture
def dashboard(tmp_path, monkeypatch):
    """A server that a control store calls its dashboard, the authorizations it gets, and whether the store got one."""
    seen = []

    class Handler(ReplyHandler):
        def do_GET(self):
            seen.append(self.headers.get("Authorization"))
            self.reply(FILES)

    with ReplyServer(Handler) as server:

        def ask(_, *, send_token):
            server.sent_token = send_token
            return ControlStoreReply(dashboard_url=server.url)

        raylet = Raylet(f"127.0.0.1:{server.server_port}", tmp_path, tmp_path, "aa", "127.0.0.1")
        monkeypatch.setattr(evidence_files.discovery, "raylets", lambda: (raylet,))
        monkeypatch.setattr(evidence_files, "ask_control_store", ask)
        monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
        yield server, seen, server.url


def test_found_dashboard_of_another_user_gets_no_token(dashboard, planted):
    server, seen, url = dashboard
    planted(server.socket)
    EvidenceFiles().read(REMOTE, 5.0)
    assert seen, "it was asked"
    assert set(seen) == {None}
    assert not server.sent_token
    assert not start._lists_nodes(url), "other processes would send it the token"
    assert set(seen) == {None}


def test_own_and_named_dashboards_get_the_token(dashboard, planted):
    server, seen, url = dashboard
    EvidenceFiles().read(REMOTE, 5.0)
    assert len(seen) == 2, "the list of files, and the file"
    assert server.sent_token
    assert start._lists_nodes(url)
    planted(server.socket)
    EvidenceFiles(url).read(REMOTE, 5.0)
    assert set(seen) == {"Bearer secret"}


@pytest.fixture
def node(tmp_path, monkeypatch):
    """The folder of another node's processes, one of which is healthy, and a dashboard that serves its files."""
    (tmp_path / "logs").mkdir()
    with private_folder(tmp_path / "logs", create=True):
        folder = tmp_path / "logs" / "raymon"
    (folder / NAME).write_bytes(CONTENT)
    asked = []

    class Handler(ReplyHandler):
        def do_GET(self):
            url = urlsplit(self.path)
            query = parse_qs(url.query)
            if url.path.endswith("/file"):
                name = query["filename"][0].removeprefix("raymon/")
                asked.append(name)
                body = (folder / name).read_bytes() if (folder / name).exists() else b""
                if name == NAME and body:
                    write_evidence(folder, [["MainThread", [["step", "/home/me/env.py", 88, ""]]]], time.time())
            else:
                names = [f"raymon/{path.name}" for path in folder.iterdir()]
                body = json.dumps({"data": {"result": {"internal": names}}}).encode()
            self.reply(body)

    monkeypatch.setattr(evidence_files.discovery, "raylets", lambda: ())
    monkeypatch.setattr(evidence_files, "ANSWER_SECONDS", 0.05)
    with ReplyServer(Handler) as server:
        yield folder, asked, EvidenceFiles(server.url)


def write_evidence(folder, stacks, written):
    monitor = {"run": "r", "worker": "3", "silent_since": None}
    content = {"pid": 4711, "written": written, "monitors": [monitor], "where": "step", "waits_for": []}
    (folder / "process-4711.json").write_text(json.dumps({**content, "stacks": stacks, "requested": bool(stacks)}))


def test_healthy_process_on_another_node_is_asked_for_its_stacks(node):
    folder, asked, files = node
    assert files.read(REMOTE, 5.0) == {}
    assert NAME not in asked, "nothing is requested while the page looks at silent processes"
    standing = standings({"worker 3": REMOTE[0]}, (), files, 5.0, request=True)["worker 3"]
    assert (standing.frames, standing.stuck, standing.idle) == (("step (env.py:88)",), False, False)
    write_evidence(folder, [], time.time())
    assert standings({"worker 3": REMOTE[0]}, (), files, 5.0)["worker 3"].frames == ()


def test_answer_to_an_earlier_request_is_not_taken_for_a_new_one(node):
    folder, _, files = node
    write_evidence(folder, [["MainThread", [["step", "/home/me/env.py", 88, ""]]]], time.time())
    (folder / NAME).write_bytes(b" ")
    assert files.read(REMOTE, 5.0)[REMOTE[0]].requested, "it is there for a while"
    (folder / NAME).unlink()
    assert standings({"worker 3": REMOTE[0]}, (), files, 5.0, request=True)["worker 3"].frames == ()


def test_the_header_with_the_token_is_made_in_one_place():
    users = {
        path.relative_to(ROOT).as_posix()
        for path in (Path(ROOT) / "raymon").rglob("*.py")
        if re.search(r"Authorization|Bearer \{|\btoken(\(\))?\.text\b", path.read_text())
    }
    assert users == {"raymon/cluster/auth.py"}
