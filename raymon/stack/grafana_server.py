"""Grafana as `raymon up` starts it: on the loopback, provisioned, with a generated password, without telemetry."""

import configparser
import io
import json
import os
import secrets
import shlex
from pathlib import Path
from typing import Any, Final

import yaml

from raymon.stack import files, process
from raymon.stack.state import write_file

DEFAULT_PORT: Final = 3000
DATASOURCE_NAME: Final = "Prometheus"
"""Ray's Dashboard asks its embedded panels for a datasource of this name unless RAY_PROMETHEUS_NAME says otherwise."""
FOLDER_UID: Final = "raymon"
FOLDER_TITLE: Final = "raymon"
ADMIN: Final = "admin"


def find() -> list[str] | None:
    """Return the command that runs an installed Grafana server, None without one."""
    if server := process.find_program("grafana-server"):
        return [server]
    if grafana := process.find_program("grafana"):
        return [grafana, "server"]
    return None


def home_of(program: str) -> Path | None:
    """Return the folder with Grafana's `conf` and `public`, an option of the server; None when there is none."""
    prefix = Path(program).resolve().parent.parent
    named = os.environ.get("GF_PATHS_HOME", "")
    places = [Path(named)] if named else []
    places += [prefix, prefix / "share" / "grafana", Path("/usr/share/grafana"), Path("/usr/local/share/grafana")]
    places += [Path(brew) / "opt/grafana/share/grafana" for brew in ("/opt/homebrew", "/usr/local")]
    return next((place for place in places if (place / "conf" / "defaults.ini").exists()), None)


def password_file(directory: Path) -> Path:
    """Return where the password of Grafana's administrator is kept."""
    return directory / "grafana-admin-password"


def admin_password(directory: Path) -> tuple[str, bool]:
    """Return the password of Grafana's administrator, kept for its owner only, and whether it is new."""
    path = password_file(directory)
    if path.exists() and (kept := path.read_text().strip()):
        path.chmod(0o600)
        return kept, False
    password = secrets.token_urlsafe(18)
    write_file(path, password + "\n", mode=0o600)
    return password, True


def reset_password(directory: Path) -> str:
    """Return the advice for a new password where Grafana has an older one: it reads the file only once.

    Empty for a Grafana without a database, which will read the password from the file.
    """
    if not (directory / "grafana" / "data" / "grafana.db").exists():
        return ""
    program = process.find_program("grafana") or "grafana"
    home = home_of(program)
    words = [program, "cli", *([f"--homepath={home}"] if home else []), f"--config={directory / 'grafana.ini'}"]
    return (
        f"{password_file(directory)} was missing and holds a new password now, but Grafana keeps its old one; "
        f"set the new one:\n    {shlex.join([*words, 'admin', 'reset-admin-password', '--password-from-stdin'])} "
        f"< {shlex.quote(str(password_file(directory)))}"
    )


def ini(directory: Path, port: int, anonymous: bool) -> str:
    """Return the text of `grafana.ini`."""
    folder = directory / "grafana"
    parser = configparser.RawConfigParser()
    parser.read_dict(
        {
            "paths": {
                "data": str(folder / "data"),
                "logs": str(folder / "logs"),
                "plugins": str(folder / "plugins"),
                "provisioning": str(folder / "provisioning"),
            },
            "server": {"http_addr": "127.0.0.1", "http_port": str(port), "root_url": f"http://127.0.0.1:{port}/"},
            "security": {
                "admin_user": ADMIN,
                "admin_password": f"$__file{{{password_file(directory)}}}",
                # the Ray Dashboard shows Grafana's panels in frames, which work for people who need no login only
                "allow_embedding": str(anonymous).lower(),
            },
            "auth.anonymous": {"enabled": str(anonymous).lower(), "org_role": "Viewer"},
            "users": {"allow_sign_up": "false", "default_theme": "system"},
            "analytics": {
                "reporting_enabled": "false",
                "check_for_updates": "false",
                "check_for_plugin_updates": "false",
            },
            "dashboards": {"default_home_dashboard_path": str(files.share("dashboards") / "raymon-overview.json")},
            "news": {"news_feed_enabled": "false"},
        }
    )
    text = io.StringIO()
    text.write("# Written by raymon up; changes are lost at its next start.\n")
    parser.write(text)
    return text.getvalue()


def datasource(prometheus_url: str) -> dict[str, Any]:
    """Return the datasource raymon's dashboards and Ray's read from."""
    return {**files.datasource(), "name": DATASOURCE_NAME, "url": prometheus_url, "isDefault": True}


def provider(name: str, folder: str, folder_uid: str, path: Path) -> dict[str, Any]:
    """Return one provisioned folder of dashboards."""
    return {
        "name": name,
        "folder": folder,
        "folderUid": folder_uid,
        "type": "file",
        "allowUiUpdates": False,
        "options": {"path": str(path)},
    }


def ray_dashboards(temp_dir: Path) -> Path:
    """Return where Ray writes its own dashboards: they follow the newest session."""
    named = os.environ.get("RAY_METRICS_GRAFANA_DASHBOARD_OUTPUT_DIR", "")
    return Path(named) if named else temp_dir / "session_latest" / "metrics" / "grafana" / "dashboards"


def linked(source: Path, copies: Path) -> Path:
    """Copy Ray's dashboards with a link to raymon's added; return the folder to provision.

    That is Ray's own while it holds no dashboard yet: no way back then, but Ray's dashboards as soon as it writes them.
    """
    paths = sorted(source.glob("*.json"))
    for path in paths:
        try:
            model = json.loads(path.read_text())
            links = [link for link in model.get("links") or [] if link.get("tags") != [files.TAG]]
            write_file(copies / path.name, json.dumps({**model, "links": [*links, _link_from_ray()]}, indent=1))
        except (OSError, ValueError, AttributeError):
            return source  # incomplete or of another shape: Ray's own are shown
    return copies if paths else source


def provision(directory: Path, port: int, prometheus_url: str, temp_dirs: tuple[Path, ...], anonymous: bool) -> bool:
    """Write Grafana's configuration and provisioning; return whether anything changed."""
    folder = directory / "grafana"
    for name in ("data", "logs", "plugins", "provisioning/plugins", "provisioning/alerting"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    # Ray's come last: Grafana stops its first round at a folder that is not there yet, and looks again later
    providers = [provider("raymon", FOLDER_TITLE, FOLDER_UID, files.share("dashboards"))]
    providers += [
        provider(f"Ray {number}" if number else "Ray", "Ray", "ray", linked(ray_dashboards(temp_dir), folder / "ray"))
        for number, temp_dir in enumerate(temp_dirs[:1])
    ]
    source = {"apiVersion": 1, "datasources": [datasource(prometheus_url)] if prometheus_url else []}
    boards = {"apiVersion": 1, "providers": providers}
    changes = [
        write_file(directory / "grafana.ini", ini(directory, port, anonymous), mode=0o600),
        write_file(folder / "provisioning/datasources/raymon.yml", yaml.safe_dump(source, sort_keys=False)),
        write_file(folder / "provisioning/dashboards/raymon.yml", yaml.safe_dump(boards, sort_keys=False)),
    ]
    return any(changes)


def command(program: list[str], directory: Path) -> list[str]:
    """Return how to start Grafana with the configuration below `directory`."""
    home = home_of(program[0])
    return [*program, *([f"--homepath={home}"] if home else []), f"--config={directory / 'grafana.ini'}"]


def environment() -> dict[str, str]:
    """Return the environment for Grafana: a GF_… variable of the user's would override the configuration."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GF_")}


def _link_from_ray() -> dict[str, Any]:
    """Return the link that Ray's own dashboards get: the menu of raymon's dashboards, as these carry it."""
    links = next(iter(files.dashboards().values()))["links"]
    return next(link for link in links if link.get("tags") == [files.TAG])
