"""`raymon status` as a command: ports, addresses, the token, ending; and the page's logic without a browser."""

import contextlib
import json
import re
import signal
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stage import Stage, looking_at, processes, show
from streamlit.testing.v1 import AppTest
from support import ROOT, Command, alive, chromium_page, free_port, poll

from raymon import catalog
from raymon import format as formatting
from raymon.html import markup
from raymon.live.dither import Diffusion
from raymon.page import choice

PAGE = ROOT / "raymon" / "page" / "app.py"


def children(pid):
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = path.read_text().rsplit(")", 1)[1].split()
            if int(fields[1]) == pid and fields[0] != "Z":
                found.append(int(path.parent.name))
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_its_child(number):
    with looking_at(f"127.0.0.1:{free_port()}") as status:
        below = children(status.process.pid)
        assert below
        status.process.send_signal(number)
        assert status.wait(15) == 0
        poll(lambda: not any(alive(pid) for pid in below), 10)
        assert "Traceback" not in status.text()


def test_killed_outright_it_leaves_no_child():
    with looking_at(f"127.0.0.1:{free_port()}") as status:
        below = children(status.process.pid)
        assert below
        status.process.kill()
        poll(lambda: not any(alive(pid) for pid in below), 10)


def test_it_listens_on_this_machine_only():
    with looking_at(f"127.0.0.1:{free_port()}") as status:
        port = int(status.url.rsplit(":", 1)[1])
        listening = [
            line.split()[1]
            for table in ("tcp", "tcp6")
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
            if line.split()[3] == "0A" and line.split()[1].endswith(f":{port:04X}")
        ]
        assert listening == [f"0100007F:{port:04X}"]


def upgrade(port, host):
    """The status line of the reply to opening the page's WebSocket under a host name."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        lines = (
            "GET /_stcore/stream HTTP/1.1",
            f"Host: {host}",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "",
            "",
        )
        connection.sendall("\r\n".join(lines).encode())
        return connection.recv(200).decode().splitlines()[0]


STARTER = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-m", "raymon", "status", "--metrics-url", "127.0.0.1:9"],
                         env={**os.environ, "RAYMON_PAGE_PARENT": str(os.getpid())})
print(child.pid, flush=True)
time.sleep(600)
"""


def test_the_page_of_a_run_ends_with_it_even_when_it_is_killed(tmp_path):
    with Command("-c", STARTER, cwd=tmp_path, program=(sys.executable,)) as run:
        poll(lambda: "Status page: http" in run.text(), 60, f"the page\n{run.text()}")
        page = int(run.text().split()[0])
        assert alive(page)
        run.process.kill()
        poll(lambda: not alive(page), 20, "it ends")


def test_two_pages_opened_at_once_take_different_ports(tmp_path):
    options = ("status", "--metrics-url", "127.0.0.1:9")
    with Command(*options, cwd=tmp_path) as one, Command(*options, cwd=tmp_path) as other:
        found = [poll(lambda page=page: re.search(r"http://\S+", page.text()), 60)[0] for page in (one, other)]
        assert found[0] != found[1]


def test_a_foreign_host_name_is_refused():
    with looking_at(f"127.0.0.1:{free_port()}") as status:
        port = int(status.url.rsplit(":", 1)[1])
        assert " 101 " in upgrade(port, f"127.0.0.1:{port}")
        assert " 101 " in upgrade(port, f"localhost:{port}")
        assert " 403 " in upgrade(port, "attacker.example")


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


def test_a_port_in_use_is_one_sentence():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with Command("status", "--port", str(port), cwd=ROOT) as status:
            assert status.wait(30) == 1
            assert status.text().startswith(f"raymon status: port {port} is in use; give another with --port")
            assert len(status.text().strip().splitlines()) == 1


def test_open_to_the_network_it_warns_and_asks_for_its_token():
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


def test_the_foot_tells_what_answers_and_what_would_enable_the_rest():
    with Stage(*processes("foot")) as stage, Stage() as elsewhere:
        options = ("--prometheus-url", f"http://127.0.0.1:{free_port()}", "--grafana-url", elsewhere.url)
        with looking_at(stage.url, options=options) as status, chromium_page() as page:
            show(page, status.url)
            page.wait_for_selector("[data-neighbour]", timeout=20_000)
            for name in ("Grafana", "Prometheus"):
                item = page.locator(f'[data-neighbour="{name}"]')
                assert "does not answer" in item.inner_text()
                assert item.locator("code").inner_text() == "raymon up"


class Health(BaseHTTPRequestHandler):
    """Answers as Grafana's health check does."""

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"database": "ok"}')

    def log_message(self, *_):
        pass


def test_grafana_is_linked_at_the_dashboard_of_what_is_looked_at():
    with ThreadingHTTPServer(("127.0.0.1", 0), Health) as grafana, Stage(*processes("a b")) as stage:
        threading.Thread(target=grafana.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{grafana.server_port}"
        with looking_at(stage.url, options=("--grafana-url", url)) as status, chromium_page() as page:
            for query, path in (
                ("", "raymon-overview?var-run=a+b"),
                ("?worker=1", "raymon-worker?var-run=a+b&var-worker=1"),
            ):
                show(page, status.url, query)
                page.wait_for_selector('[data-neighbour="Grafana"] a', timeout=20_000)
                assert page.locator('[data-neighbour="Grafana"] a').get_attribute("href") == f"{url}/d/{path}"
        grafana.shutdown()


def test_who_comes_after_a_fault_finds_what_was_before():
    with Stage(*processes("early")) as stage, looking_at(stage.url) as status:
        poll(lambda: stage.asked >= 3, 40, "it collects though nobody looks")
        stage.edit(catalog.WORKER_LOSSES, "early", 1000.0, reason="killed")
        asked = stage.asked
        poll(lambda: stage.asked > asked, 20, "the loss is seen")
        with chromium_page() as page:
            show(page, status.url)
            page.wait_for_selector('.verdict[data-state="workers_lost"]', timeout=20_000)
            assert "killed" in page.locator(".verdict").inner_text()


def drawn(monkeypatch, arguments=(), **parameters):
    """What the page sends, run without a browser."""
    monkeypatch.setattr(sys, "argv", ["page.py", *arguments])
    test = AppTest.from_file(str(PAGE), default_timeout=30)
    for name, value in parameters.items():
        test.query_params[name] = value
    test.run()
    assert not test.exception
    element = next(one for one in test.main.children.values() if "Block" in type(one).__name__)
    (canvas,) = [one for one in element.children.values() if type(one).__name__ == "UnknownElement"]
    return json.loads(canvas.proto.json)


def test_the_page_draws_without_a_browser(monkeypatch):
    with Stage(*processes("plain"), *processes("other")) as stage:
        arguments = ("--metrics-url", stage.url, "--run", "plain")

        def run():
            data = drawn(monkeypatch, arguments, state="nonsense", rows="-7", span="2m")
            return data if 'data-run="plain"' in data["html"] else None

        data = poll(run, 30)
        assert data["title"].endswith("plain · raymon")
        assert 'data-run="other"' in drawn(monkeypatch, arguments, run="other")["html"]
        assert 'data-view="run"' in drawn(monkeypatch, arguments, run="no such run")["html"]


def test_without_the_token_nothing_is_told(monkeypatch):
    monkeypatch.setenv("RAYMON_PAGE_TOKEN", "t" * 24)
    html = drawn(monkeypatch)["html"]
    assert "asks for its token" in html
    assert "data-run" not in html


@given(st.text())
def test_any_text_is_only_text(text):
    html = markup.tag("p", text, title=text)
    inside = re.fullmatch(r'<p title="([^"<>]*)">([^<>]*)</p>', html, re.DOTALL)
    assert inside
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", html.replace("\n", ""))


@given(
    st.dictionaries(st.sampled_from([*choice.FIELDS, "token", "x"]), st.one_of(st.text(max_size=300), st.integers()))
)
def test_any_address_is_a_choice_that_can_be_written_again(parameters):
    chosen = choice.read(parameters)
    assert chosen.row_limit in range(25, 501)
    assert chosen.span_seconds >= 120
    assert choice.read(choice.written(chosen)) == chosen


@pytest.mark.parametrize(
    ("form", "value", "text"),
    [
        (formatting.count, 12345.6, "12.3k"),
        (formatting.count, 0, "0"),
        (formatting.count, 999.96, "1k"),
        (formatting.count, 7_000_000, "7M"),
        (formatting.duration, 0.812, "812 ms"),
        (formatting.duration, 200, "3 min 20 s"),
        (formatting.duration, 59.7, "1 min"),
        (formatting.duration, 7500, "2 h 5 min"),
        (formatting.ago, 0.3, "now"),
        (formatting.ago, 200, "3 min ago"),
        (formatting.size, 312e6, "312 MB"),
        (formatting.share, 0.963, "96 %"),
        (formatting.share, 0.05, "5.0 %"),
        (formatting.plain, -0.0032, "-3.2e-3"),
        (formatting.plain, 475.0, "475"),
    ],
)
def test_numbers_as_people_read_them(form, value, text):
    assert form(value) == text


def test_a_row_of_moments_is_in_proportion_to_the_time_of_each_phase():
    phases = Diffusion()
    shown = [phases.next("r", "0", {"environment": 0.3, "inference": 0.1, "waiting": 0.6}) for _ in range(100)]
    assert [round(shown.count(phase) / 10) for phase in ("environment", "inference", "waiting")] == [3, 1, 6]
    assert phases.next("r", "1", {}) is None


@given(st.one_of(st.none(), st.floats()))
def test_every_number_has_words(value):
    for form in (
        formatting.count,
        formatting.duration,
        formatting.ago,
        formatting.size,
        formatting.share,
        formatting.plain,
        formatting.whole,
    ):
        text = form(value)
        assert text
        assert "nan" not in text
        assert "inf" not in text
