"""Ray's token goes to a dashboard that was named or is one's own, not to whatever listens where one was found."""

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from support import ROOT

from raymon.cluster import start
from raymon.cluster.control_store import ControlStoreReply
from raymon.cluster.discovery import Raylet
from raymon.live import evidence_files
from raymon.live.evidence_files import EvidenceFiles

REMOTE = [("192.0.2.1", 4711)]
FILES = b'{"data": {"result": {"internal": ["raymon/process-4711.json"]}}}'


@pytest.fixture
def dashboard(tmp_path, monkeypatch):
    """A server that a control store calls its dashboard, the authorizations it gets, and whether the store got one."""
    seen = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            seen.append(self.headers.get("Authorization"))
            self.send_response(200)
            self.send_header("Content-Length", str(len(FILES)))
            self.end_headers()
            self.wfile.write(FILES)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{server.server_address[1]}"

        def ask(_, *, send_token):
            server.sent_token = send_token
            return ControlStoreReply(dashboard_url=f"http://{address}")

        raylet = Raylet(address, tmp_path, tmp_path, "aa", "127.0.0.1")
        monkeypatch.setattr(evidence_files.discovery, "raylets", lambda: (raylet,))
        monkeypatch.setattr(evidence_files, "ask_control_store", ask)
        monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
        yield server, seen, f"http://{address}"
        server.shutdown()


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


def test_the_header_with_the_token_is_made_in_one_place():
    users = {
        path.relative_to(ROOT).as_posix()
        for path in (Path(ROOT) / "raymon").rglob("*.py")
        if re.search(r"Authorization|Bearer \{|\btoken(\(\))?\.text\b", path.read_text())
    }
    assert users == {"raymon/cluster/auth.py"}
