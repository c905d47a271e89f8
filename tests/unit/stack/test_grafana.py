"""The client of Grafana against hostile servers, proxies of the environment and ports that others have taken over."""

import contextlib
import copy
import gzip
import json
import os
import tracemalloc

import fake_grafana
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymon.stack import files, grafana_server, push, state
from raymon.stack.checks import CheckOptions, Inspection
from raymon.stack.checks.outcome import CheckResult
from raymon.stack.doctor import lines_of
from raymon.stack.grafana import Grafana, GrafanaError
from raymon.stack.process import start_mark

BOMB = gzip.compress(b"[" + b" " * 300_000_000, compresslevel=9)


@pytest.fixture
def grafana():
    with fake_grafana.running() as fake:
        yield fake


@pytest.mark.parametrize("headers", [{"Content-Encoding": "gzip"}, {"Content-Encoding": "deflate, gzip"}])
def test_compressed_bomb_is_refused_unread(grafana, headers):
    grafana.misbehave = lambda _: (200, {"Content-Type": "application/json", **headers}, BOMB)
    tracemalloc.start()
    with pytest.raises(GrafanaError, match="answers compressed"):
        Grafana(grafana.url, "secret-admin").health()
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


def test_endless_reply_is_refused(grafana, monkeypatch):
    monkeypatch.setattr("raymon.stack.grafana.MOST_BYTES", 1000)
    grafana.misbehave = fake_grafana.plain(200, b'{"database": "ok"' + b" " * 2000 + b"}")
    with pytest.raises(GrafanaError, match="answers with more than"):
        Grafana(grafana.url).health()


def test_login_for_this_machine_goes_through_no_proxy(grafana, monkeypatch):
    with fake_grafana.running() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert Grafana(grafana.url, "secret-admin").folder("raymon") is None
        assert proxy.requests == []
    assert grafana.requests


def context_of(grafana, folder, pid, mark):
    """A doctor's view of a Grafana that `raymon up` started at this address as process `pid`."""
    port = int(grafana.url.rpartition(":")[2])
    part = state.Part("grafana", pid, mark, port, grafana.url, ["grafana"])
    state.write(folder, state.StackState({"grafana": part}))
    grafana_server.admin_password(folder)
    return Inspection(CheckOptions(directory=folder))


def test_password_goes_to_no_program_that_took_the_port_of_a_dead_grafana(grafana, tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_GRAFANA_HOST", raising=False)
    dead = context_of(grafana, tmp_path, 2**22, "ticks 1")
    assert dead.has_grafana
    assert dead.grafana_auth is None
    with pytest.raises(GrafanaError):
        dead.grafana.dashboard("raymon-overview")
    alive = context_of(grafana, tmp_path, os.getpid(), start_mark(os.getpid()))
    assert alive.has_grafana
    assert alive.grafana_auth == ("admin", grafana_server.password_file(tmp_path).read_text().strip())
    assert {authorization for *_, authorization in grafana.requests} == {None}, "health needs no login"


def test_token_of_the_environment_goes_to_no_unnamed_grafana(grafana, tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_GRAFANA_HOST", raising=False)
    monkeypatch.setattr(grafana_server, "DEFAULT_PORT", int(grafana.url.rpartition(":")[2]))
    assert Inspection(CheckOptions(grafana_auth="secret", directory=tmp_path)).grafana_auth is None
    named = Inspection(CheckOptions(grafana_auth="secret", grafana_url=grafana.url, directory=tmp_path))
    assert named.grafana_auth == "secret"


MODEL = next(iter(files.dashboards().values()))
SMALL = {**MODEL, "panels": MODEL["panels"][:2]}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def places(value):
    """Yield every container and key inside a JSON document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield value, key
        yield from places(inner)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_damaged_reply_is_one_sentence_or_a_plan(data):
    reply = {"dashboard": copy.deepcopy(SMALL), "meta": {"folderUid": "x", "provisioned": False, "updatedBy": "a"}}
    holder, key = data.draw(st.sampled_from(list(places(reply))))
    holder[key] = data.draw(JSON)

    class Damaged(Grafana):
        def __init__(self):
            self.url = "http://h"

        def _request(self, _method, path, _body=None):
            if path == "/health":
                return {"database": "ok"}
            return data.draw(JSON) if "/versions" in path or "dashboards" not in path else reply

    steps = []
    with contextlib.suppress(GrafanaError):
        steps = push.plan(Damaged(), {"a.json": SMALL}, files.datasource(), push.Target(prometheus_url="http://p"))
    for step in steps:
        assert isinstance(step.reason, str)
        assert all(isinstance(line, str) for line in step.preview())


def test_doctor_prints_no_terminal_escapes():
    evil = "ruler \x1b]0;owned\x07\x1b[2J\nok       everything"
    (line, advice, *_) = lines_of([CheckResult("rules", "?", "problem", evil, evil)])
    assert (line + advice).isprintable()


def test_error_of_a_server_holds_no_terminal_escapes(grafana):
    grafana.misbehave = fake_grafana.plain(500, json.dumps({"message": "\x1b[31mred\ud800"}).encode())
    with pytest.raises(GrafanaError) as caught:
        Grafana(grafana.url).health()
    assert str(caught.value).isprintable()
