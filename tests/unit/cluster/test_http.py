"""One GET: bounded against servers that drip, never redirected, never through a proxy of the environment."""

import contextlib
import socket
import threading
import time

import pytest
from http_replies import ReplyHandler, ReplyServer
from support import poll

from raymon.cluster.http import get, is_url


@contextlib.contextmanager
def dripping(head):
    """A server that sends `head` and then a byte every 50 ms, as long as somebody reads; yields its URL."""
    listener = socket.create_server(("127.0.0.1", 0))

    def talk(connection):
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(head)
            while True:
                connection.sendall(b"x")
                time.sleep(0.05)

    def accept():
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=talk, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    with listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"


@contextlib.contextmanager
def recording(status=200, **headers):
    """A server that answers every GET with these headers; yields its URL and the headers of each request."""
    requests = []

    class Handler(ReplyHandler):
        def do_GET(self):
            requests.append((self.path, dict(self.headers)))
            self.reply(b"{}", status, **headers)

    with ReplyServer(Handler) as server:
        yield server.url, requests


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-Slow: "])
def test_dripping_server_costs_its_timeout_and_no_thread(head):
    with dripping(head) as url:
        began = time.perf_counter()
        reply = get(url, timeout=0.5)
        assert time.perf_counter() - began < 2.0
        assert "within 0." in reply.error
        assert reply.body == b""
        poll(lambda: not [t for t in threading.enumerate() if t.name == "raymon-http"], 2, "its thread ends")


def test_redirect_is_reported_and_takes_no_header_along():
    with recording() as (target, requests), recording(302, Location=f"{target}/x\x1b[31m") as (url, _):
        reply = get(url, headers={"Authorization": "Bearer secret"})
    assert reply.status == 302
    assert f"redirects to {target}" in reply.error
    assert reply.error.isprintable()
    assert requests == []


def test_proxies_of_the_environment_are_not_used(monkeypatch):
    with recording() as (proxy, seen), recording() as (url, _):
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.setenv("HTTP_PROXY", proxy)
        reply = get(url)
    assert (reply.ok, reply.json()) == (True, {})
    assert abs(reply.server_time - time.time()) < 60
    assert seen == []


def test_larger_reply_is_refused():
    with recording() as (url, _):
        assert "larger than" in get(url, most_bytes=1).error


@pytest.mark.parametrize("text", ["http://h:0x1/", "http://", "ftp://h", "http://[::1", "http://h/\x1b"])
def test_wrong_addresses(text):
    assert not is_url(text)
    assert "expected http://" in get(text).error


def test_impossible_chunk_length_is_no_http():
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer():
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-ffffffffffffffffff\r\nx")

        threading.Thread(target=answer, daemon=True).start()
        reply = get(f"http://127.0.0.1:{listener.getsockname()[1]}/", timeout=5.0)
    assert reply.error == "what answers does not speak HTTP (OverflowError)"
