"""Numbers as people read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymon import format as formatting

FORMATS = (
    formatting.count,
    formatting.duration,
    formatting.ago,
    formatting.size,
    formatting.share,
    formatting.plain,
    formatting.whole,
)


@pytest.mark.parametrize(
    ("form", "value", "text"),
    [
        (formatting.count, 12345.6, "12.3k"),
        (formatting.count, 0, "0"),
        (formatting.count, 999.96, "1k"),
        (formatting.count, 7_000_000, "7M"),
        (formatting.duration, 0.812, "812 ms"),
        (formatting.duration, 200, "3 min 20 s"),
        (formatting.duration, 59.7, "1 min"),
        (formatting.duration, 7500, "2 h 5 min"),
        (formatting.ago, 0.3, "now"),
        (formatting.ago, 200, "3 min ago"),
        (formatting.size, 312e6, "312 MB"),
        (formatting.share, 0.963, "96 %"),
        (formatting.share, 0.05, "5.0 %"),
        (formatting.plain, -0.0032, "-3.2e-3"),
        (formatting.plain, 475.0, "475"),
    ],
)
def test_numbers_as_people_read_them(form, value, text):
    assert form(value) == text


@given(st.one_of(st.none(), st.floats()))
def test_every_number_has_a_text(value):
    for form in FORMATS:
        text = form(value)
        assert text
        assert "nan" not in text
        assert "inf" not in text
