"""The results as the page `docs/compatibility.md`."""

from collections.abc import Mapping, Sequence

QUESTIONS = {
    "counts": "Steps of an actor class that knows nothing of raymon, per worker",
    "phases": "Phases of the driver",
    "restart": "A killed actor keeps its number",
    "discovery": "Ray's list of metrics endpoints",
    "store": "Ray's object store families",
    "nodes": "Ray's node and actor families",
    "top": "`raymon top --once --json`",
    "profile": "`raymon profile`",
    "doctor": "`raymon doctor`",
    "token": "Token authentication",
    "rllib": "`raymon.rllib.Callbacks`",
}
"""Checks in the order of the table, as the page names them."""

Results = Mapping[str, Mapping[str, Mapping[str, object]]]
"""Version of Ray -> check -> its result, with the keys `ok` and `text`."""

HEAD = """# Compatibility

raymon requires Ray 2.40 or newer and Python 3.10 or newer. Each cell below was measured:
`.venv/bin/python scripts/compatibility --write` creates a virtual environment with that Ray and raymon's core (numpy
and rich), starts a small cluster and writes what it saw. RLlib is checked in an environment with RLlib and torch.
`make test` checks the oldest version, one in the middle and the newest.

"""


def page(results: Results, python: str) -> str:
    """Return the Markdown of the page."""
    versions = list(results)
    rows = [["Check", *(f"Ray {version}" for version in versions)], ["---"] * (len(versions) + 1)]
    for check, question in QUESTIONS.items():
        rows.append([question, *(_cell(results[version].get(check)) for version in versions)])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return f"{HEAD}{table}\n\n{_foot(python)}"


def _cell(result: Mapping[str, object] | None) -> str:
    if result is None:
        return "not measured"
    text = " ".join(str(result["text"]).split()).replace("|", "\\|")
    return text if result["ok"] else f"**no**: {text[:200]}"


def _foot(python: str) -> str:
    return f"Measured with Python {python} on Linux.\n"


def failures(results: Results) -> Sequence[str]:
    """Return one line for each check that failed."""
    return [
        f"Ray {version}, {check}: {result['text']}"
        for version, checks in results.items()
        for check, result in checks.items()
        if not result["ok"]
    ]
