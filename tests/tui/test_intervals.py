"""Dots on bars: all on one axis, in order, and inside their width."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tui.drawing import intervals

percents = st.floats(0, 100)
spans = st.tuples(percents, percents, percents).map(lambda values: tuple(sorted(values)))


@given(st.lists(st.none() | spans, min_size=1, max_size=9), st.integers(24, 64))
def test_a_higher_number_is_never_further_left(found: list[intervals.Span | None], width: int) -> None:
    axis = intervals.axis_of(found)
    if axis is None:
        assert not any(found)
        return
    drawn = [(span[1], intervals.line(span, axis, width)) for span in found if span is not None]
    assert all(len(line) == width and line.count(intervals.DOT) == 1 for _, line in drawn)
    places = [line.index(intervals.DOT) for _, line in sorted(drawn, key=lambda pair: pair[0])]
    assert places == sorted(places)
    assert axis[0] <= min(span[0] for span in found if span) and max(span[2] for span in found if span) <= axis[1]
    assert len(intervals.head(axis, "4 shots", width)) == width


def test_the_ends_are_where_they_stand_and_nothing_is_drawn_for_nothing() -> None:
    axis = intervals.axis_of([(60.2, 70, 80), None, (65, 75, 89.5)])
    assert axis == (60, 90)
    assert intervals.line((60, 75, 90), axis, 31) == "├" + "─" * 14 + "●" + "─" * 14 + "┤"
    assert intervals.line((75, 75, 75), axis, 31).strip() == "●"
    assert intervals.line(None, axis, 31) == " " * 31
    assert intervals.head(axis, "4 shots", 24) == "60      4 shots       90"
