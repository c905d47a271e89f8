"""What a viewer chose, as query parameters."""

from hypothesis import given
from hypothesis import strategies as st

from raymon.page import choice

NAMES = st.sampled_from([*choice.FIELDS, "token", "x"])


@given(st.dictionaries(NAMES, st.one_of(st.text(max_size=300), st.integers())))
def test_any_query_is_a_choice_that_survives_a_round_trip(parameters):
    chosen = choice.from_query(parameters)
    assert chosen.row_limit in range(25, 501)
    assert chosen.span_seconds >= 120
    assert choice.from_query(choice.to_query(chosen)) == chosen


def test_request_sent_before_the_address_changed_does_not_take_a_choice_back():
    address, first, second, third = choice.Address(), {}, {"order": "steps"}, {"order": "p95"}
    assert address.read(first) == first
    address.write(first, second)
    assert address.read(second) == second  # in the run that wrote it
    assert address.read(first) == second
    address.write(first, third)
    assert address.read(third) == third
    assert [address.read(outdated) for outdated in (first, second)] == [third, third]
    assert address.read(third) == third  # the browser knows it from here on
    assert address.read(first) == first  # its user went back


def test_going_back_at_once_after_a_choice_holds_after_some_seconds():
    now = [0.0]
    address, first, second = choice.Address(clock=lambda: now[0]), {}, {"order": "steps"}
    address.write(first, second)
    assert address.read(second) == second  # in the run that wrote it; no later request carries it
    now[0] = 1.0
    assert address.read(first) == second
    now[0] = 4.0
    assert [address.read(first), address.read(first)] == [first, first]
