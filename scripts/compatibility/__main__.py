"""Check raymon on several versions of Ray, each in a virtual environment of its own.

    python scripts/compatibility                          # all versions, about ten minutes
    python scripts/compatibility --ray 2.40.0 --ray 2.60.0
    python scripts/compatibility --write                  # and write docs/compatibility.md

Environments are kept in RAYMON_COMPATIBILITY_CACHE, ~/.cache/raymon-compatibility by default. Exit code 1 when a check
fails.
"""

import argparse
import json
import os
import platform
import secrets
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from environments import InstallError, environment
from table import QUESTIONS, failures, page

OFF = "off by default"
"""What the probe says of tokens that this Ray has but does not use unless asked to."""
HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
VERSIONS = ("2.40.0", "2.44.1", "2.48.0", "2.52.1", "2.55.1", "2.57.1", "2.60.0")
CACHE = Path(os.environ.get("RAYMON_COMPATIBILITY_CACHE") or Path.home() / ".cache" / "raymon-compatibility")
LIMIT_SECONDS = 300


def parser() -> argparse.ArgumentParser:
    """Return the options."""
    options = argparse.ArgumentParser(prog="scripts/compatibility", description="Check raymon on several Rays.")
    add = options.add_argument
    add("--ray", action="append", metavar="VERSION", help=f"repeat for several; default: {', '.join(VERSIONS)}")
    add("--cache", type=Path, default=CACHE, metavar="DIR", help=f"keeps the environments; default: {CACHE}")
    add("--without-rllib", action="store_true", help="leave RLlib out")
    add("--python", type=Path, help="check the Ray of this Python instead of creating environments")
    add("--write", action="store_true", help="write docs/compatibility.md")
    add("--json", action="store_true", help="print the results as JSON")
    return options


def probe(python: Path, script: str, *arguments: str, tokens: str | None = None) -> dict[str, dict[str, object]]:
    """Run a probe with a Python; return check -> result. A probe that ends early lacks its last checks.

    Args:
        python: The Python of an environment.
        script: The probe's file.
        arguments: Its arguments.
        tokens: Value of `RAY_AUTH_MODE`; None leaves it to this Ray.
    """
    with tempfile.TemporaryDirectory() as folder:
        keep = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "RAYMON_"))}
        environment = {
            **keep,
            "PYTHONPATH": str(ROOT),
            **({} if tokens is None else {"RAY_AUTH_MODE": tokens}),
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
            "PATH": f"{python.parent}{os.pathsep}{keep.get('PATH', '')}",
        }
        log = Path(folder, "log")
        with log.open("w") as errors:
            done = subprocess.run(
                [python, HERE / script, *arguments],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment,
                cwd=folder,
                timeout=LIMIT_SECONDS,
                check=False,
            )
        results = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"check"')]
        if any(not result["ok"] for result in results) or done.returncode:
            print(log.read_text()[-6000:], file=sys.stderr)
        return {result["check"]: result for result in results}


def free_port() -> str:
    """Return a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def check(cache: Path, version: str, with_rllib: bool, python: Path | None) -> dict[str, dict[str, object]]:
    """Return the results of all checks for one version of Ray."""
    core = python or environment(cache, version)
    results = probe(core, "probe.py", free_port())
    if results.get("token", {}).get("text") == OFF:
        results.update(probe(core, "probe.py", free_port(), "token", tokens="token"))
    if with_rllib:
        results.update(probe(python or environment(cache, version, rllib=True), "rllib_probe.py"))
    wanted = [name for name in QUESTIONS if with_rllib or name != "rllib"]
    missing = {"ok": False, "text": "the probe ended before this check"}
    return {name: results.get(name, missing) for name in wanted}


def main() -> int:
    """Run the checks; print, and write the page if wanted."""
    options = parser().parse_args()
    results = {}
    for version in options.ray or VERSIONS:
        print(f"Ray {version} …", file=sys.stderr, flush=True)
        try:
            results[version] = check(options.cache, version, not options.without_rllib, options.python)
        except InstallError as error:
            print(error, file=sys.stderr)
            return 2
        for name, result in results[version].items():
            print(f"  {'ok' if result['ok'] else 'NO':<3} {name:<10} {result['text']}", file=sys.stderr, flush=True)
    if options.write:
        (ROOT / "docs" / "compatibility.md").write_text(page(results, platform.python_version()))
    if options.json:
        print(json.dumps(results))
    for line in failures(results):
        print(line, file=sys.stderr)
    return int(bool(failures(results)))


if __name__ == "__main__":
    sys.exit(main())
