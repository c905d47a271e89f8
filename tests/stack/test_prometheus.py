"""The scrape configurations, one per way to run Ray: accepted by promtool, and used by a real Prometheus."""

import json
import subprocess

import pytest
import yaml
from http_replies import ReplyHandler, ReplyServer
from scraping import scraping
from support import ROOT, get, poll, running_prometheus
from synthetic import fleet, serve, write_discovery

from raymon import catalog
from raymon.queries import run
from raymon.stack import prometheus_server
from raymon.stack.sources import Sources

FOLDER = ROOT / "prometheus"
CONFIGS = ("prometheus.yml", "http-discovery.yml", "several-clusters.yml", "static-hosts.yml")
TOKEN = "a-token"


@pytest.mark.parametrize("name", CONFIGS)
def test_promtool_accepts_the_configuration(name):
    checked = subprocess.run(
        ["promtool", "check", "config", FOLDER / name], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_configuration_is_checked():
    assert {path.name for path in FOLDER.glob("*.yml")} == {
        *CONFIGS,
        "rules.yml",
        "verdict-rules.yml",
        "large-fleet-rules.yml",
    }


@pytest.mark.parametrize("name", CONFIGS)
def test_configurations_load_in_prometheus_2_too(name):
    text = (FOLDER / name).read_text()
    assert not [
        key for key in ("fallback_scrape_protocol", "validation_scheme", "scrape_protocols", "otlp") if key in text
    ]
    config = yaml.safe_load(text)
    assert config["global"]["scrape_interval"] == "5s"


def test_the_datasource_knows_the_scrape_interval():
    (source,) = yaml.safe_load((ROOT / "dashboards/provisioning/datasources/raymon.yaml").read_text())["datasources"]
    assert source["jsonData"]["timeInterval"] == "5s"
    assert source["uid"]
    assert source["access"] == "proxy"
    assert source["isDefault"] is False
    (provider,) = yaml.safe_load((ROOT / "dashboards/provisioning/dashboards/raymon.yaml").read_text())["providers"]
    assert (provider["type"], provider["allowUiUpdates"]) == ("file", False)


@pytest.fixture(scope="module")
def cluster():
    with serve(fleet(workers=24, nodes=3, runs=2)) as targets:
        yield targets


def test_prometheus_follows_a_new_ray_session(cluster, tmp_path):
    """Ray replaces the discovery file when it starts again; the old targets must go, the new ones come."""
    discovery = tmp_path / "prom_metrics_service_discovery.json"
    write_discovery(discovery, cluster[:1])
    with scraping(discovery, tmp_path) as prometheus:
        poll(lambda: up(prometheus) == {cluster[0]}, 20, "the first session is scraped")
        write_discovery(discovery, cluster[1:])
        poll(lambda: up(prometheus) == set(cluster[1:]), 20, "the second session is scraped instead")


def up(prometheus):
    active = prometheus.api("targets")["activeTargets"]
    return {target["labels"]["instance"] for target in active if target["health"] == "up"}


def test_the_constant_labels_of_ray_are_not_stored(cluster, tmp_path):
    discovery = tmp_path / "prom_metrics_service_discovery.json"
    write_discovery(discovery, cluster)
    with scraping(discovery, tmp_path) as prometheus:
        samples = poll(
            lambda: prometheus.api("series", **{"match[]": catalog.HEARTBEAT.name}), 20, "heartbeats are stored"
        )
        assert not [label for series in samples for label in series if label.startswith("otel_")]
        poll(lambda: prometheus.query(run.STEPS_PER_SECOND_NOW.fill(rate_interval="8s")), 20, "a rate can be asked for")


def test_http_discovery_sends_the_token(cluster, tmp_path):
    """`http-discovery.yml` against a server that behaves as the Ray Dashboard does: no token, no targets."""
    config = yaml.safe_load((FOLDER / "http-discovery.yml").read_text())
    (discovered,) = config["scrape_configs"][0]["http_sd_configs"]
    with Dashboard(cluster) as dashboard:
        discovered["url"] = discovered["url"].replace("127.0.0.1:8265", f"127.0.0.1:{dashboard.server_port}")
        discovered["refresh_interval"] = "1s"
        discovered["authorization"]["credentials_file"] = str(tmp_path / "token")
        config["rule_files"] = []
        config["global"] = {"scrape_interval": "1s"}
        (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
        (tmp_path / "token").write_text("another")
        with running_prometheus(tmp_path / "prometheus.yml", tmp_path / "data") as prometheus:
            failures = "prometheus_sd_http_failures_total"
            poll(lambda: own_metric(prometheus, failures), 20, "the wrong token is refused")
            assert up(prometheus) == set()
            (tmp_path / "token").write_text(TOKEN)
            poll(lambda: up(prometheus) == set(cluster), 20, "the right token brings the targets")


def test_a_redirect_of_the_dashboard_gets_no_token(cluster, tmp_path):
    """A dashboard that redirects to another host: Prometheus asks nothing there, neither as `raymon up` nor as ours."""
    (tmp_path / "token").write_text(TOKEN)
    with (
        Dashboard(cluster) as thief,
        Redirecting(f"http://localhost:{thief.server_port}/api/prometheus/sd") as dashboard,
    ):
        sources = Sources(dashboard_urls=(dashboard.url,), token_file=tmp_path / "token")
        config = yaml.safe_load(prometheus_server.config(sources, tmp_path))
        packaged = yaml.safe_load((FOLDER / "http-discovery.yml").read_text())["scrape_configs"][0]
        (discovered,) = packaged["http_sd_configs"]
        discovered["url"] = discovered["url"].replace("127.0.0.1:8265", f"127.0.0.1:{dashboard.server_port}")
        discovered["authorization"]["credentials_file"] = str(tmp_path / "token")
        config["scrape_configs"].append({**packaged, "job_name": "packaged"})
        (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
        with running_prometheus(tmp_path / "prometheus.yml", tmp_path / "data") as prometheus:
            failures = "prometheus_sd_http_failures_total"
            poll(lambda: own_metric(prometheus, failures) >= 2, 20, "both were answered with a redirect")
            assert thief.requests == []


def own_metric(prometheus, name):
    lines = [line for line in get(f"{prometheus.url}/metrics").splitlines() if line.startswith(f"{name} ")]
    return float(lines[0].split()[1]) if lines else 0.0


class Dashboard(ReplyServer):
    """The route of the Ray Dashboard that lists targets for Prometheus, behind the token."""

    def __init__(self, targets):
        requests = self.requests = []

        class Handler(ReplyHandler):
            def do_GET(self):
                requests.append(self.path)
                known = self.path == "/api/prometheus/sd" and self.headers["Authorization"] == f"Bearer {TOKEN}"
                body = json.dumps([{"labels": {"job": "ray"}, "targets": targets}]).encode() if known else b"{}"
                self.reply(body, 200 if known else 401, "application/json")

        super().__init__(Handler)


class Redirecting(ReplyServer):
    """A dashboard that redirects every request."""

    def __init__(self, location):
        class Handler(ReplyHandler):
            def do_GET(self):
                self.reply(status=302, Location=location)

        super().__init__(Handler)
