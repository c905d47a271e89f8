"""`raymon up` and `raymon down` with a real Prometheus and a fake `grafana-server` that records its configuration."""

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import tomllib
import yaml
from support import ROOT, Command, Prometheus, free_port, get, poll

from raymon.cluster import ports
from raymon.stack import files, grafana_server, process, state, up
from raymon.stack.prometheus_server import config
from raymon.stack.running import StackOptions, stop_stack
from raymon.stack.sources import Sources
from raymon.stack.starting import start_stack

pytestmark = pytest.mark.skipif(not shutil.which("prometheus"), reason="prometheus is not installed")


@pytest.fixture
def programs(tmp_path):
    """A PATH with the real Prometheus and the fake grafana-server, and nothing else."""
    folder = tmp_path / "programs"
    folder.mkdir()
    (folder / "prometheus").symlink_to(shutil.which("prometheus"))
    server = folder / "grafana-server"
    server.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{ROOT}/tests/fake_grafana_server.py" "$@"\n')
    server.chmod(0o755)
    return folder


@pytest.fixture
def only_these(programs, monkeypatch):
    """Make `programs` all that can be found, as on a machine where nothing else is installed."""
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setattr(process, "USUAL_PLACES", ())
    return programs


@pytest.fixture
def directory(tmp_path):
    folder = tmp_path / "stack"
    yield folder
    stop_stack(folder)


def ray_folder(tmp_path, *targets):
    """A Ray temp dir with a discovery file."""
    folder = tmp_path / "ray"
    folder.mkdir(exist_ok=True)
    (folder / "prom_metrics_service_discovery.json").write_text(
        json.dumps([{"labels": {"job": "ray"}, "targets": list(targets)}])
    )
    return folder


def options(directory, tmp_path, **more):
    return StackOptions(directory, Sources(temp_dirs=(ray_folder(tmp_path),)), free_port(), free_port(), **more)


def test_up_starts_both_provisioned_and_on_the_loopback(directory, tmp_path, only_these):
    (tmp_path / "ray/session_latest/metrics/grafana/dashboards").mkdir(parents=True)
    (tmp_path / "ray/session_latest/metrics/grafana/dashboards/d.json").write_text('{"uid": "rayDefaultDashboard"}')
    stack = start_stack(options(directory, tmp_path))
    assert stack.problems == ()
    assert stack.started == ("prometheus", "grafana")
    served = json.loads(get(f"{stack.grafana_url}/provisioned"))
    assert served["dashboards"]["raymon"] == [model["uid"] for model in files.dashboards().values()]
    assert served["dashboards"]["Ray"] == ["rayDefaultDashboard"]
    (link,) = json.loads((directory / "grafana/ray/d.json").read_text())["links"]
    assert link["tags"] == ["raymon"], "Ray's dashboards link back to raymon's"
    (source,) = served["datasources"]
    assert (source["uid"], source["url"]) == (files.datasource()["uid"], stack.prometheus_url)
    interval = yaml.safe_load((directory / "prometheus.yml").read_text())["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == interval
    assert served["password"] == stack.password
    assert len(stack.password) >= 20
    for port in (part.port for part in state.read(directory).parts.values()):
        assert listening_addresses(port) == {"127.0.0.1"}


def listening_addresses(port):
    """Return the IPv4 addresses something listens on at a port, from the kernel's table; IPv6 counts as `::`."""
    paths = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            local, _, connection = line.split()[1:4]
            address, _, number = local.partition(":")
            if connection == "0A" and int(number, 16) == port:
                paths.add(".".join(str(byte) for byte in bytes.fromhex(address)[::-1]) if table == "tcp" else "::")
    return paths


def test_grafana_needs_a_password_by_default(directory, tmp_path, only_these, monkeypatch):
    monkeypatch.setenv("GF_AUTH_ANONYMOUS_ENABLED", "true")
    first = options(directory, tmp_path)
    served = json.loads(get(f"{start_stack(first).grafana_url}/provisioned"))
    assert served["ini"]["auth.anonymous"]["enabled"] == "false"
    assert served["ini"]["security"]["allow_embedding"] == "false"
    assert served["ini"]["analytics"]["reporting_enabled"] == "false"
    assert served["overrides"] == [], "a GF_ variable of the user's would override the configuration"
    again = start_stack(StackOptions(directory, first.sources, anonymous=True))
    assert again.restarted == ("grafana",), "it has to start again to read its configuration"
    served = json.loads(get(f"{again.grafana_url}/provisioned"))
    assert served["ini"]["auth.anonymous"] == {"enabled": "true", "org_role": "Viewer"}
    assert served["ini"]["security"]["allow_embedding"] == "true"


def test_secrets_are_for_their_owner_and_shown_once(directory, tmp_path, only_these):
    before = os.umask(0)
    try:
        directory.mkdir(mode=0o700)
        grafana_server.admin_password(directory)
        assert stat.S_IMODE((directory / "grafana-admin-password").stat().st_mode) == 0o600
        (directory / "grafana-admin-password").unlink()
        directory.rmdir()
        stack = start_stack(options(directory, tmp_path))
    finally:
        os.umask(before)
    kept = directory / "grafana-admin-password"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stack.password not in (directory / "state.json").read_text() + (directory / "grafana.ini").read_text()
    stop_stack(directory)
    again = start_stack(options(directory, tmp_path))
    assert again.password == ""
    assert kept.read_text().strip() == stack.password


def test_up_again_changes_nothing_and_down_keeps_the_data(directory, tmp_path, only_these):
    wanted = options(directory, tmp_path)
    first = start_stack(wanted)
    again = start_stack(wanted)
    assert again.started == ()
    assert (again.prometheus_url, again.grafana_url) == (first.prometheus_url, first.grafana_url)
    prometheus = Prometheus(first.prometheus_url)
    (tmp_path / "ray/prom_metrics_service_discovery.json").write_text(
        json.dumps([{"labels": {"job": "ray"}, "targets": [first.prometheus_url.removeprefix("http://")]}])
    )
    poll(lambda: prometheus.query("up{job='ray'} == 1"), 40, "the target in the discovery file is scraped")
    query = "count_over_time(up{job='ray'}[1h])"
    before = float(prometheus.query(query)[0]["value"][1])
    assert stop_stack(directory) == (["grafana", "prometheus"], [])
    assert stop_stack(directory) == ([], [])
    started = start_stack(wanted)
    assert started.started == ("prometheus", "grafana")
    poll(
        lambda: float(Prometheus(started.prometheus_url).query(query)[0]["value"][1]) >= before,
        20,
        "what was stored before is still there",
    )


def test_other_sources_are_taken_over_without_a_restart(directory, tmp_path, only_these):
    wanted = options(directory, tmp_path, with_grafana=False)
    stack = start_stack(wanted)
    own = stack.prometheus_url.removeprefix("http://")
    again = start_stack(StackOptions(directory, Sources(targets=(own,)), with_grafana=False))
    assert again.started == ()
    poll(lambda: Prometheus(stack.prometheus_url).query("up{job='ray'} == 1"), 30, "the new target is scraped")


def test_a_refused_port_leaves_no_stale_sources(directory, tmp_path, only_these):
    stack = start_stack(options(directory, tmp_path, with_grafana=False))
    own = Sources(targets=(stack.prometheus_url.removeprefix("http://"),))
    refused = start_stack(StackOptions(directory, own, prometheus_port=free_port(), with_grafana=False))
    assert "already; `raymon down` first to move it" in refused.problems[0]
    assert start_stack(StackOptions(directory, own, with_grafana=False)).problems == ()
    poll(lambda: Prometheus(stack.prometheus_url).query("up{job='ray'} == 1"), 30, "the new target is scraped")


def test_sources_of_a_killed_start_are_taken_over(directory, tmp_path, only_these):
    stack = start_stack(options(directory, tmp_path, with_grafana=False))
    own = Sources(targets=(stack.prometheus_url.removeprefix("http://"),))
    state.write_file(directory / "prometheus.yml", config(own, directory))
    start_stack(StackOptions(directory, own, with_grafana=False))
    poll(lambda: Prometheus(stack.prometheus_url).query("up{job='ray'} == 1"), 30, "the new target is scraped")


def test_a_program_that_cannot_be_written_down_is_ended(directory, tmp_path, only_these):
    wanted = options(directory, tmp_path, with_grafana=False, stays=True)
    (directory / "state.json").mkdir(parents=True)  # nothing can be written there, as on a full disk
    refused = start_stack(wanted)
    assert "Is a directory" in refused.problems[0]
    assert (refused.prometheus_url, refused.started) == ("", ())
    assert ports.is_free(wanted.prometheus_port)
    (directory / "state.json").rmdir()
    assert start_stack(wanted).problems == ()


def test_down_never_ends_a_process_that_is_not_the_one_it_started(directory, only_these):
    with subprocess.Popen(["/bin/sleep", "60"]) as stranger:
        part = state.Part("prometheus", stranger.pid, "ticks 1", 9090, "http://127.0.0.1:9090", ["prometheus"])
        directory.mkdir()
        state.write(directory, state.StackState({"prometheus": part}))
        assert stop_stack(directory) == ([], ["prometheus"])
        assert stranger.poll() is None
        assert process.stop(stranger.pid, process.start_mark(stranger.pid))
        assert stranger.wait(5) is not None


def test_a_part_that_died_is_started_again(directory, tmp_path, only_these):
    wanted = options(directory, tmp_path)
    start_stack(wanted)
    part = state.read(directory).parts["prometheus"]
    os.kill(part.pid, signal.SIGKILL)
    poll(lambda: not part.running, 10, "the killed Prometheus is gone")
    again = start_stack(wanted)
    assert (again.started, again.problems) == (("prometheus",), ())


def test_missing_programs_are_named_with_their_install_command(directory, tmp_path, only_these):
    for name in ("prometheus", "grafana-server"):
        (only_these / name).unlink()
    for name in ("apt-get", "brew"):
        (only_these / name).write_text("#!/bin/sh\n")
        (only_these / name).chmod(0o755)
    stack = start_stack(options(directory, tmp_path))
    assert stack.environment == {}
    problems = "\n".join(stack.problems)
    assert "no prometheus on PATH" in problems
    assert "sudo apt-get install -y prometheus" in problems
    assert "brew install grafana" in problems
    assert "apt.grafana.com" in problems


def put_docker(folder, *, compose):
    """A Docker that comes with its compose plugin or without."""
    docker = folder / "docker"
    docker.write_text("#!/bin/sh\n" + ("exit 0\n" if compose else "echo unknown command: docker compose\nexit 1\n"))
    docker.chmod(0o755)


@pytest.mark.parametrize("gone", ["prometheus", "grafana-server"])
def test_offered_containers_find_their_password(directory, tmp_path, only_these, gone):
    (only_these / gone).unlink()
    put_docker(only_these, compose=True)
    (problem,) = start_stack(options(directory, tmp_path)).problems
    line = next(line for line in problem.splitlines() if "docker compose" in line)
    assert line.strip().startswith(f"raymon down --directory {directory} && "), "both would want the same ports"
    named = re.search(r"RAYMON_GRAFANA_PASSWORD_FILE=(\S+)", line)[1]
    assert len(Path(named).read_text().strip()) >= 20
    assert stat.S_IMODE(Path(named).stat().st_mode) == 0o600


def test_docker_without_compose_offers_no_containers(directory, tmp_path, only_these):
    (only_these / "grafana-server").unlink()
    (only_these / "brew").write_text("#!/bin/sh\n")
    (only_these / "brew").chmod(0o755)
    put_docker(only_these, compose=False)
    (problem,) = start_stack(options(directory, tmp_path)).problems
    assert "brew install grafana" in problem
    assert "docker" not in problem


def test_a_wrong_grafana_password_comes_with_the_fix(directory, tmp_path, only_these):
    wanted = options(directory, tmp_path)
    first = start_stack(wanted)
    (directory / "grafana/data/grafana.db").touch()
    (directory / "grafana-admin-password").unlink()
    again = start_stack(wanted)
    assert again.password not in ("", first.password)
    (problem,) = again.problems
    assert f"cli --config={directory / 'grafana.ini'} admin reset-admin-password " in problem
    assert f"--password-from-stdin < {directory / 'grafana-admin-password'}" in problem, (
        "ps shows arguments to everybody"
    )
    assert start_stack(wanted).problems == ()


def test_a_grafana_that_ends_at_once_is_reported_with_its_log(directory, tmp_path, only_these, monkeypatch):
    monkeypatch.setenv("FAKE_GRAFANA_FAILS", "1")
    stack = start_stack(options(directory, tmp_path))
    assert stack.started == ("prometheus",)
    (problem,) = stack.problems
    assert problem.startswith("grafana: it ended at once")
    assert "the fake has to fail" in problem
    assert set(state.read(directory).parts) == {"prometheus"}


def test_a_taken_port_is_reported_and_replaced(directory, tmp_path, only_these, monkeypatch):
    taken = start_stack(options(directory, tmp_path, with_grafana=False))
    port = state.read(directory).parts["prometheus"].port
    other = tmp_path / "other"
    sources = Sources(temp_dirs=(tmp_path,))
    refused = start_stack(StackOptions(other, sources, prometheus_port=port, with_grafana=False))
    assert f"port {port} is in use" in refused.problems[0]
    monkeypatch.setattr("raymon.stack.prometheus_server.DEFAULT_PORT", port)
    paths = start_stack(StackOptions(other, sources, with_grafana=False))
    assert paths.problems == ()
    assert paths.prometheus_url != taken.prometheus_url
    stop_stack(other)


def test_every_source_makes_a_configuration_prometheus_accepts(tmp_path):
    (tmp_path / "token").write_text("secret")
    sources = [
        Sources().or_local(),
        Sources(temp_dirs=(tmp_path / "a", tmp_path / "b")),
        Sources(dashboard_urls=("http://a:8265", "http://b:8265/"), token_file=tmp_path / "token"),
        Sources(targets=("10.0.0.1:8080", "10.0.0.2:8080"), temp_dirs=(tmp_path,)),
    ]
    for number, one in enumerate(sources):
        path = tmp_path / f"{number}.yml"
        path.write_text(config(one, tmp_path))
        done = subprocess.run(["promtool", "check", "config", path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr + done.stdout
        assert "secret" not in path.read_text()
        assert Sources.from_plain(json.loads(json.dumps(one.plain()))) == one


def run(directory, *arguments, path):
    return Command(*arguments, "--directory", str(directory), cwd=directory.parent, PATH=str(path))


def test_the_commands_as_a_user_types_them(directory, tmp_path, programs):
    ray = ray_folder(tmp_path)
    flags = ["--ray-temp-dir", str(ray), "--prometheus-port", str(free_port()), "--grafana-port", str(free_port())]
    with run(directory, "up", *flags, path=programs) as up:
        assert up.wait(60) == 0, up.text()
        printed = up.text()
    urls = {name: part.url for name, part in state.read(directory).parts.items()}
    assert f"export RAY_PROMETHEUS_HOST={urls['prometheus']}" in printed
    assert f"export RAY_GRAFANA_HOST={urls['grafana']}" in printed
    assert f"export RAY_GRAFANA_IFRAME_HOST={urls['grafana']}" in printed
    password = (directory / "grafana-admin-password").read_text().strip()
    assert password in printed
    with run(directory, "up", *flags, path=programs) as again:
        assert again.wait(60) == 0
        assert "running already" in again.text()
        assert password not in again.text()
    with run(directory, "down", path=programs) as down:
        assert down.wait(60) == 0
        assert "prometheus: stopped" in down.text()
    assert all(ports.is_free(int(url.rpartition(":")[2])) for url in urls.values())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_foreground_stays_and_stops_everything_at_the_end(directory, tmp_path, programs, number):
    ports = ["--prometheus-port", str(free_port()), "--grafana-port", str(free_port())]
    flags = ["--foreground", "--ray-temp-dir", str(ray_folder(tmp_path)), *ports]
    with run(directory, "up", *flags, path=programs) as up:
        poll(lambda: "Ctrl-C stops what no other process uses" in up.text(), 30, "raymon up is up")
        parts = state.read(directory).parts
        assert parts["prometheus"].running
        up.process.send_signal(number)
        assert up.wait(40) == 0, up.text()
    assert not any(part.running for part in parts.values())


def foreground(directory, programs):
    """`raymon up --foreground` with Prometheus alone."""
    flags = [
        "--foreground",
        "--no-grafana",
        "--no-export",
        "--target",
        "127.0.0.1:1",
        "--prometheus-port",
        str(free_port()),
    ]
    return run(directory, "up", *flags, path=programs)


def test_foreground_reports_a_part_that_ended(directory, programs):
    with foreground(directory, programs) as stays:
        poll(lambda: "Ctrl-C stops what no other process uses" in stays.text(), 30, "raymon up is up")
        os.kill(state.read(directory).parts["prometheus"].pid, signal.SIGKILL)
        assert stays.wait(20) == 1
        assert f"raymon up: prometheus ended by itself; see {directory / 'prometheus.log'}" in stays.text()


def test_foreground_ends_well_when_raymon_down_stops_everything(directory, programs):
    with foreground(directory, programs) as stays:
        poll(lambda: "Ctrl-C stops what no other process uses" in stays.text(), 30, "raymon up is up")
        assert stop_stack(directory) == (["prometheus"], [])
        assert stays.wait(20) == 0
        assert "by itself" not in stays.text()


@pytest.mark.parametrize(
    ("flag", "value", "expected"),
    [
        ("--prometheus-port", "99999", "'99999' is not a port: expected 1 to 65535"),
        ("--prometheus-port", "-5", "'-5' is not a port"),
        ("--grafana-port", "0", "'0' is not a port"),
        ("--grafana-port", "http", "'http' is not a port"),
        ("--prometheus-url", "foo", "'foo' is not an address: expected http(s)://host[:port][/path]"),
        ("--prometheus-url", "http://[::1", "is not an address"),
        ("--dashboard-url", "head:8265", "'head:8265' is not an address"),
        ("--target", "http://h:1/metrics", "is not a target: expected HOST:PORT, without http:// and path"),
        ("--target", "h", "is not a target"),
        ("--target", "h:1:2", "is not a target"),
        ("--target", "h:99999", "is not a target"),
    ],
)
def test_invalid_options_are_refused_before_anything_starts(tmp_path, capsys, flag, value, expected):
    with pytest.raises(SystemExit) as ended:
        up.main([f"{flag}={value}", "--directory", str(tmp_path / "stack")])
    assert ended.value.code == 2
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "stack").exists()


def test_valid_options_are_accepted():
    args = up.build_parser().parse_args(
        ["--target", "[::1]:8080", "--target", "node-1:1", "--dashboard-url", "https://h/ray/"]
    )
    assert (args.target, args.dashboard_url) == (["[::1]:8080", "node-1:1"], ["https://h/ray"])


def test_a_missing_named_prometheus_is_reported(directory, only_these, capsys):
    url = f"http://127.0.0.1:{free_port()}"
    assert up.main(["--prometheus-url", url, "--no-grafana", "--directory", str(directory)]) == 1
    captured = capsys.readouterr()
    assert f"{url} does not answer as a Prometheus that is ready: connection refused" in captured.err
    assert "running already" not in captured.out


def test_a_refused_prometheus_configuration_is_reported_not_kept(directory, tmp_path, only_these):
    wanted = options(directory, tmp_path, with_grafana=False, stays=True)
    stack = start_stack(wanted)
    refused = start_stack(
        StackOptions(directory, Sources(dashboard_urls=("head:8265",)), with_grafana=False, stays=True)
    )
    assert "refused its new configuration: couldn't load configuration" in refused.problems[0]
    assert "URL scheme must be 'http' or 'https'" in refused.problems[0]
    assert refused.prometheus_url == stack.prometheus_url
    assert state.read(directory).sources == wanted.sources
    poll(lambda: "prometheus_config_last_reload_successful 1" in get(f"{stack.prometheus_url}/metrics"), 10, "mended")
    assert start_stack(StackOptions(directory, with_grafana=False)).problems == ()


def test_the_data_folder_follows_the_xdg_variable(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert state.default_directory() == tmp_path / "raymon"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")  # the standard says to ignore it
    assert state.default_directory() == Path.home() / ".local/share/raymon"


def test_an_unusable_folder_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with Command("up", "--directory", str(tmp_path / "file" / "below"), cwd=ROOT) as refused:
        assert refused.wait(20) == 1
        assert "cannot be used: Not a directory; choose another with --directory" in refused.text()
        assert "Traceback" not in refused.text()


def test_a_broken_state_file_is_an_empty_state(tmp_path):
    for text in ("", "{", "[]", '{"parts": {"prometheus": {}}}'):
        (tmp_path / "state.json").write_text(text)
        assert state.read(tmp_path) == state.StackState()


def test_an_installed_wheel_finds_its_files(tmp_path):
    """Lays the package out as the wheel does, by the table that builds it."""
    shutil.copytree(ROOT / "raymon", tmp_path / "raymon", ignore=shutil.ignore_patterns("__pycache__"))
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    for source, target in table["force-include"].items():
        copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
        (tmp_path / target).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / source, tmp_path / target)
    code = (
        "from raymon.stack import files, install_advice, prometheus_server as p; "
        "import raymon; print(raymon.__file__); "
        "p.config(p.Sources().or_local(), files.PACKAGE); "
        "assert files.rule_files() and files.dashboards() and files.datasource(); "
        "assert install_advice.compose(p.Path('/')); print(files.share('dashboards'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(tmp_path / "raymon/__init__.py"), str(tmp_path / "raymon/share/dashboards")]


def test_an_unpacked_grafana_is_found_with_its_home(tmp_path, monkeypatch):
    home = tmp_path / "grafana-11.6.0"
    (home / "bin").mkdir(parents=True)
    (home / "conf").mkdir()
    (home / "conf" / "defaults.ini").write_text("")
    program = home / "bin" / "grafana"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.setattr(process, "USUAL_PLACES", ())
    assert grafana_server.find() == [str(program), "server"]
    assert f"--homepath={home}" in grafana_server.command([str(program), "server"], tmp_path)
