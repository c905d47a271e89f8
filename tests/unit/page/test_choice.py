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
