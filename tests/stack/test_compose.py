"""`compose.yaml`: a strict schema of what it uses, its mounts exist, nothing is open to the network."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml
from support import ROOT

from raymon.stack import files, prometheus_server

TEXT = (ROOT / "compose.yaml").read_text()
COMPOSE = yaml.safe_load(TEXT)
SERVICES = COMPOSE["services"]

STRINGS = {"type": "array", "items": {"type": "string"}, "minItems": 1}
DURATION = {"type": "string", "pattern": r"^\d+(s|m)$"}
SERVICE = {
    "type": "object",
    "additionalProperties": False,
    "required": ["image", "profiles", "healthcheck", "restart", "volumes"],
    "properties": {
        "image": {"type": "string", "pattern": r"^[a-z]+/[a-z]+:v?\d+\.\d+\.\d+(@sha256:[0-9a-f]{64})?$"},
        "user": {"type": "string"},
        "restart": {"enum": ["unless-stopped"]},
        "cap_drop": {"const": ["ALL"]},
        "security_opt": {"const": ["no-new-privileges:true"]},
        "profiles": STRINGS,
        "network_mode": {"type": "string", "pattern": r"^(host|service:[a-z-]+)$"},
        "ports": {"type": "array", "items": {"type": "string", "pattern": r"^127\.0\.0\.1:\d+:\d+$"}},
        "extra_hosts": STRINGS,
        "command": {"type": "array", "items": {"type": "string", "pattern": "^--[a-z.-]+="}},
        "environment": {"type": "object", "additionalProperties": {"type": "string"}},
        "depends_on": {
            "type": "object",
            "additionalProperties": {"const": {"condition": "service_healthy"}},
        },
        "secrets": {
            "type": "array",
            "items": {
                "anyOf": [
                    {"type": "string"},
                    {"type": "object", "required": ["source", "target"], "maxProperties": 2},
                ]
            },
        },
        "volumes": {
            "type": "array",
            "items": {
                "anyOf": [
                    {"type": "string"},
                    {
                        "type": "object",
                        "additionalProperties": False,
                        "properties": {
                            "type": {"const": "bind"},
                            "source": {"type": "string"},
                            "target": {"type": "string"},
                            "read_only": {"const": True},
                            "bind": {"const": {"create_host_path": False}},
                        },
                    },
                ]
            },
        },
        "healthcheck": {
            "type": "object",
            "additionalProperties": False,
            "required": ["test", "interval", "timeout", "retries", "start_period"],
            "properties": {
                "test": {"type": "array", "prefixItems": [{"const": "CMD"}], "items": {"type": "string"}},
                "interval": DURATION,
                "timeout": DURATION,
                "start_period": DURATION,
                "retries": {"type": "integer", "minimum": 3},
            },
        },
    },
}
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "patternProperties": {"^x-": {}},
    "properties": {
        "name": {"const": "raymon"},
        "services": {"type": "object", "additionalProperties": SERVICE},
        "secrets": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "additionalProperties": False,
                "minProperties": 1,
                "maxProperties": 1,
                "properties": {"file": {"type": "string"}, "environment": {"type": "string"}},
            },
        },
        "volumes": {"type": "object", "additionalProperties": {"type": "object", "maxProperties": 0}},
    },
}


def test_the_file_uses_only_keys_of_compose():
    jsonschema.Draft202012Validator(SCHEMA).validate(COMPOSE)


def sources(service):
    """Yield (source, target, read only) of every mount of a service."""
    for volume in SERVICES[service]["volumes"]:
        if isinstance(volume, dict):
            yield volume["source"], volume["target"], volume["read_only"]
        else:
            default = re.sub(r"\$\{[A-Z_]+:-([^}]*)\}", r"\1", volume)
            source, target, *mode = default.split(":")
            yield source, target, mode == ["ro"]


@pytest.mark.parametrize("service", SERVICES)
def test_mounts_exist_and_are_read_only(service):
    for source, _target, read_only in sources(service):
        if source in COMPOSE["volumes"]:
            continue
        assert read_only, source
        if source.startswith("./"):
            assert (ROOT / source).exists(), source


@pytest.mark.parametrize("service", SERVICES)
def test_nothing_listens_beyond_the_loopback(service):
    here = SERVICES[service]
    if here.get("network_mode") == "host":
        address = here.get("environment", {}).get("GF_SERVER_HTTP_ADDR", "")
        flags = dict(flag.split("=", 1) for flag in here.get("command", []))
        assert "127.0.0.1" in (address, flags.get("--web.listen-address", "").partition(":")[0])


@pytest.mark.parametrize("service", [name for name in SERVICES if name.startswith("grafana")])
def test_grafana_needs_a_login_by_default_and_its_paths_agree(service):
    environment = SERVICES[service]["environment"]
    for name in ("GF_AUTH_ANONYMOUS_ENABLED", "GF_SECURITY_ALLOW_EMBEDDING"):
        assert environment[name] == "${RAYMON_ANONYMOUS:-false}"
    assert "GF_SECURITY_ADMIN_PASSWORD" not in environment
    assert environment["GF_SECURITY_ADMIN_PASSWORD__FILE"] == "/run/secrets/grafana_admin_password"
    targets = {target: source for source, target, _ in sources(service)}
    home = environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    folder, _, name = home.rpartition("/")
    assert (ROOT / targets[folder] / name).exists()
    provided = {}
    for target, source in targets.items():
        if target.startswith("/etc/grafana/provisioning/dashboards/"):
            for provider in yaml.safe_load((ROOT / source).read_text())["providers"]:
                provided[provider["name"]] = provider["options"]["path"]
    assert provided["raymon"] == folder
    assert all(any(path.startswith(target) for target in targets) for path in provided.values())


@pytest.mark.parametrize("service", [name for name in SERVICES if name.startswith("prometheus")])
def test_configuration_and_datasource_are_found(service):
    flags = dict(flag.split("=", 1) for flag in SERVICES[service]["command"])
    targets = {target: source for source, target, _ in sources(service)}
    config = flags["--config.file"]
    source = targets.get(config) or f"{targets[str(Path(config).parent)]}/{Path(config).name}"
    content = yaml.safe_load((ROOT / source).read_text())
    for rule_file in content["rule_files"]:
        path = str(Path(config).parent / rule_file)
        assert path in targets or str(Path(path).parent) in targets
    assert flags["--storage.tsdb.path"] in targets, "data outlives the container"
    assert flags["--storage.tsdb.retention.time"] == prometheus_server.RETENTION
    assert files.datasource()["url"] == "http://127.0.0.1:9090", "both profiles share Prometheus's network"


def test_the_discovery_folder_is_mounted_at_its_own_path():
    for service in ("prometheus-local", "grafana-local"):
        assert ("/tmp/ray", "/tmp/ray", True) in sources(service)


@pytest.mark.parametrize("profile", ["local", "cluster"])
def test_each_profile_is_complete(profile):
    chosen = {name for name, service in SERVICES.items() if profile in service["profiles"]}
    assert len(chosen) == 2
    for name in chosen:
        assert set(SERVICES[name].get("depends_on", {})) <= chosen
        mode = SERVICES[name].get("network_mode", "")
        assert mode in ("", "host") or mode.removeprefix("service:") in chosen
        for secret in SERVICES[name].get("secrets", []):
            assert (secret if isinstance(secret, str) else secret["source"]) in COMPOSE["secrets"]


def has_compose():
    docker = shutil.which("docker")
    return docker and not subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode


if has_compose():  # defined only where it can run, so that nothing is ever reported as skipped

    @pytest.mark.parametrize("profile", ["local", "cluster"])
    def test_docker_compose_itself_accepts_it(profile):
        environment = {**os.environ, "RAY_AUTH_TOKEN": "none"}
        command = ["docker", "compose", "-f", ROOT / "compose.yaml", "--profile", profile, "config", "--quiet"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
