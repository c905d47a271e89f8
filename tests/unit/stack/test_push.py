"""`raymon dashboards push`: what it changes in Grafana, what it leaves alone, and its messages on errors."""

import json
import subprocess

import fake_grafana
import pytest
from support import free_port

from raymon import catalog, cli
from raymon.cluster.http import Reply
from raymon.stack import compare, files
from raymon.stack.checks import grafana as checks
from raymon.stack.checks.inspection import CheckOptions, Inspection


@pytest.fixture
def grafana():
    with fake_grafana.running() as fake:
        yield fake


@pytest.fixture
def push(grafana, tmp_path, capsys, monkeypatch):
    """Run the command against the fake; returns (exit code, everything printed)."""
    monkeypatch.delenv("RAYMON_GRAFANA_TOKEN", raising=False)

    def run(*options, token="secret-admin", url=None):
        login = []
        if token:
            (tmp_path / "token").write_text(token + "\n")
            login = ["--token-file", str(tmp_path / "token")]
        code = cli.main(["dashboards", "push", "--url", url or grafana.url, *login, *options])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return run


def wanted():
    return {model["uid"]: model for model in files.dashboards().values()}


def overview():
    return next(iter(wanted().values()))


def test_the_first_push_makes_folder_datasource_and_dashboards(grafana, push):
    code, output = push("--prometheus-url", "http://prometheus:9090")
    assert code == 0, output
    assert grafana.folders == {"raymon": "raymon"}
    source = grafana.datasources[files.datasource()["uid"]]
    assert (source["url"], source["type"], source["isDefault"]) == ("http://prometheus:9090", "prometheus", False)
    assert set(grafana.dashboards) == set(wanted())
    for uid, kept in grafana.dashboards.items():
        assert compare.plain(kept["model"]) == compare.plain(wanted()[uid])
        assert kept["folder"] == "raymon"
        assert compare.pushed_by_raymon(kept["versions"][0]["message"])


def test_the_second_push_changes_nothing(grafana, push):
    push("--prometheus-url", "http://prometheus:9090")
    grafana.requests.clear()
    code, output = push("--prometheus-url", "http://prometheus:9090")
    assert code == 0
    assert {method for method, *_ in grafana.requests} == {"GET"}
    assert output.count(": unchanged") == len(wanted()) + 2


def test_dashboards_for_large_fleets_read_recorded_series_under_the_same_names(grafana, push, tmp_path):
    push()
    code, output = push("--large-fleet")
    assert code == 0, output
    recorded = {model["uid"]: model for model in files.dashboards(for_large_fleet=True).values()}
    assert output.count("dashboard raymon-") == len(wanted())
    for uid, model in recorded.items():
        kept = grafana.dashboards[uid]["model"]
        assert compare.plain(kept) == compare.plain(model)
        assert kept["title"] == wanted()[uid]["title"]
    assert f"run:{catalog.HEARTBEAT.name}:count_workers" in json.dumps(recorded["raymon-overview"])
    assert recorded["raymon-nodes"] == wanted()["raymon-nodes"]
    assert cli.main(["dashboards", "export", "--large-fleet", str(tmp_path / "exported")]) == 0
    exported = [json.loads(path.read_text()) for path in sorted((tmp_path / "exported").iterdir())]
    assert exported == list(recorded.values())


def test_the_doctor_accepts_dashboards_for_large_fleets_and_looks_for_their_rules(grafana, push, tmp_path):
    push("--large-fleet")
    inspection = Inspection(
        CheckOptions(
            grafana_url=grafana.url, grafana_auth="secret-admin", prometheus_url=grafana.url, directory=tmp_path
        )
    )
    assert checks.dashboards(inspection).state == "ok"
    inspection.prometheus_reply = Reply(grafana.url, 200, b'{"status": "success"}')  # of one without rules
    outcome = checks.dashboards(inspection)
    assert outcome.state == "problem"
    assert "raymon-overview" in outcome.evidence
    assert "has not loaded prometheus/large-fleet-rules.yml" in outcome.evidence


def test_without_a_prometheus_url_the_datasources_are_left_alone(grafana, push):
    assert push(token="secret-editor")[0] == 0
    assert not grafana.datasources
    assert set(grafana.dashboards) == set(wanted())


def test_an_older_version_of_ours_is_updated(grafana, push):
    grafana.folders["raymon"] = "raymon"
    old = {**overview(), "title": "Older"}
    grafana.put_dashboard(old, "raymon", compare.message(old), by="raymon-bot")
    code, output = push()
    assert code == 0, output
    assert f"dashboard {old['uid']}: updated" in output
    assert grafana.dashboards[old["uid"]]["model"]["title"] == overview()["title"]
    assert grafana.dashboards[old["uid"]]["model"]["version"] == 2
    assert f"dashboard {old['uid']}: unchanged" in push()[1], "the server's count of versions is no difference"


def test_a_dry_run_shows_the_difference_and_changes_nothing(grafana, push):
    grafana.folders["raymon"] = "raymon"
    old = {**overview(), "title": "Older"}
    grafana.put_dashboard(old, "raymon", compare.message(old))
    code, output = push("--dry-run")
    assert code == 0, output
    assert '-  "title": "Older"'.replace("-  ", "- ") in output
    assert f'+ "title": "{overview()["title"]}"' in output
    assert {method for method, *_ in grafana.requests} == {"GET"}
    assert list(grafana.dashboards) == [old["uid"]]


def test_a_dry_run_prints_a_line_for_each_new_dashboard(grafana, push):
    code, output = push("--dry-run")
    assert code == 0
    assert f"would create\n    {overview()['title']!r}, " in output
    assert output.count(" panels\n") == len(wanted())
    assert len(output.splitlines()) < 20


def test_another_teams_dashboard_is_kept_without_force(grafana, push):
    theirs = {"uid": overview()["uid"], "title": "Sales", "tags": ["sales"], "panels": []}
    grafana.put_dashboard(theirs, "", "", by="bob")
    code, output = push()
    assert code == 1
    assert "another team's dashboard 'Sales'" in output
    assert "--force" in output
    assert grafana.dashboards[theirs["uid"]]["model"]["title"] == "Sales"
    assert set(grafana.dashboards) == set(wanted()), "the others are pushed all the same"
    assert push("--force")[0] == 0
    assert grafana.dashboards[theirs["uid"]]["model"]["title"] == overview()["title"]


def test_an_edit_in_grafana_is_kept_without_force(grafana, push):
    push()
    grafana.put_dashboard({**overview(), "title": "Edited"}, "raymon", "nicer title", by="alice")
    code, output = push()
    assert code == 1
    assert "alice edited it" in output
    assert grafana.dashboards[overview()["uid"]]["model"]["title"] == "Edited"
    assert push("--force")[0] == 0
    assert grafana.dashboards[overview()["uid"]]["model"]["title"] == overview()["title"]


def test_a_provisioned_dashboard_is_left_alone_even_with_force(grafana, push):
    grafana.put_dashboard({**overview(), "title": "From a file"}, provisioned=True)
    code, output = push("--force")
    assert code == 1
    assert "provisioned on the server from boards.json" in output


def test_a_moved_dashboard_is_reported(grafana, push):
    push()
    grafana.folders["ops"] = "Operations"
    grafana.dashboards[overview()["uid"]]["folder"] = "ops"
    code, output = push()
    assert code == 1
    assert "it is in folder 'Operations'" in output


def test_a_server_that_migrates_models_still_counts_as_current(grafana, push):
    push()
    for kept in grafana.dashboards.values():
        kept["model"]["schemaVersion"] = 42
    code, output = push()
    assert (code, output.count(": unchanged")) == (0, len(wanted()) + 1), output


def test_versions_of_older_servers_are_understood(grafana, push):
    grafana.version = "9.4.7"
    push()
    grafana.put_dashboard({**overview(), "title": "Edited"}, "raymon", "", by="alice")
    assert "alice edited it" in push()[1]


def test_an_updated_datasource_keeps_administrators_options(grafana, push):
    uid = files.datasource()["uid"]
    ours = {**files.datasource(), "url": "http://old:9090"}
    ours["jsonData"] = {**ours["jsonData"], "manageAlerts": False}
    grafana.datasources[uid] = {"id": 1, "readOnly": False, **ours}
    assert push("--prometheus-url", "http://new:9090")[0] == 0
    assert grafana.datasources[uid]["url"] == "http://new:9090"
    assert grafana.datasources[uid]["jsonData"]["manageAlerts"] is False


def test_a_default_datasource_stays_the_default(grafana, push):
    push("--prometheus-url", "http://old:9090")
    source = grafana.datasources[files.datasource()["uid"]]
    source |= {"isDefault": True, "basicAuth": True, "basicAuthUser": "ops"}
    assert "datasource raymon-prometheus: unchanged" in push("--prometheus-url", "http://old:9090")[1]
    assert "datasource raymon-prometheus: updated" in push("--prometheus-url", "http://new:9090")[1]
    source = grafana.datasources[files.datasource()["uid"]]
    assert (source["url"], source["isDefault"], source["basicAuthUser"]) == ("http://new:9090", True, "ops")


@pytest.mark.parametrize(
    ("change", "expected"),
    [({"readOnly": True, "url": "http://old"}, "comes from a file"), ({"type": "loki"}, "of type 'loki'")],
)
def test_a_datasource_that_is_not_ours_to_change_is_left_alone(grafana, push, change, expected):
    uid = files.datasource()["uid"]
    grafana.datasources[uid] = {"id": 1, "readOnly": False, **files.datasource(), "url": "http://new:9090", **change}
    code, output = push("--prometheus-url", "http://new:9090")
    assert code == 1
    assert expected in output


def test_a_url_with_a_sub_path(tmp_path, push):
    with fake_grafana.running(sub_path="tools/grafana") as fake:
        assert push(url=fake.url + "/")[0] == 0
        assert set(fake.dashboards) == set(wanted())
        code, output = push(url=fake.url.removesuffix("/tools/grafana"))
        assert code == 1
        assert "sub-path" in output


def one_sentence(output):
    lines = output.strip().splitlines()
    assert len(lines) == 1, output
    assert "Traceback" not in output
    assert "object at 0x" not in output
    return lines[0]


def only(path_part, answer):
    return lambda path: answer(path) if path_part in path else None


@pytest.mark.parametrize(
    ("token", "expected"),
    [("wrong", "HTTP 401, Unauthorized: the token is missing, wrong or expired"), ("", "HTTP 401")],
)
def test_a_wrong_login(push, token, expected):
    code, output = push(token=token)
    assert code == 1
    assert expected in one_sentence(output)


def test_a_token_without_the_right(grafana, push):
    code, output = push(token="secret-viewer")
    assert code == 1
    assert "HTTP 403" in one_sentence(output)
    assert "Editor" in output
    code, output = push("--prometheus-url", "http://p:9090", token="secret-editor")
    assert (code, "Admin for the datasource" in one_sentence(output)) == (1, True)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (fake_grafana.redirect("https://sso.example.org/login"), "redirects to https://sso.example.org/login"),
        (fake_grafana.html(200), "answered with a web page instead of JSON: a login page or another program"),
        (fake_grafana.html(502, "Bad Gateway message"), "HTTP 502 with a web page: the server or a proxy before it"),
        (fake_grafana.html(404), "HTTP 404 with a web page: is a sub-path missing?"),
        (fake_grafana.plain(500, b'"a message"'), "HTTP 500, Internal Server Error: Grafana itself failed"),
        (fake_grafana.plain(503, b'{"message": "database locked"}'), "HTTP 503, database locked"),
        (fake_grafana.plain(200, b""), "an empty reply"),
        (fake_grafana.plain(200, b"[]"), "answered unlike Grafana"),
        (fake_grafana.plain(200, b"{}"), "not as Grafana does"),
        (fake_grafana.plain(200, b"{", "text/plain"), "text/plain, not JSON"),
        (fake_grafana.plain(429, b'{"message": "slow down"}'), "HTTP 429, slow down"),
    ],
)
def test_answers_that_are_not_grafanas(grafana, push, answer, expected):
    grafana.misbehave = answer
    code, output = push()
    assert code == 1
    assert expected in one_sentence(output)


@pytest.mark.parametrize("body", [b"{}", b'{"dashboard": null}', b'{"dashboard": {}, "meta": []}'])
def test_a_dashboard_without_its_model_is_reported(grafana, push, body):
    grafana.misbehave = only("/dashboards/uid/", fake_grafana.plain(200, body))
    code, output = push()
    assert code == 1
    assert f"gave no model for the dashboard {overview()['uid']}" in one_sentence(output)


def test_an_unusual_dashboard_reply_does_not_count_as_ours(grafana, push):
    body = b'{"dashboard": {"panels": null, "tags": ["raymon"]}, "versions": [null]}'
    grafana.misbehave = only("/dashboards/uid/", fake_grafana.plain(200, body))
    code, output = push("--dry-run")
    assert code == 0
    assert "Traceback" not in output


def test_a_server_whose_database_fails_gets_nothing(grafana, push):
    grafana.misbehave = only("/api/health", fake_grafana.plain(200, b'{"database": "failing"}'))
    code, output = push()
    assert code == 1
    assert "says its database is 'failing'" in one_sentence(output)
    assert not grafana.folders


@pytest.mark.parametrize("option", ["--timeout=nan", "--timeout=0", "--prometheus-url=prometheus:9090"])
def test_wrong_use(push, capsys, option):
    with pytest.raises(SystemExit) as ended:
        push(option)
    assert ended.value.code == 2
    assert option.partition("=")[2] in capsys.readouterr().err


def test_a_conflict_of_names_is_reported(grafana, push):
    grafana.folders["other"] = "raymon"
    code, output = push()
    assert code == 1
    assert "HTTP 409, a folder with the same name already exists" in one_sentence(output)
    assert not grafana.dashboards, "nothing is put where nobody asked for it"


def test_a_dashboard_changed_meanwhile_is_not_overwritten(grafana, push):
    push()
    for uid, kept in grafana.dashboards.items():
        old = {**kept["model"], "title": f"old {uid}"}
        grafana.put_dashboard(old, "raymon", compare.message(old), by="raymon-bot")
    uid = overview()["uid"]

    def meddle():
        grafana.before_save = None
        grafana.put_dashboard({**overview(), "title": "Just edited"}, "raymon", "edit")

    grafana.before_save = meddle
    code, output = push()
    assert code == 1
    assert f"dashboard {uid}: failed: HTTP 412, The dashboard has been changed by someone else" in output
    assert grafana.dashboards[uid]["model"]["title"] == "Just edited"
    assert output.count(": updated") == len(wanted()) - 1


def test_failures_while_saving_are_reported_for_each_dashboard(grafana, push):
    grafana.misbehave = only(
        "/dashboards/db", fake_grafana.plain(400, b'{"message": "Cannot save provisioned dashboard"}')
    )
    code, output = push()
    assert code == 1
    assert output.count("HTTP 400, Cannot save provisioned dashboard: it comes from a file on the server") == len(
        wanted()
    )
    grafana.misbehave = only("/dashboards/db", fake_grafana.plain(400, b'{"message": "folder not found"}'))
    assert "HTTP 400, folder not found: the folder is gone" in push()[1]


def test_a_server_that_does_not_answer(grafana, push):
    grafana.misbehave = fake_grafana.silence(3)
    code, output = push("--timeout", "0.3")
    assert code == 1
    assert "did not answer within 0.3 s" in one_sentence(output)


def test_no_server_listens(push):
    code, output = push(url=f"http://127.0.0.1:{free_port()}")
    assert code == 1
    assert "cannot be reached" in one_sentence(output)
    assert "refused" in output


def test_https_with_an_unknown_certificate_and_with_its_authority(tmp_path, push):
    pem = tmp_path / "server.pem"
    check = subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-keyout",
            tmp_path / "key",
            "-out",
            tmp_path / "ca.pem",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert check.returncode == 0, check.stderr
    pem.write_text((tmp_path / "key").read_text() + (tmp_path / "ca.pem").read_text())
    with fake_grafana.running(certificate=pem) as fake:
        code, output = push(url=fake.url)
        assert code == 1
        assert "TLS error" in one_sentence(output)
        assert "--ca-file" in output
        assert push("--ca-file", str(tmp_path / "ca.pem"), url=fake.url)[0] == 0


@pytest.mark.parametrize(
    "url",
    ["grafana.example.org", "ftp://host", "http://host:notaport", "http://", "http://host/?orgId=1", "http://[::1"],
)
def test_an_invalid_address_is_refused(push, url):
    code, output = push(url=url)
    assert code == 1
    assert "is not the address of a Grafana" in one_sentence(output)


def test_a_password_in_the_url_is_refused_without_being_repeated(push):
    code, output = push(url="http://admin:hunter2@host:3000")
    assert code == 1
    assert "hunter2" not in output


def test_logins(grafana, tmp_path, capsys, monkeypatch, push):
    grafana.password = "pass word"
    (tmp_path / "password").write_text("pass word\n")
    login = ["--user", "admin", "--password-file", str(tmp_path / "password")]
    assert cli.main(["dashboards", "push", "--url", grafana.url, *login]) == 0
    monkeypatch.setenv("RAYMON_GRAFANA_TOKEN", "secret-editor")
    assert cli.main(["dashboards", "push", "--url", grafana.url]) == 0
    assert grafana.requests[-1][2] == "Bearer secret-editor"
    capsys.readouterr()
    for wrong in (["--token-file", "/nonexistent"], ["--user", "x"], [*login, "--token-file", "t"]):
        assert cli.main(["dashboards", "push", "--url", grafana.url, *wrong]) == 2
        one_sentence(capsys.readouterr().err)


def test_without_a_login_no_authorization_is_sent(grafana, push, monkeypatch, tmp_path):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login a password b\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    push(token="")
    assert {authorization for *_, authorization in grafana.requests} == {None}


def test_export_writes_files_that_grafana_loads(tmp_path, capsys):
    assert cli.main(["dashboards", "export", str(tmp_path / "new" / "folder")]) == 0
    written = sorted((tmp_path / "new" / "folder").iterdir())
    assert [json.loads(path.read_text()) for path in written] == list(files.dashboards().values())
    (tmp_path / "file").write_text("")
    assert cli.main(["dashboards", "export", str(tmp_path / "file")]) == 1
    assert "cannot write" in capsys.readouterr().err
