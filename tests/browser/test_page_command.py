"""`raymon status` as a command: ports, addresses, requests that are refused, the token, how it ends."""

import asyncio
import contextlib
import json
import re
import signal
import socket
import sys
import time
import urllib.request
from pathlib import Path

import pytest
import websockets
from http_replies import ReplyHandler, ReplyServer
from metrics_pages import NOW, FakeCluster, FakeDriver, FakeWorker
from stage import Stage, looking_at, processes, show
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.testing.v1 import AppTest
from support import ROOT, Command, alive, chromium_page, free_port, get, poll

from raymon import catalog
from raymon.incident.recording_writer import RecordingWriter
from raymon.live.collector import Collector

PAGE = ROOT / "raymon" / "page" / "app.py"


class Replies(ReplyHandler):
    """Answers every request as Grafana's health check does, and remembers what was asked."""

    def do_GET(self):
        self.server.paths.append(self.path)
        self.reply(b'{"database": "ok"}')


@contextlib.contextmanager
def http_server():
    with ReplyServer(Replies) as server:
        server.paths = []
        yield server


@pytest.fixture(scope="module")
def proxy():
    """A proxy in the environment of the page: whatever the page asked of other machines would be seen here."""
    with http_server() as server:
        yield server


@pytest.fixture(scope="module")
def stage():
    with Stage(*processes("a b", workers=32)) as stage:
        yield stage


@pytest.fixture(scope="module")
def grafana():
    with http_server() as server:
        yield server


@pytest.fixture(scope="module")
def status(proxy, stage, grafana):
    services = ("--grafana-url", grafana.url, "--prometheus-url", f"http://127.0.0.1:{free_port()}")
    with looking_at(stage.url, options=services, http_proxy=proxy.url, https_proxy=proxy.url) as status:
        status.port = int(status.url.rsplit(":", 1)[1])
        yield status


def children(pid):
    pids = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rsplit(")", 1)[1].split()
            if int(fields[1]) == pid and fields[0] != "Z":
                pids.append(int(path.parent.name))
    return pids


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_signal_ends_it_and_its_child(number):
    with looking_at(f"127.0.0.1:{free_port()}") as status:
        below = children(status.process.pid)
        assert below
        status.process.send_signal(number)
        assert status.wait(15) == (-signal.SIGKILL if number == signal.SIGKILL else 0)
        poll(lambda: not any(alive(pid) for pid in below), 10)
        assert "Traceback" not in status.text()


def test_it_listens_on_this_machine_only(status):
    listening = [
        line.split()[1]
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
        if line.split()[3] == "0A" and line.split()[1].endswith(f":{status.port:04X}")
    ]
    assert listening == [f"0100007F:{status.port:04X}"]


def upgrade(port, host, origin="", address="127.0.0.1"):
    """Return the status line of the reply to opening the page's WebSocket under a host name."""
    with socket.create_connection((address, port), timeout=10) as connection:
        lines = (
            "GET /_stcore/stream HTTP/1.1",
            f"Host: {host}",
            *([f"Origin: {origin}"] if origin else []),
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "",
            "",
        )
        connection.sendall("\r\n".join(lines).encode())
        return connection.recv(200).decode().splitlines()[0]


def test_foreign_host_names_and_origins_are_refused_without_asking_anybody(status, proxy):
    own = f"127.0.0.1:{status.port}"
    assert " 101 " in upgrade(status.port, own)
    assert " 101 " in upgrade(status.port, f"localhost:{status.port}")
    assert " 403 " in upgrade(status.port, "attacker.example")
    assert " 403 " in upgrade(status.port, own, "http://attacker.example")
    assert proxy.paths == []


def test_no_other_page_may_frame_it(status):
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(status.url, timeout=10) as reply:
        assert reply.headers["X-Frame-Options"] == "DENY"
        assert "frame-ancestors 'none'" in reply.headers["Content-Security-Policy"]


def test_page_on_the_ipv6_loopback_can_be_opened():
    port = free_port()
    command = ("status", "--host", "::1", "--port", str(port), "--metrics-url", "127.0.0.1:9")
    with Command(*command, cwd=ROOT) as status:
        poll(lambda: f"Status page: http://[::1]:{port}" in status.text(), 60, "the page is announced")
        assert " 101 " in upgrade(port, f"[::1]:{port}", f"http://[::1]:{port}", address="::1")


async def open_viewers(url, number, seconds):
    """Open the page as many viewers at once; return the slowest health check meanwhile and how many saw the page."""

    async def view():
        async with websockets.connect(url.replace("http", "ws") + "/_stcore/stream", max_size=None, proxy=None) as page:
            await page.send(BackMsg(rerun_script={}).SerializeToString())
            while len(await page.recv()) < 5000:
                pass

    viewers = [asyncio.create_task(view()) for _ in range(number)]
    slowest, begin = 0.0, time.monotonic()
    while not all(viewer.done() for viewer in viewers) and time.monotonic() - begin < seconds:
        rounds_before = time.monotonic()
        await asyncio.to_thread(get, f"{url}/_stcore/health", seconds)
        slowest = max(slowest, time.monotonic() - rounds_before)
        await asyncio.sleep(0.05)
    seen = sum(viewer.done() and viewer.exception() is None for viewer in viewers)
    for viewer in viewers:
        viewer.cancel()
    return slowest, seen


def test_two_hundred_viewers_at_once_do_not_stall_the_health_check(status):
    slowest, seen = asyncio.run(open_viewers(status.url, 200, 60.0))
    assert seen == 200
    assert slowest < 10.0  # about 2 s on two idle cores


def test_foot_links_to_what_answers_and_names_the_command_for_the_rest(status, grafana):
    with chromium_page() as page:
        for query, path in (
            ("", "raymon-overview?var-run=a+b"),
            ("?worker=1", "raymon-worker?var-run=a+b&var-worker=1"),
        ):
            show(page, status.url, query)
            link = page.locator('[data-service="Grafana"] a')
            link.wait_for(timeout=20_000)
            assert link.get_attribute("href") == f"{grafana.url}/d/{path}"
        prometheus = page.locator('[data-service="Prometheus"]')
        assert "does not answer" in prometheus.inner_text()
        assert prometheus.locator("code").inner_text() == "raymon up"


STARTER = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-m", "raymon", "status", "--metrics-url", "127.0.0.1:9"],
                         env={**os.environ, "RAYMON_PAGE_PARENT": str(os.getpid())})
print(child.pid, flush=True)
time.sleep(600)
"""


def test_page_of_a_run_ends_with_it_even_when_it_is_killed(tmp_path):
    with Command("-c", STARTER, cwd=tmp_path, program=(sys.executable,)) as run:
        poll(lambda: "Status page: http" in run.text(), 60, f"the page\n{run.text()}")
        page = int(run.text().split()[0])
        assert alive(page)
        run.process.kill()
        poll(lambda: not alive(page), 20, "it ends")


def test_two_pages_opened_at_once_take_different_ports(tmp_path):
    options = ("status", "--metrics-url", "127.0.0.1:9")
    with Command(*options, cwd=tmp_path) as one, Command(*options, cwd=tmp_path) as other:
        urls = [poll(lambda page=page: re.search(r"http://\S+", page.text()), 60)[0] for page in (one, other)]
        assert urls[0] != urls[1]


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--port", "70000"), 2, "expected 1 to 65535"),
        (("--metrics-url", "ftp://nowhere"), 2, "expected http://HOST:PORT/metrics"),
        (("--host", "203.0.113.7"), 1, "cannot listen on 203.0.113.7"),
        (("--metrics-url", "a:1", "--discovery-file", "b"), 2, "not several"),
    ],
)
def test_wrong_options_are_one_sentence(options, code, words):
    with Command("status", *options, cwd=ROOT) as status:
        assert status.wait(30) == code
        assert words in status.text()
        assert "Traceback" not in status.text()


def test_port_in_use_is_one_sentence(status):
    with Command("status", "--port", str(status.port), cwd=ROOT) as second:
        assert second.wait(30) == 1
        message = f"raymon status: port {status.port} is in use; give another with --port"
        assert second.text().startswith(message)
        assert len(second.text().strip().splitlines()) == 1


def test_page_open_to_the_network_warns_and_asks_for_its_token():
    with Stage(*processes("secret")) as stage, looking_at(stage.url, options=("--host", "0.0.0.0")) as status:
        assert "Warning: the page listens on 0.0.0.0" in status.text()
        token = re.search(r"Token: (\S+)", status.text()).group(1)
        with chromium_page() as page:
            show(page, status.url, view="login")
            page.locator("input[name=token]").fill("half")
            page.locator("input[name=token]").blur()
            page.wait_for_timeout(8000)
            assert not page.locator(".banner.silent").count(), "it is alive though nothing changes"
            assert page.locator("input[name=token]").input_value() == "half"
            assert "secret" not in page.content()
            page.locator("input[name=token]").fill("wrong")
            page.locator("form button").click()
            page.wait_for_selector('[data-state="refused"]', timeout=10_000)
            page.locator("input[name=token]").fill(token)
            page.locator("form button").click()
            page.wait_for_selector('.page[data-run="secret"]', timeout=20_000)
            assert token not in page.url


def test_viewer_who_comes_after_a_fault_sees_what_was_before_it():
    with Stage(*processes("early")) as stage, looking_at(stage.url) as status:
        poll(lambda: stage.asked >= 3, 40, "it collects though nobody looks")
        stage.edit(catalog.WORKER_LOSSES, "early", 1000.0, reason="killed")
        rounds_before = stage.asked
        poll(lambda: stage.asked > rounds_before, 20, "the loss is seen")
        with chromium_page() as page:
            show(page, status.url)
            page.wait_for_selector('.verdict[data-state="workers_lost"]', timeout=20_000)
            assert "killed" in page.locator(".verdict").inner_text()


def drawn(monkeypatch, arguments=(), **parameters):
    """Return what the page sends to a viewer, run without a browser."""
    monkeypatch.setattr(sys, "argv", ["app.py", *arguments])
    test = AppTest.from_file(str(PAGE), default_timeout=30)
    for name, value in parameters.items():
        test.query_params[name] = value
    test.run()
    assert not test.exception
    element = next(one for one in test.main.children.values() if "Block" in type(one).__name__)
    (component,) = [one for one in element.children.values() if type(one).__name__ == "UnknownElement"]
    return json.loads(component.proto.json)


def test_page_draws_the_chosen_moment_of_a_recording(monkeypatch, tmp_path):
    cluster, recorder = FakeCluster(FakeDriver(), FakeWorker()), RecordingWriter(tmp_path)
    cluster.collector = Collector(["a:1"], clock=lambda: cluster.now, on_round=recorder.add)
    cluster.run(40)
    recorder.close()
    arguments = ("--recording", str(tmp_path))
    ends = drawn(monkeypatch, arguments)["html"]
    assert f'value="{NOW + 40:.0f}" data-bind="at"' in ends
    assert "running for 2 min 20 s" in ends
    earlier = drawn(monkeypatch, arguments, at=f"{NOW + 20:.0f}")["html"]
    assert f'value="{NOW + 20:.0f}" data-bind="at"' in earlier
    assert "running for 2 min<" in earlier


def test_page_draws_the_run_that_the_query_or_the_option_names(monkeypatch):
    with Stage(*processes("plain"), *processes("other")) as stage:
        arguments = ("--metrics-url", stage.url, "--run", "plain")

        def run():
            data = drawn(monkeypatch, arguments, state="nonsense", rows="-7", span="2m")
            return data if 'data-run="plain"' in data["html"] else None

        data = poll(run, 30)
        assert data["title"].endswith("plain · raymon")
        assert 'data-run="other"' in drawn(monkeypatch, arguments, run="other")["html"]
        assert 'data-view="run"' in drawn(monkeypatch, arguments, run="no such run")["html"]


def test_without_the_token_the_page_shows_nothing(monkeypatch):
    monkeypatch.setenv("RAYMON_PAGE_TOKEN", "t" * 24)
    html = drawn(monkeypatch)["html"]
    assert "asks for its token" in html
    assert "data-run" not in html
