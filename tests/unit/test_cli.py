"""`raymon.cli.main`: the one place that prints a user's errors."""

import subprocess
import sys

import pytest

from raymon import cli
from raymon.errors import UserError

VERB = cli.Verb("probe", "test_cli_probe", "Raise what a test wants.", "stack")


class Probe:
    def __init__(self, error):
        self.error = error

    def main(self, arguments):
        raise self.error


@pytest.fixture
def probe(monkeypatch):
    def run(error):
        monkeypatch.setitem(sys.modules, VERB.module, Probe(error))
        monkeypatch.setattr(cli, "VERBS", (VERB,))
        return cli.main(["probe"])

    return run


class ProblemError(UserError):
    exit_code = 1


def test_user_error_is_one_harmless_line(probe, capsys):
    assert probe(ProblemError("found \x1b[2J\x07\u202e,\n expected text")) == 1
    assert capsys.readouterr().err == "raymon probe: found \\x1b[2J\\x07\\u202e, expected text\n"


@pytest.mark.parametrize(
    ("missing", "extra"), [("yaml", "stack"), ("zmq.green", "train"), ("streamlit", "page"), ("tree", "rllib")]
)
def test_missing_package_names_the_extra(probe, capsys, missing, extra):
    assert probe(ModuleNotFoundError(f"No module named {missing!r}", name=missing)) == 2
    assert f"pip install 'raymon-rl[{extra}]'" in capsys.readouterr().err


def test_other_errors_keep_their_traceback(probe):
    with pytest.raises(ModuleNotFoundError):
        probe(ModuleNotFoundError("No module named 'raymon.trian'", name="raymon.trian"))


def test_a_verb_without_its_extra():
    code = "import sys; sys.modules['tyro'] = None; from raymon.cli import main; sys.exit(main(['train']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "raymon train: the package tyro is missing; run pip install 'raymon-rl[train]'" in done.stderr
