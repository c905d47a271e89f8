"""The fuzzing itself: each broken invariant is found, and a failure can be repeated."""

import logging
import resource
from random import Random

import pytest

from fuzz import mutation
from fuzz.drawn import check_html, check_terminal
from fuzz.harness import Harness, block_of, run
from raymon.errors import UserError
from raymon.html.markup import tag


def outcome_of(check, tmp_path, numbers=range(3)):
    return run(Harness("x", "a parser", lambda _folder: check), numbers, 1, tmp_path)


def raises(_random):
    raise KeyError("x")


def hangs(_random):
    while True:
        pass


def swallows(_random):
    try:
        raise KeyError("x")
    except KeyError:
        logging.getLogger("raymon.live").warning("it cannot be read", exc_info=True)


def takes_memory(_random):
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert len(b"x" * (peak + 300 * 1024 * 1024))


@pytest.mark.parametrize(
    ("check", "reason"),
    [(raises, "KeyError"), (hangs, "TooSlow"), (swallows, "logged an exception"), (takes_memory, "memory grew")],
)
def test_each_broken_invariant_is_a_failure(check, reason, tmp_path, monkeypatch):
    monkeypatch.setattr("fuzz.harness.MOST_CPU_SECONDS", 0.1 if check is hangs else 30.0)
    outcome = outcome_of(check, tmp_path, range(1))
    assert reason in outcome.failures[0].reason
    assert "--harness x --seed 1 --only 0" in str(outcome.failures[0])


def test_documented_error_is_no_failure_unless_it_says_nothing(tmp_path):
    def refuses(_random):
        raise UserError("found x, expected y")

    def mute(_random):
        raise UserError

    assert (outcome_of(refuses, tmp_path).refused, outcome_of(refuses, tmp_path).failures) == (3, [])
    assert len(outcome_of(mute, tmp_path).failures) == 3


def test_inputs_depend_on_their_number_alone():
    def page(number):
        return mutation.text(Random(f"x:1:{number}"), "a 1\nb 2\n")

    assert page(7) == page(7)
    assert list(block_of(53)) == [50, 51, 52, 53]


def test_raw_markup_and_control_characters_are_seen():
    check_html(str(tag("p", mutation.MARKUP, title=mutation.MARKUP)))
    for bad in (f"<p>{mutation.MARKUP}</p>", "<p>\x1b[31m</p>", "<p>\N{RIGHT-TO-LEFT OVERRIDE}</p>"):
        with pytest.raises(AssertionError, match="found"):
            check_html(bad)
    with pytest.raises(AssertionError, match="a section could not be drawn"):
        check_html('<section data-section="broken">')
    with pytest.raises(AssertionError, match="control character"):
        check_terminal("\x9b1m")
