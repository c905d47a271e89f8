"""The exact commands that install what is missing; raymon itself downloads nothing."""

import platform
import shlex
import subprocess
from pathlib import Path

from raymon.stack import files, grafana_server, process

_GRAFANA_APT = (
    "sudo mkdir -p /etc/apt/keyrings && "
    "wget -qO- https://apt.grafana.com/gpg.key | gpg --dearmor | sudo tee /etc/apt/keyrings/grafana.gpg >/dev/null && "
    "echo 'deb [signed-by=/etc/apt/keyrings/grafana.gpg] https://apt.grafana.com stable main' "
    "| sudo tee /etc/apt/sources.list.d/grafana.list && sudo apt-get update && sudo apt-get install -y grafana"
)


def prometheus(directory: Path) -> str:
    """Return the advice for a stack in `directory` without a Prometheus."""
    commands = []
    if process.find_program("apt-get"):
        # the package starts a service on port 9090 by itself; raymon runs its own on another port
        commands.append("sudo apt-get install -y prometheus && sudo systemctl disable --now prometheus")
    if platform.system() == "Darwin" or process.find_program("brew"):
        commands.append("brew install prometheus")
    return _sentence("prometheus", commands, "https://prometheus.io/download/", directory)


def grafana(directory: Path) -> str:
    """Return the advice for a stack in `directory` without a Grafana."""
    commands = []
    if process.find_program("apt-get"):
        commands.append(_GRAFANA_APT)
    if platform.system() == "Darwin" or process.find_program("brew"):
        commands.append("brew install grafana")
    return _sentence("grafana-server", commands, "https://grafana.com/grafana/download", directory)


def compose(directory: Path) -> str:
    """Return the command that runs both in containers, on the same ports, in place of the stack in `directory`.

    They take the password of Grafana's administrator from there.
    """
    down = f"raymon down --directory {shlex.quote(str(directory))}"
    password = shlex.quote(str(grafana_server.password_file(directory)))
    file = shlex.quote(str(files.share("compose.yaml")))
    variables = f"RAYMON_UID=$(id -u) RAYMON_GRAFANA_PASSWORD_FILE={password}"
    return f"{down} && {variables} docker compose -f {file} --profile local up -d --wait"


def has_compose() -> bool:
    """Return whether `docker compose` exists: some Docker packages lack it."""
    docker = process.find_program("docker")
    if not docker:
        return False
    command = [docker, "compose", "version"]
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=10).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _sentence(program: str, commands: list[str], page: str, directory: Path) -> str:
    ways = list(commands)
    if has_compose():
        ways.append(compose(directory))
    if not ways:
        ways.append(f"download it from {page} and put it on PATH")
        ways.append(f"install Docker with its compose plugin, then: {compose(directory)}")
    return f"no {program} on PATH. Get it with one of\n" + "\n".join(f"    {way}" for way in ways)
