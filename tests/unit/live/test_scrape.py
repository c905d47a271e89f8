"""Fetching and reading metrics pages: right on real ones, harmless on broken and hostile ones, bounded always."""

import contextlib
import json
import os
import shutil
import socket
import threading
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from metrics_pages import URL, line
from prometheus_client.parser import text_string_to_metric_families
from support import get, poll
from synthetic import fleet, serve

from raymon import catalog
from raymon.cluster import discovery
from raymon.format import LONGEST_LABEL
from raymon.live import parse, scrape, targets
from raymon.live.collector import Collector
from raymon.live.parse import MOST_LABELS, READ_LABELS, WANTED, Parser, checked_series, number
from raymon.live.scrape import AT_ONCE, MOST_TARGETS, Page, Scraper
from raymon.live.targets import (
    DashboardTargets,
    DiscoveryFileTargets,
    LocalTargets,
    NamedTargets,
    endpoints,
    metrics_url,
)

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n"
SAMPLE = line(catalog.ENV_STEPS.name, 5, run="r", worker="0").encode()


@contextlib.contextmanager
def server(answer):
    """A TCP server on the loopback; `answer(connection)` is called for each connection, in a thread of its own."""
    listening = socket.create_server(("127.0.0.1", 0))
    stopped = threading.Event()

    def talk(connection):
        with connection, contextlib.suppress(OSError):
            answer(connection, stopped)

    def accept():
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listening.accept()
                threading.Thread(target=talk, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/metrics"
    finally:
        stopped.set()
        listening.close()


def sending(*parts):
    def answer(connection, _):
        connection.recv(65536)
        for part in parts:
            connection.sendall(part)

    return answer


def counting(seconds, at_once):
    """Answer after so many seconds; `at_once` gets the number of requests that are being answered."""
    running = []

    def answer(connection, _):
        connection.recv(65536)
        running.append(connection)
        at_once.append(len(running))
        time.sleep(seconds)
        running.remove(connection)
        connection.sendall(OK + SAMPLE)

    return answer


def dripping(before):
    def answer(connection, stopped):
        connection.recv(65536)
        connection.sendall(before)
        while not stopped.wait(0.05):
            connection.sendall(b"x")

    return answer


def endless(connection, stopped):
    connection.recv(65536)
    connection.sendall(OK)
    while not stopped.is_set():
        connection.sendall(SAMPLE * 5000)


def silent(_, stopped):
    stopped.wait()


def samples(page):
    return {(series.name, *sorted(series.labels.items())): value for series, value in Parser().samples(page)}


def read_labels(sample):
    return [(label, text) for label, text in sample.labels.items() if label in READ_LABELS[sample.name]]


def test_a_whole_page_reads_as_the_reference_parser_reads_it():
    with serve(fleet(workers=8, nodes=1, runs=2)) as addresses:
        page = get(metrics_url(addresses[0]))
    ours = samples(page.encode())
    reference = {
        (sample.name, *sorted(read_labels(sample))): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name in WANTED
    }
    assert ours == reference
    assert len(ours) > 8 * 20


def test_reading_is_many_times_faster_than_the_reference_parser():
    with serve(fleet(workers=60, nodes=1, runs=1)) as addresses:
        page = get(metrics_url(addresses[0]))
    parser, body = Parser(), page.encode()

    def spent(work):
        times = []
        for _ in range(3):
            begun = time.perf_counter()
            work()
            times.append(time.perf_counter() - begun)
        return min(times)

    assert 5 * spent(lambda: list(parser.samples(body))) < spent(lambda: list(text_string_to_metric_families(page)))


def test_labels_that_nobody_reads_take_no_memory():
    known = "".join(f',l{number}="{"x" * 20}"' for number in range(MOST_LABELS - 2))
    body = line(catalog.ENV_STEPS.name, 1, run="r", worker="0").encode()
    many = "".join(f',l{number}=""' for number in range(680))
    lines = [f'{catalog.ENV_STEPS.name}{{run="r{number}"{many}}} 1'[:4096] for number in range(2000)]
    lines = [text[: text.rindex(",")] + "} 1" for text in lines]
    page = "\n".join(lines).encode()
    tracemalloc.start()
    parser = Parser()
    assert parser.samples(page) == []
    assert tracemalloc.get_traced_memory()[0] < 20e6
    tracemalloc.stop()
    ((series, _),) = parser.samples(f'{catalog.ENV_STEPS.name}{{run="r",worker="0"{known}}} 1'.encode())
    assert dict(series.labels) == {"run": "r", "worker": "0"}
    assert parser.samples(body)
    assert READ_LABELS.keys() == WANTED
    assert checked_series(catalog.ENV_STEPS.name, {"run": "r", **{f"l{number}": "" for number in range(680)}}) is None


def test_text_of_all_series_is_bounded(monkeypatch):
    monkeypatch.setattr(parse, "MOST_HEAD_BYTES", 10_000)
    parser = Parser()
    body = b"".join(line(catalog.ENV_STEPS.name, 1, run=f"r{i}", worker="0").encode() for i in range(500))
    samples = parser.samples(body)
    assert 50 < len(samples) < 200
    assert parser.crowded
    parser.keep({samples[0][0]})
    assert not parser.crowded


def test_escapes_in_labels_are_undone_and_unprintable_ones_escaped():
    body = catalog.ENV_STEPS.name.encode() + b'{run="a\\"b\\\\c{}, d=\\"e",worker="x\\ny\x1b[1m"} 3e+09 1700000000000\n'
    ((series, value),) = Parser().samples(body)
    assert (series.labels["run"], value) == ('a"b\\c{}, d="e', 3e9)
    assert series.labels["worker"] == "x\\ny\\x1b[1m"


@pytest.mark.parametrize("run", ["café", "实验-é %", "50%", "%C3%A9-é"])
def test_labels_beyond_ascii_are_read_as_they_were_recorded(run):
    body = line(catalog.ENV_STEPS.name, 1, run=catalog.ascii_label(run), worker="0").encode()
    ((series, _),) = Parser().samples(body)
    assert series.labels["run"] == run.replace("%C3%A9", "é")
    broken = line(catalog.ENV_STEPS.name, 1, run="%C3-%FF", worker="0").encode()
    assert Parser().samples(broken)[0][0].labels["run"] == "%C3-%FF"


@pytest.mark.parametrize("text", ["NaN", "+Inf", "1_000", "0x10", "", "five", "1 2 3", "\uff11"])
def test_values_that_are_not_finite_are_none(text):
    assert number(text.encode()) is None


def test_series_beyond_the_limit_are_dropped_and_those_gone_forgotten():
    parser = Parser(most_series=100)
    body = b"".join(line(catalog.ENV_STEPS.name, 1, run=f"r{i}", worker="0").encode() for i in range(500))
    samples = list(parser.samples(body))
    assert len(samples) == 100
    assert parser.dropped == 400
    assert parser.crowded
    parser.keep({samples[0][0]})
    assert len(list(parser.samples(body))) == 100


def test_a_page_that_has_changed_in_between_is_read_as_by_a_new_parser():
    def page(moment, runs):
        return b"".join(line(catalog.ENV_STEPS.name, moment, run=run, worker="0").encode() for run in runs)

    parser = Parser()
    first = dict(parser.samples(page(1, "abcd")))
    for runs in ("abcd", "abxd", "abd", "abcd", "aabcd", "dcba", "", "abcd"):
        assert [(series.labels["run"], value) for series, value in parser.samples(page(2, runs))] == [
            (run, 2.0) for run in runs
        ]
    assert dict(parser.samples(page(3, "abcd"))) == dict.fromkeys(first, 3.0), "each series is the same object"
    parser.keep(set(list(first)[:2]))
    again = parser.samples(page(4, "abcd"))
    assert [series in first for series, _ in again] == [True, True, False, False]
    assert parser.dropped == 0


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=3000))
def test_any_bytes_are_harmless(body):
    for series, value in Parser().samples(body + b"\n" + SAMPLE + b"\n" + body):
        assert series.name in WANTED
        assert value == value


names = st.sampled_from(sorted(WANTED))
labels = st.dictionaries(
    st.sampled_from(
        ["run", "worker", "WorkerId", "activity", "phase", "state", "kind", "NodeAddress", "Location", "ip"]
    ),
    st.one_of(st.sampled_from(["r", "0", "driver", "waiting", "up", "learn", "1"]), st.text(max_size=200)),
)
values = st.one_of(
    st.floats().map(repr), st.integers().map(str), st.sampled_from(["NaN", "+Inf", "-1e308", "1e308", "x"])
)


def pairs(labels):
    safe = {key: text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") for key, text in labels.items()}
    return ",".join(f'{key}="{text}"' for key, text in safe.items())


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(st.tuples(names, labels, values), max_size=25), min_size=1, max_size=4), st.data())
def test_any_samples_of_any_family_leave_a_snapshot_that_can_be_shown(rounds, data):
    now = 1.8e9
    collector = Collector([URL], clock=lambda: now)
    for rows in rounds:
        now += data.draw(st.sampled_from([0.0, 1.0, 20.0, -50.0, 1e6]))
        text = "".join(f"{name}{{{pairs(labels)}}} {value}\n" for name, labels, value in rows)
        snapshot = collector.digest([Page(URL, text.encode("utf-8", "replace"))])
    for run in snapshot.runs:
        assert run.run.isprintable()
        assert len(run.run) <= LONGEST_LABEL
        assert run.run in snapshot.verdicts
        assert all(worker.worker.isprintable() for worker in run.workers)
        assert run.data_age_seconds is None or run.data_age_seconds >= 0.0


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (dripping(OK), "within 1 s"),
        (dripping(b"HTTP/1.1 200 OK\r\nX-Slow: "), "within 1 s"),
        (silent, "within 1 s"),
        (endless, "larger than"),
        (sending(b"HTTP/1.1 302 Found\r\nLocation: http://example.com/\r\nContent-Length: 0\r\n\r\n"), "redirects"),
        (sending(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"), "wants a token"),
        (sending(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"), "HTTP 500"),
        (sending(b"SSH-2.0-OpenSSH_9.2\r\n"), "does not speak HTTP"),
        (sending(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\nray"), "broke off"),
        (sending(b""), "does not speak HTTP"),
    ],
)
def test_a_misbehaving_server_costs_bounded_time(answer, error):
    scraper = Scraper(timeout_seconds=1.0, most_bytes=2_000_000)
    with server(answer) as bad, server(sending(OK, SAMPLE)) as good:
        begun = time.perf_counter()
        pages = scraper.fetch([bad, good])
        assert time.perf_counter() - begun < 5.0
    assert error in pages[0].error
    assert pages[0].body == b""
    assert (pages[1].error, pages[1].body) == ("", SAMPLE)


def test_hanging_servers_are_scraped_in_parallel():
    before = threading.active_count()
    scraper = Scraper(timeout_seconds=1.0)
    with server(silent) as bad:
        begun = time.perf_counter()
        pages = scraper.fetch([f"{bad}?{number}" for number in range(40)])
        assert time.perf_counter() - begun < 8.0
    assert all(page.error for page in pages)
    poll(lambda: threading.active_count() <= before + 45, 10, "the fetching threads end")
    poll(lambda: not [t for t in threading.enumerate() if t.name == "raymon-http"], 10, "no fetching thread is left")


class HangingRequest:
    running = True
    url = "http://hangs"


def test_few_requests_run_at_once_while_each_ends_soon(monkeypatch):
    monkeypatch.setattr(scrape, "PATIENCE_SECONDS", 60.0)
    monkeypatch.setattr(scrape, "MOST_PATIENCE_SECONDS", 60.0)
    at_once = []
    with server(counting(0.2, at_once)) as url:
        pages = Scraper(timeout_seconds=60.0).fetch(f"{url}?{number}" for number in range(3 * AT_ONCE))
    assert not any(page.error for page in pages)
    assert max(at_once) <= AT_ONCE


def test_slow_servers_do_not_keep_the_others_waiting():
    at_once = []
    with server(counting(1.0, at_once)) as url:
        begun = time.monotonic()
        pages = Scraper(timeout_seconds=30.0).fetch(f"{url}?{number}" for number in range(4 * AT_ONCE))
        spent = time.monotonic() - begun
    assert not any(page.error for page in pages)
    assert max(at_once) > 2 * AT_ONCE
    assert spent < 4.0, "one after the other, four times sixteen take four seconds"


def test_requests_that_hang_are_counted_and_no_more_are_made():
    hanging = {f"http://hangs/{number}": HangingRequest() for number in range(MOST_TARGETS)}
    scraper = Scraper(timeout_seconds=1.0, _hanging=hanging)
    before = threading.active_count()
    first, new = scraper.fetch(["http://hangs/0", "http://new"])
    assert "an earlier request" in first.error
    assert "too many earlier requests" in new.error
    assert threading.active_count() == before


def test_nothing_listens_no_such_host_no_url():
    pages = Scraper(timeout_seconds=2.0).fetch(["http://127.0.0.1:1/metrics", "ftp://x/y", "http://"])
    assert "nothing listens" in pages[0].error
    assert "expected http" in pages[1].error
    assert pages[2].error


def test_a_node_that_is_too_busy_to_answer_is_not_called_ended():
    late = Page(URL, b"", error="not complete within 3 s")
    assert "too busy to answer in time" in Collector([URL]).digest([late]).problem
    refused = Page(URL, b"", error="connection refused: nothing listens there")
    assert "the cluster has ended" in Collector([URL]).digest([refused]).problem


def test_a_page_that_is_no_metrics_page_is_called_so():
    with server(sending(OK, b"<html><body>login</body></html>")) as url:
        assert "not the metrics page" in Collector([url]).collect().problem
    with server(sending(OK, b"# HELP ray_x y\nray_x 1\n")) as url:
        assert "no run has recorded" in Collector([url]).collect().problem


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("10.0.0.1:8080", "http://10.0.0.1:8080/metrics"),
        ("http://node:8080", "http://node:8080/metrics"),
        ("https://node/sub/metrics", "https://node/sub/metrics"),
        ("[::1]:8080", "http://[::1]:8080/metrics"),
    ],
)
def test_endpoints_are_completed(text, url):
    assert metrics_url(text) == url


@pytest.mark.parametrize("text", ["", "ftp://node/metrics", "http://", "node:port", "file:///etc/passwd"])
def test_wrong_endpoints_are_refused(text):
    with pytest.raises(ValueError, match=r".+"):
        NamedTargets.of([text])


def test_a_discovery_file_is_read_again_each_time(tmp_path):
    path = tmp_path / "sd.json"
    assert "does not exist" in DiscoveryFileTargets(path).find().problem
    path.write_text("{not json")
    assert "not JSON" in DiscoveryFileTargets(path).find().problem
    path.write_text(json.dumps([{"labels": {}, "targets": ["10.0.0.1:1", "10.0.0.2:2", "file:///x", 5, "a\x1bb:1"]}]))
    assert DiscoveryFileTargets(path).find().urls == ("http://10.0.0.1:1/metrics", "http://10.0.0.2:2/metrics")
    path.write_text("[]")
    assert "lists no node" in DiscoveryFileTargets(path).find().problem


@given(st.recursive(st.none() | st.text() | st.integers(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)))
def test_any_discovery_document_is_harmless(document):
    urls = endpoints(discovery.targets_of(document))
    assert all(url.startswith("http") for url in urls)


def test_the_dashboard_gets_rays_token(tmp_path, monkeypatch):
    seen = []

    def answer(connection, _):
        seen.append(connection.recv(65536).decode())
        body = b'[{"targets": ["10.0.0.1:8080"]}]'
        status = b"200 OK" if "Bearer secret" in seen[-1] else b"401 Unauthorized"
        connection.sendall(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))

    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    with server(answer) as url:
        address = url.removesuffix("/metrics").removeprefix("http://")
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
        assert "token" in DashboardTargets(address).find().problem
        (tmp_path / "token").write_text("secret\n")
        assert DashboardTargets(address).find().urls == ("http://10.0.0.1:8080/metrics",)
    assert "GET /api/prometheus/sd " in seen[0]


@pytest.fixture
def ray_node(tmp_path):
    """Return a function that makes a node of Ray appear on this machine."""
    processes, temp = tmp_path / "proc", tmp_path / "ray"

    def node(pid, name, node_id, port, address="10.0.0.9"):
        session = temp / name
        session.mkdir(parents=True, exist_ok=True)
        (session / f"metrics_export_port_{node_id}").write_text(str(port))
        (processes / str(pid)).mkdir(parents=True)
        arguments = [
            "/x/raylet/raylet",
            f"--session_dir={session}",
            f"--node_id={node_id}",
            f"--node_ip_address={address}",
        ]
        (processes / str(pid) / "cmdline").write_text("\0".join(arguments))
        return session

    return node


def test_the_newest_local_session_is_found(tmp_path, ray_node):
    processes, temp = tmp_path / "proc", tmp_path / "ray"
    processes.mkdir()
    assert "You run no Ray cluster" in LocalTargets(processes).find().problem
    ray_node(11, "session_2026-01-01_00-00-00_1_1", "aa", 1111)
    newest = ray_node(12, "session_2026-02-01_00-00-00_1_1", "bb", 2222)
    ray_node(13, "session_2026-02-01_00-00-00_1_1", "cc", 3333)
    local = LocalTargets(processes).find()
    assert set(local.urls) == {"http://10.0.0.9:2222/metrics", "http://10.0.0.9:3333/metrics"}
    assert "the newest of 2 sessions" in local.source
    (newest / "metrics_export_port_bb").write_text("-1")
    assert LocalTargets(processes).find().urls == ("http://10.0.0.9:3333/metrics",)
    (temp / "session_latest").symlink_to(newest)
    listed = temp / discovery.DISCOVERY_FILE
    listed.write_text(json.dumps([{"targets": ["10.0.0.7:7777"]}]))
    assert LocalTargets(processes).find().urls == ("http://10.0.0.7:7777/metrics",), (
        "other nodes' endpoints are only there"
    )
    os.utime(listed, (1, 1))
    assert LocalTargets(processes).find().urls == ("http://10.0.0.9:3333/metrics",), (
        "an old list is of an ended session"
    )


def test_a_viewer_stays_in_the_session_of_its_run(tmp_path, ray_node):
    local = LocalTargets(tmp_path / "proc")
    first, second = "session_2026-01-01_00-00-00_1_1", "session_2026-02-01_00-00-00_1_1"
    ray_node(11, first, "aa", 1111)
    assert local.find().urls == ("http://10.0.0.9:1111/metrics",)
    ray_node(12, second, "bb", 2222)
    local.stay = True
    listed = tmp_path / "ray" / first / discovery.DISCOVERY_FILE
    listed.write_text(json.dumps([{"targets": ["10.0.0.9:1111", "10.0.0.8:1111"]}]))
    assert len(local.find().urls) == 2, "nodes on other machines"
    listed.unlink()
    stayed = local.find()
    assert stayed.urls == ("http://10.0.0.9:1111/metrics",), "another program has started Ray"
    assert "the one with a live run of 2 sessions" in stayed.source
    assert "`--metrics-url http://10.0.0.9:2222/metrics`" in stayed.source
    shutil.rmtree(tmp_path / "proc" / "11")
    assert local.find().urls == ("http://10.0.0.9:2222/metrics",), "the first session has ended"
    ray_node(11, first, "aa", 1111)
    assert LocalTargets(tmp_path / "proc").find().urls == ("http://10.0.0.9:2222/metrics",)


def test_a_collector_stays_with_a_live_run_only(tmp_path, ray_node, monkeypatch):
    monkeypatch.setattr("raymon.live.collector.TARGETS_SECONDS", 0.0)
    with serve(fleet(workers=4, nodes=1, runs=1)) as addresses:
        host, port = addresses[0].split(":")
        ray_node(11, "session_2026-01-01_00-00-00_1_1", "aa", int(port), host)
        collector = Collector(LocalTargets(tmp_path / "proc"))
        assert collector.collect().runs
        ray_node(12, "session_2026-02-01_00-00-00_1_1", "bb", 1, host)
        assert [target.url for target in collector.collect().targets] == [metrics_url(addresses[0])]
        idle = Collector(LocalTargets(tmp_path / "proc"))
        assert "127.0.0.1:1/" in idle.collect().problem


def test_only_one_way_to_name_the_endpoints_is_taken():
    with pytest.raises(ValueError, match="not several"):
        targets.choose(["a:1"], "file.json")
