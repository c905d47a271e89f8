"""`raymon doctor` on a live Ray with Prometheus and Grafana, and with parts taken away one after another."""

import json
import os
import re
import socket
import sys
import time

import fake_grafana
import pytest
import yaml
from http_replies import ReplyHandler, ReplyServer
from support import free_port, metrics_url, poll, ray_session, running_prometheus

from raymon import catalog
from raymon.cluster import http
from raymon.stack import compare, files
from raymon.stack.checks import CHECKS, CheckOptions, Inspection, machine
from raymon.stack.checks.endpoints import found_among
from raymon.stack.doctor import examine, exit_code, main
from raymon.stack.running import StackOptions, stop_stack
from raymon.stack.sources import Sources
from raymon.stack.starting import start_stack


class Live:
    """Addresses of what runs, and the doctor's view of it."""

    def __init__(self, address, temp_dir, directory, grafana):
        self.address, self.temp_dir, self.directory, self.grafana = address, temp_dir, directory, grafana
        self.prometheus_url = ""

    def options(self, **other):
        values = {
            "address": self.address,
            "directory": self.directory,
            "prometheus_url": self.prometheus_url,
            "grafana_url": self.grafana.url,
            "grafana_auth": "secret-admin",
            "timeout": 5.0,
        }
        return CheckOptions(**{**values, **other})

    def examine(self, **other):
        return {result.check: result for result in examine(self.options(**other))}


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    """Ray with its dashboard, a Prometheus that follows it, a Grafana with our dashboards, a process that records."""
    import ray

    from raymon import Monitor

    directory = tmp_path_factory.mktemp("stack")
    patch = pytest.MonkeyPatch()
    with fake_grafana.running() as grafana:
        port = free_port()
        patch.setenv("RAY_PROMETHEUS_HOST", f"http://127.0.0.1:{port}")
        patch.setenv("RAY_GRAFANA_HOST", grafana.url)
        with ray_session(num_cpus=1, dashboard=True, dashboard_port=free_port()) as temp_dir:
            patch.undo()
            live = Live(ray.get_runtime_context().gcs_address, temp_dir, directory, grafana)
            monitor = Monitor(worker=0, run="doctor")
            stack = start_stack(StackOptions(directory, Sources((temp_dir,)), port, with_grafana=False))
            try:
                assert not stack.problems
                live.prometheus_url = stack.prometheus_url
                put_everything(grafana)
                poll(lambda: live.examine()["scraping"].state == "ok", 60, "Prometheus scrapes this Ray", every=1.0)
                poll(lambda: live.examine()["gauges"].state == "ok", 40, "the process beats", every=1.0)
                yield live
            finally:
                monitor.close()
                stop_stack(directory)


def put_everything(grafana):
    grafana.folders["raymon"] = "raymon"
    grafana.datasources[files.datasource()["uid"]] = {**files.datasource(), "url": "http://p:9090"}
    for model in files.dashboards().values():
        grafana.put_dashboard(model, "raymon", compare.message(model))


def states(results):
    return {name: result.state for name, result in results.items()}


def expect_only(results, *problems):
    """Everything else is well; each problem has evidence and a command that fixes it."""
    wrong = {name for name, result in results.items() if result.state not in ("ok", "absent")}
    assert wrong == set(problems), [result for result in results.values() if result.check in wrong ^ set(problems)]
    for name in problems:
        assert results[name].evidence
        assert results[name].mend


def test_all_is_well(live):
    results = live.examine()
    assert states(results) == dict.fromkeys([check.name for check in CHECKS], "ok"), results.values()
    assert list(results) == [check.name for check in CHECKS]
    assert exit_code(list(results.values())) == 0
    mends = {name: result.mend for name, result in results.items() if result.mend}
    assert set(mends) <= {"token"}, mends  # others may be able to read Ray's token in this user's home


def test_the_command_prints_lines_and_json(live, capsys):
    flags = ["--address", live.address, "--directory", str(live.directory), "--grafana-url", live.grafana.url]
    assert main([*flags, "--prometheus-url", live.prometheus_url, "--json"]) == 2  # no token: dashboards unknown
    results = json.loads(capsys.readouterr().out)
    assert [entry["check"] for entry in results] == [check.name for check in CHECKS]
    assert set(results[0]) == {"check", "question", "state", "evidence", "mend"}
    by_name = {entry["check"]: entry for entry in results}
    assert by_name["dashboards"]["state"] == "unknown"
    assert "--grafana-token-file" in by_name["dashboards"]["mend"]
    assert main([*flags, "--prometheus-url", f"http://127.0.0.1:{free_port()}"]) == 1
    printed = capsys.readouterr().out
    assert "PROBLEM  prometheus " in printed
    assert "-> " in printed


def test_ray_finds_itself(live, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    results = live.examine(address="", temp_dir=live.temp_dir)
    assert live.address in results["ray"].evidence
    monkeypatch.setenv("RAY_ADDRESS", live.address)
    assert live.address in live.examine(address="")["ray"].evidence


@pytest.mark.parametrize("token", ["wrong-token", None])
def test_the_token_is_wrong_or_missing(live, monkeypatch, tmp_path, token):
    dashboard = Inspection(live.options()).dashboard_url
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    if token:
        monkeypatch.setenv("RAY_AUTH_TOKEN", token)
    results = live.examine(dashboard_url=dashboard, address="", metrics_urls=(metrics_url(),))
    assert results["token"].state == "problem"
    assert "ray get-auth-token" in results["token"].mend
    assert ("RAY_AUTH_TOKEN is not this cluster's" if token else "there is none") in results["token"].evidence
    assert results["endpoints"].state == "ok", "the nodes' pages need no token"


def test_prometheus_is_gone(live):
    results = live.examine(prometheus_url=f"http://127.0.0.1:{free_port()}")
    expect_only(results, "prometheus")
    assert "connection refused" in results["prometheus"].evidence
    assert states(results)["scraping"] == "absent"


def test_prometheus_scrapes_another_session_without_our_rules(live, tmp_path):
    config = tmp_path / "prometheus.yml"
    config.write_text(
        yaml.safe_dump({"scrape_configs": [{"job_name": "ray", "static_configs": [{"targets": ["127.0.0.1:1"]}]}]})
    )
    with running_prometheus(config, tmp_path / "data") as other:
        poll(lambda: other.api("targets")["activeTargets"], 10, "it has its target")
        results = live.examine(prometheus_url=other.url)
    expect_only(results, "scraping", "rules")
    assert "another or an earlier session" in results["scraping"].evidence
    assert f"raymon up --ray-temp-dir {live.temp_dir}" in results["scraping"].mend


def test_names_of_the_loopback_are_one_place(elsewhere, tmp_path):
    elsewhere.pages["/metrics"] = page(a=0.5)
    port = elsewhere.server_port
    config = tmp_path / "prometheus.yml"
    job = {"job_name": "ray", "scrape_interval": "1s", "static_configs": [{"targets": [f"localhost:{port}"]}]}
    config.write_text(yaml.safe_dump({"scrape_configs": [job]}))
    with running_prometheus(config, tmp_path / "data") as other:
        poll(lambda: other.query("up == 1"), 20, "it is scraped")
        assert elsewhere.ask(prometheus_url=other.url)["scraping"].state == "ok"


def test_a_host_is_found_by_name_and_by_every_address():
    assert found_among("10.1.2.3:8080", ["node:8080", "10.1.2.3:8080"], here=True) == "10.1.2.3:8080"
    own = socket.gethostbyname(socket.gethostname())
    assert found_among(f"{own}:8080", [f"{socket.gethostname()}:8080"], here=False) == f"{socket.gethostname()}:8080"
    assert found_among(f"{own}:8080", ["127.0.0.1:8080"], here=True) == "127.0.0.1:8080"
    for wanted, named, here in (
        ("192.0.2.77:8080", ["127.0.0.1:8080"], True),  # not this machine's
        ("127.0.0.9:8080", ["127.0.0.1:8080"], False),  # the other's loopback
        ("127.0.0.1:8080", ["localhost:8081"], True),
        ("127.0.0.1:8080", ["no.such.host.invalid:8080", "", "a b:8080"], True),
    ):
        assert found_among(wanted, named, here) is None


@pytest.mark.parametrize("token", ["wrong-token", None])
def test_a_cluster_named_by_its_address_wants_its_token(live, monkeypatch, tmp_path, token):
    assert live.examine()["token"].state == "ok"
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    if token:
        monkeypatch.setenv("RAY_AUTH_TOKEN", token)
    result = live.examine()["ray"]
    assert result.state == "problem"
    assert "ray get-auth-token" in result.mend
    assert ("RAY_AUTH_TOKEN is not its own." if token else "it wants a token and there is none in") in result.evidence


@pytest.mark.parametrize(
    "option",
    [
        "--timeout=nan",
        "--timeout=0",
        "--timeout=inf",
        "--prometheus-url=http://[::1",
        "--grafana-url=h:3000",
        "--metrics-url=http://h:notaport/",
        "--dashboard-url=http://",
    ],
)
def test_wrong_use(capsys, option):
    with pytest.raises(SystemExit) as ended:
        main([option])
    assert ended.value.code == 2
    assert option.partition("=")[2] in capsys.readouterr().err


def test_a_variable_without_an_address_is_reported(elsewhere, monkeypatch):
    monkeypatch.setenv("RAY_PROMETHEUS_HOST", "http://[::1")
    monkeypatch.setenv("RAY_GRAFANA_HOST", "http://h:notaport")
    results = elsewhere.ask()
    assert {results[name].state for name in ("prometheus", "grafana")} == {"problem"}
    assert not [result for result in results.values() if "The check itself failed" in result.evidence]


def test_prometheus_cannot_reach_the_nodes(live, tmp_path):
    config = tmp_path / "prometheus.yml"
    job = {"job_name": "ray", "scheme": "https", "static_configs": [{"targets": ["placeholder"]}]}
    job["static_configs"][0]["targets"] = [metrics_url().split("/")[2]]
    rules = [str(path) for path in files.rule_files()]
    config.write_text(
        yaml.safe_dump({"global": {"scrape_interval": "1s"}, "rule_files": rules, "scrape_configs": [job]})
    )
    with running_prometheus(config, tmp_path / "data") as other:
        poll(lambda: other.query("up == 0"), 20, "it failed once")
        results = live.examine(prometheus_url=other.url)
    expect_only(results, "scraping")
    assert "TLS handshake" in results["scraping"].evidence


def test_a_failing_rule_is_reported(live, tmp_path):
    broken = tmp_path / "broken.yml"
    rule = {
        "record": "broken:rule",
        "expr": "(vector(1) or label_replace(vector(1), 'a', 'b', '', '')) + on() vector(1)",
    }
    rule["expr"] = f"vector(1) + on() group_left() ({rule['expr'].split(' + ')[0]})"
    broken.write_text(yaml.safe_dump({"groups": [{"name": "broken", "interval": "1s", "rules": [rule]}]}))
    config = tmp_path / "prometheus.yml"
    own = yaml.safe_load((live.directory / "prometheus.yml").read_text())
    config.write_text(yaml.safe_dump({**own, "rule_files": [*own["rule_files"], str(broken)]}))
    with running_prometheus(config, tmp_path / "data") as other:
        url = other.url
        poll(
            lambda: live.examine(prometheus_url=url)["broken-rules"].state == "problem", 30, "the rule failed", every=1
        )
        poll(lambda: live.examine(prometheus_url=url)["scraping"].state == "ok", 30, "it scrapes", every=1)
        results = live.examine(prometheus_url=url)
    expect_only(results, "broken-rules")
    assert "broken:rule" in results["broken-rules"].evidence


def test_grafana_is_gone_and_the_ray_dashboard_sees_it(live):
    live.grafana.misbehave = fake_grafana.html(503)
    try:
        results = live.examine()
    finally:
        live.grafana.misbehave = None
    expect_only(results, "grafana")
    assert "HTTP 503" in results["grafana"].evidence
    assert "shows its box" in results["ray-grafana"].evidence


def test_a_grafana_unknown_to_ray(live):
    with fake_grafana.running() as other:
        put_everything(other)
        live.grafana.misbehave = fake_grafana.html(503)
        try:
            results = live.examine(grafana_url=other.url)
        finally:
            live.grafana.misbehave = None
    expect_only(results, "ray-grafana")
    assert f"export RAY_GRAFANA_HOST={other.url}" in results["ray-grafana"].mend


def test_grafana_lacks_the_datasource_and_has_old_dashboards(live):
    with fake_grafana.running() as other:
        first, *_ = files.dashboards().values()
        other.put_dashboard({**first, "title": "Old"}, "", compare.message({**first, "title": "Old"}))
        results = live.examine(grafana_url=other.url)
    expect_only(results, "datasource", "dashboards")
    assert f"another version: {first['uid']}" in results["dashboards"].evidence
    assert "not there: " in results["dashboards"].evidence
    assert "raymon dashboards push" in results["dashboards"].mend


def test_provisioned_dashboards_of_a_newer_server_count_as_current(live):
    with fake_grafana.running() as other:
        put_everything(other)
        for uid, kept in other.dashboards.items():
            other.provisioned.add(uid)
            kept["model"]["schemaVersion"] = 42
            kept["versions"] = [{"version": 1, "message": ""}]
        assert live.examine(grafana_url=other.url)["dashboards"].state == "ok"
        next(iter(other.dashboards.values()))["model"]["title"] = "Old"
        assert live.examine(grafana_url=other.url)["dashboards"].state == "problem"


def test_nothing_named_and_nothing_there_is_no_problem(live, monkeypatch, tmp_path):
    for name in ("RAY_PROMETHEUS_HOST", "RAY_GRAFANA_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("raymon.stack.prometheus_server.DEFAULT_PORT", free_port())
    monkeypatch.setattr("raymon.stack.grafana_server.DEFAULT_PORT", free_port())
    results = live.examine(prometheus_url="", grafana_url="", directory=tmp_path)
    expect_only(results)
    assert {results[name].state for name in ("prometheus", "scraping", "grafana", "dashboards")} == {"absent"}
    assert results["prometheus"].mend == "raymon up"


# --- somebody else's cluster: only URLs -------------------------------------------------------------------------------


class Pages(ReplyHandler):
    """Serves `server.pages`: path -> text, or a function that writes the reply itself."""

    def do_GET(self):
        page = self.server.pages.get(self.path.partition("?")[0])
        if callable(page):
            page(self)
        else:
            self.reply((page or "").encode(), 404 if page is None else 200)

    def date_time_string(self, timestamp=None):
        return super().date_time_string((timestamp or time.time()) + self.server.skew)


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """A server of metrics pages and a Ray Dashboard's routes, with nothing of ours on this machine."""
    for name in ("RAY_ADDRESS", "RAY_PROMETHEUS_HOST", "RAY_GRAFANA_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("raymon.stack.prometheus_server.DEFAULT_PORT", free_port())
    monkeypatch.setattr("raymon.stack.grafana_server.DEFAULT_PORT", free_port())
    monkeypatch.setattr("raymon.stack.checks.inspection.discovery.raylets", lambda: ())
    with ReplyServer(Pages) as server:
        server.handle_error = lambda *_: None  # the client left a dripping page, as it should
        server.pages, server.skew = {}, 0.0

        def ask(**other):
            values = {"metrics_urls": (f"{server.url}/metrics",), "directory": tmp_path, "timeout": 1.0, **other}
            return {result.check: result for result in examine(CheckOptions(**values))}

        server.ask = ask
        yield server


def page(**beats):
    """A metrics page with processes and the ages of their heartbeats."""
    return "".join(
        f'{catalog.HEARTBEAT.name}{{run="r",worker="{worker}"}} {time.time() - age}\n'
        f'{catalog.ENV_STEPS.name}{{run="r",worker="{worker}"}} 5\n'
        for worker, age in beats.items()
    )


def test_a_metrics_url_alone_is_enough(elsewhere):
    elsewhere.pages["/metrics"] = page(a=0.5, b=1.0)
    results = elsewhere.ask()
    assert {results[name].state for name in ("endpoints", "families", "gauges")} == {"ok"}
    assert results["ray"].state == "absent"
    assert exit_code(list(results.values())) == 2, "without another clock the clock is unknown"


def test_a_dashboard_lists_the_nodes(elsewhere):
    target = elsewhere.url.removeprefix("http://")
    elsewhere.pages |= {
        "/metrics": page(a=0.5),
        "/api/prometheus/sd": json.dumps([{"targets": [target]}]),
        "/api/authentication_mode": json.dumps({"authentication_mode": "disabled"}),
        "/api/version": json.dumps({"ray_version": "2.9.3"}),
    }
    results = elsewhere.ask(metrics_urls=(), dashboard_url=elsewhere.url)
    assert {results[name].state for name in ("token", "endpoints", "families", "gauges")} == {"ok"}
    assert results["ray-version"].state == "problem"
    assert "2.9.3" in results["ray-version"].evidence


def test_dead_processes_and_ended_runs(elsewhere):
    elsewhere.pages["/metrics"] = page(a=0.5, b=90)
    result = elsewhere.ask()["gauges"]
    assert result.state == "problem"
    assert "1 of 2" in result.evidence
    assert "worker b" in result.evidence
    elsewhere.pages["/metrics"] = f'{catalog.ENV_STEPS.name}{{run="r",worker="a"}} 5\n'
    assert elsewhere.ask()["gauges"].state == "absent"


def test_no_family_of_ours(elsewhere):
    elsewhere.pages["/metrics"] = "ray_node_cpu_count 4\n"
    results = elsewhere.ask()
    assert results["families"].state == "problem"
    assert "raymon train" in results["families"].mend


def test_an_endpoint_that_does_not_answer(elsewhere):
    results = elsewhere.ask(metrics_urls=(f"{elsewhere.url}/gone", f"http://127.0.0.1:{free_port()}/metrics"))
    assert results["endpoints"].state == "problem"
    assert "2 of 2 do not answer" in results["endpoints"].evidence
    assert results["families"].state == "unknown"


def test_another_clock(elsewhere):
    elsewhere.pages |= {"/api/healthz": "ok", "/metrics": page(a=1)}
    elsewhere.skew = -120.0
    results = elsewhere.ask(dashboard_url=elsewhere.url)
    assert results["clock"].state == "problem"
    assert re.search(r"1(19|20|21|22) s behind", results["clock"].evidence)


def drip(handler):
    handler.send_response(200)
    handler.end_headers()
    for _ in range(600):
        handler.wfile.write(b"#")
        handler.wfile.flush()
        time.sleep(0.1)


def drip_headers(handler):
    for letter in b"HTTP/1.1 200 OK\r\nX-Slow: " + 60 * b"s":
        handler.wfile.write(bytes([letter]))
        handler.wfile.flush()
        time.sleep(0.1)


def hang(handler):
    handler.rfile.read(1)


def test_servers_that_hang_or_drip_do_not_hold_it_up(elsewhere):
    elsewhere.pages |= dict.fromkeys(("/metrics", "/api/health", "/api/authentication_mode", "/api/v1/query"), drip)
    elsewhere.pages |= {"/api/prometheus_health": hang, "/api/grafana_health": hang}
    begun = time.perf_counter()
    results = elsewhere.ask(
        timeout=0.3, dashboard_url=elsewhere.url, prometheus_url=elsewhere.url, grafana_url=elsewhere.url
    )
    assert time.perf_counter() - begun < 20
    for name in ("endpoints", "token", "prometheus", "ray-prometheus"):
        assert results[name].state in ("problem", "unknown"), results[name]


def test_headers_that_drip_end_in_time_too(elsewhere):
    elsewhere.pages["/metrics"] = drip_headers
    begun = time.perf_counter()
    reply = http.get(f"{elsewhere.url}/metrics", timeout=0.4)
    assert time.perf_counter() - begun < 3
    assert "within 0.4 s" in reply.error


def test_a_check_that_fails_itself_does_not_end_the_others(monkeypatch, elsewhere):
    def fail(_context):
        raise ZeroDivisionError("by zero")

    from raymon.stack.checks import Check

    checks = (Check("bad", "?", fail), *CHECKS[-1:])
    first, second = examine(CheckOptions(metrics_urls=("http://127.0.0.1:1/",)), checks)
    assert (first.state, second.check) == ("unknown", "ray-version")
    assert "ZeroDivisionError" in first.evidence


# --- the machine ------------------------------------------------------------------------------------------------------


def test_no_ray_at_all(elsewhere, tmp_path):
    results = elsewhere.ask(metrics_urls=(), temp_dir=tmp_path)
    assert results["ray"].state == "problem"
    assert "ray start --head" in results["ray"].mend
    assert results["discovery-file"].state == "problem"


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense", "no-such-host.invalid:6379"])
def test_an_address_where_no_ray_is(elsewhere, address):
    results = elsewhere.ask(metrics_urls=(), address=address)
    assert results["ray"].state == "problem"
    assert address in results["ray"].evidence


def test_an_outdated_discovery_file(elsewhere, tmp_path):
    live = tmp_path / "prom_metrics_service_discovery.json"
    live.write_text('[{"labels": {"job": "ray"}, "targets": ["10.0.0.1:8080"]}]')
    os.utime(live, (time.time() - 300, time.time() - 300))
    result = elsewhere.ask(metrics_urls=(), temp_dir=tmp_path)["discovery-file"]
    assert result.state == "problem"
    assert "300 s ago" in result.evidence.replace("299", "300").replace("301", "300")
    live.write_text("{broken")
    assert "cannot be read" in elsewhere.ask(metrics_urls=(), temp_dir=tmp_path)["discovery-file"].evidence


def test_plain_ray_without_its_metrics(elsewhere, monkeypatch):
    from importlib.util import find_spec

    monkeypatch.delitem(sys.modules, "opencensus", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "opencensus" else find_spec(name))
    result = elsewhere.ask()["ray-package"]
    assert result.state == "problem"
    assert "pip install 'ray[default]" in result.mend


def test_too_little_shared_memory(elsewhere, monkeypatch):
    monkeypatch.setattr(machine, "LEAST_SHARED_MEMORY", 1 << 60)
    result = elsewhere.ask()["shared-memory"]
    assert result.state == "problem"
    assert "--shm-size" in result.mend


def test_a_stranger_on_the_port(elsewhere, monkeypatch):
    monkeypatch.setattr("raymon.stack.prometheus_server.DEFAULT_PORT", elsewhere.server_port)
    results = elsewhere.ask()
    assert results["ports"].state == "problem"
    assert str(elsewhere.server_port) in results["ports"].evidence
    assert results["prometheus"].state == "absent"
