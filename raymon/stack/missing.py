"""The exact commands that get what is missing; raymon itself downloads nothing."""

import platform

from raymon.stack import files, process

_GRAFANA_APT = (
    "sudo mkdir -p /etc/apt/keyrings && "
    "wget -qO- https://apt.grafana.com/gpg.key | gpg --dearmor | sudo tee /etc/apt/keyrings/grafana.gpg >/dev/null && "
    "echo 'deb [signed-by=/etc/apt/keyrings/grafana.gpg] https://apt.grafana.com stable main' "
    "| sudo tee /etc/apt/sources.list.d/grafana.list && sudo apt-get update && sudo apt-get install -y grafana"
)


def prometheus() -> str:
    """Return the sentence for a missing Prometheus."""
    commands = []
    if process.find_program("apt-get"):
        # the package starts a service on port 9090 by itself; raymon runs its own beside it on another port
        commands.append("sudo apt-get install -y prometheus && sudo systemctl disable --now prometheus")
    if platform.system() == "Darwin" or process.find_program("brew"):
        commands.append("brew install prometheus")
    return _sentence("prometheus", commands, "https://prometheus.io/download/")


def grafana() -> str:
    """Return the sentence for a missing Grafana."""
    commands = []
    if process.find_program("apt-get"):
        commands.append(_GRAFANA_APT)
    if platform.system() == "Darwin" or process.find_program("brew"):
        commands.append("brew install grafana")
    return _sentence("grafana-server", commands, "https://grafana.com/grafana/download")


def compose() -> str:
    """Return the command that runs both in containers; the file's own head tells more."""
    return f"RAYMON_UID=$(id -u) docker compose -f {files.share('compose.yaml')} --profile local up -d --wait"


def _sentence(program: str, commands: list[str], page: str) -> str:
    ways = [*commands, *([compose()] if process.find_program("docker") else [])]
    if not ways:
        ways = [f"download it from {page} and put it on PATH", f"install Docker, then: {compose()}"]
    return f"no {program} on PATH. Get it with one of\n" + "\n".join(f"    {way}" for way in ways)
