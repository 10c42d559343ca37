"""An error is one line of bounded length that can be printed, and its way out stays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aepretrain.errors import LONGEST_LINE, one_line, printable


@given(st.text(st.characters(), max_size=2000) | st.text("ab \n\x1b\ud800", max_size=2000), st.integers(100, 600))
def test_any_text_is_one_printable_line(text, most):
    line = one_line(text, most)
    assert len(line) <= most
    assert line.isprintable()
    assert "".join(printable(text).split()).isprintable()


@pytest.mark.parametrize("end", ["Write it again.", "Go on with: aepretrain fit --resume /x/y"])
def test_the_way_out_of_a_long_message_stays(end):
    line = one_line(f"aepretrain: error: x is {'a' * 10**6}. {end}")
    assert len(line) == LONGEST_LINE
    assert line.startswith("aepretrain: error: x is a")
    assert line.endswith(end.removeprefix("Go on with"))


def test_spaces_of_all_kinds_are_printed():
    assert printable("a\u00a0b\u3000c") == "a\u00a0b\u3000c"
