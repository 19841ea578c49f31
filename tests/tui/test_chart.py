"""Curves as text: worked out by hand where that can be, and for whatever comes: spikes stay, nothing is raised."""

from __future__ import annotations

import asyncio
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from textual.app import App, ComposeResult

from tui.drawing.braille import (
    LETTERS,
    Column,
    Look,
    Series,
    columns,
    draw,
    left_out,
    number,
    place,
    smoothed,
    thinned,
    window,
)
from tui.widgets.chart import Chart


def text(series: list[Series], width: int, height: int, look: Look = Look()) -> list[str]:  # noqa: B008
    return ["".join(piece for piece, _ in line) for line in draw(series, width, height, look)]


def test_a_straight_line_by_hand() -> None:
    # 8 cells of 2 dots, 2 lines of 4: x = 0..15 falls into a column each, y = x / 15 * 7 rounded
    line = Series("y", list(range(16)), list(range(16)))
    plain = text([line], 16, 5)
    assert [row[:4] for row in plain[:2]] == [" 15┤", "  0┤"]
    assert plain[2] == "   └" + "─" * 12
    assert plain[3] == "    0         15"
    assert plain[4].rstrip() == "y 15"


def dots(rows: list[list[tuple[str, int]]], margin: int) -> set[tuple[int, int]]:
    """(column, row) of each dot, from the upper left, after `margin` cells of labels and axis."""
    order = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
    found = set()
    for row, line in enumerate(rows):
        for cell, sign in enumerate("".join(piece for piece, _ in line)[margin:]):
            bits = ord(sign) - 0x2800 if 0x2800 <= ord(sign) < 0x2900 else 0
            found |= {(2 * cell + x, 4 * row + y) for x in (0, 1) for y in range(4) if bits & order[x][y]}
    return found


def test_a_diagonal_of_dots_by_hand() -> None:
    # 13 cells: 26 columns, one for each x of 0..25; 2 lines: 8 rows, row 7 - round(7 x / 25); steps of one row are
    # joined by the dot beside the one before
    drawn = dots(draw([Series("y", range(26), [float(x) for x in range(26)])], 17, 4)[:2], 4)
    places = [7 - round(7 * x / 25) for x in range(26)]
    assert {(x, places[x]) for x in range(26)} <= drawn
    assert drawn - {(x, places[x]) for x in range(26)} == {
        (x, places[x - 1]) for x in range(1, 26) if places[x] != places[x - 1]
    }


def test_one_value_is_a_dot_in_the_middle_with_its_label() -> None:
    rows = text([Series("loss", [4], [2.88])], 40, 7)
    assert "2.88┤" in rows[1]
    assert sum(0x2800 < ord(sign) < 0x2900 for sign in "".join(rows)) == 1


@pytest.mark.parametrize("x", [2, 0.3, -7.1, 1e300])
@pytest.mark.parametrize("plain", [False, True])
def test_where_every_x_is_one_each_curve_is_one_point(x: float, plain: bool) -> None:
    series = [Series(name, [x], [y]) for name, y in (("one", 50.0), ("two", 60.0), ("three", 60.0))]
    rows = text(series, 60, 9, Look(ascii=plain))
    edge = "+" if plain else "┤"
    drawn = [sorted(row.split(edge)[1].strip()) for row in rows[:6] if edge in row]
    assert drawn == [["b", "c"], [], ["a"]]  # two that meet stand side by side
    plot = "".join(row[3:] for row in rows[:6])
    assert {sign for sign in plot if sign not in " │┤|+."} <= {*"abc"}
    assert rows[-2].split() == [place(x)]


def test_values_at_one_x_are_one_column_in_the_middle() -> None:
    found = columns([2, 2, 2], [5, 1, 9], (2, 2), 6)
    assert found == [None, None, None, Column(1, 9, 5, 9), None, None]
    near = math.nextafter(2, 3)  # no number lies between, so bounds meet
    found = columns([2, near], [5, 1], (2, near), 6)
    assert [c for c in found if c] == [Column(5, 5, 5, 5), Column(1, 1, 1, 1)]


def test_the_labels_are_the_least_and_the_greatest_and_the_middle_is_geometric_on_a_log_scale() -> None:
    line = Series("loss", [0, 1, 2], [0.01, 1, 100])
    linear, log = text([line], 40, 9), text([line], 40, 9, Look(log=True))
    assert linear[0].strip().startswith("100┤") and linear[5].strip().startswith("0.01┤")
    assert [row.strip().split("┤")[0] for row in log if "┤" in row] == ["100", "1", "0.01"]


def test_a_spike_of_one_step_in_a_hundred_thousand_reaches_the_top() -> None:
    ys = [1.0] * 100_000
    ys[54_321] = 9.0
    rows = text([Series("loss", range(100_000), ys)], 60, 12)
    assert "9┤" in rows[0]
    assert any(0x2800 < ord(sign) < 0x2900 for sign in rows[0])


def test_what_is_not_finite_is_counted_and_left_out_of_the_bounds() -> None:
    line = Series("loss", range(6), [1.0, math.nan, math.inf, 2.0, -math.inf, 3.0])
    rows = text([line], 60, 8)
    assert "3┤" in rows[0] and "1┤" in rows[4]
    assert "3 not finite" in rows[-1]
    assert left_out([0.0, -1.0, 1.0, math.nan], log=True) == 3
    assert "2 not finite or not above 0" in text([Series("l", [0, 1, 2, 3], [-1, 0, 1, 2])], 60, 8, Look(log=True))[-1]


def test_a_run_of_nan_is_a_gap_and_sparse_points_are_joined() -> None:
    xs = list(range(100))
    gap = text([Series("l", xs, [1.0 if i < 40 or i >= 60 else math.nan for i in xs])], 60, 8)
    row = next(line for line in gap if "┤" in line).split("┤")[1]
    assert row[26:30].strip() == "" and row[:20].strip() and row[40:].strip()
    sparse = text([Series("l", [0, 99], [1.0, 1.0])], 60, 8)
    assert " " not in next(line for line in sparse if "┤" in line).split("┤")[1]


def test_curves_are_told_apart_by_letters() -> None:
    xs = list(range(200))
    series = [Series(name, xs, [float(shift)] * 200) for shift, name in enumerate(("loss", "val_loss", "lr"))]
    rows = text(series, 80, 14)
    assert rows[-1].split() == ["a", "loss", "0", "b", "val_loss", "1", "c", "lr", "2"]
    plot = [row.split("┤")[-1].split("│")[-1] for row in rows[:11]]
    assert [set(row) & set(LETTERS) for row in plot if set(row) & set(LETTERS)] == [{"c"}, {"b"}, {"a"}]
    met = text([Series("x", xs, [1.0] * 200), Series("y", xs, [1.0] * 200)], 80, 14)
    assert any("ab" in row or "ba" in row for row in met[:11])  # ends that meet stand side by side


def test_without_unicode_only_ascii_is_drawn() -> None:
    rows = text([Series("a", [0, 1, 2], [1, 5, 2]), Series("b", [0, 1, 2], [2, 1, 3])], 60, 10, Look(ascii=True))
    assert all(ord(sign) < 128 for row in rows for sign in row)
    assert any("a" in row for row in rows[:7]) and any("b" in row for row in rows[:7])


def test_smoothing_is_the_unbiased_moving_average() -> None:
    # w = 0.5: y0 = 4; (0.5 * 4 + 1 * 2) / 1.5 = 8/3; (0.25 * 4 + 0.5 * 2 + 1 * 0) / 1.75 = 8/7
    assert smoothed([4, 2, 0], 0.5) == pytest.approx([4, 8 / 3, 8 / 7])
    assert smoothed([4, 2], 0.0) == [4, 2]
    held = smoothed([1.0, math.nan, 1.0], 0.9)
    assert math.isnan(held[1]) and held[2] == pytest.approx(1.0)


def test_zoom_is_the_newest_part() -> None:
    line = Series("l", list(range(101)), [0.0] * 101)
    assert [window([line], zoom) for zoom in (0, 1, 2)] == [(0, 100), (50, 100), (75, 100)]
    assert "75" in text([line], 60, 8, Look(zoom=2))[-2]
    assert text([Series("l", [0, 1_234_567], [0, 1])], 60, 8)[-2].split() == ["0", "1,234,567"]


def test_numbers_are_short() -> None:
    assert [number(value) for value in (0, 0.12345, 12345, 1.5e-5, 1e6, -0.5, 2.0)] == [
        "0", "0.1235", "12345", "1.5e-5", "1e6", "-0.5", "2",
    ]  # fmt: skip


def test_columns_keep_least_and_greatest() -> None:
    found = columns([0, 1, 2, 3, 4, 5, 6, 7], [5, 1, 9, 4, 3, 3, 2, 8], (0, 8), 2)
    assert [(c.low, c.high, c.first, c.last) for c in found if c] == [(1, 9, 5, 4), (2, 8, 3, 8)]


@pytest.mark.parametrize("size", [(0, 0), (5, 2), (15, 10), (200, 3), (16, 4)])
def test_where_there_is_no_room_a_sentence_says_so(size: tuple[int, int]) -> None:
    rows = draw([Series("l", [0, 1], [0, 1])], *size)
    assert len(rows) == size[1]
    assert all(sum(len(piece) for piece, _ in row) == size[0] for row in rows)


def test_nothing_to_draw_is_said() -> None:
    assert any("nothing to plot yet" in row for row in text([], 60, 8))
    assert any("log scale" in row for row in text([Series("l", [0], [-1])], 60, 8, Look(log=True)))


VALUES = st.floats(allow_nan=True, allow_infinity=True)
CURVES = st.lists(
    st.tuples(st.text(max_size=5), st.lists(st.tuples(st.floats(-1e300, 1e300), VALUES), max_size=30)), max_size=4
)


@settings(max_examples=300, deadline=None)
@given(
    CURVES, st.integers(0, 90), st.integers(0, 20), st.booleans(), st.sampled_from([0.0, 0.6, 0.97]),
    st.integers(0, 12), st.booleans(),
)  # fmt: skip
def test_whatever_comes_a_chart_fills_its_size(
    curves: list[tuple[str, list[tuple[float, float]]]],
    width: int, height: int, log: bool, smooth: float, zoom: int, plain: bool,
) -> None:  # fmt: skip
    series = [Series(name, [x for x, _ in sorted(points)], [y for _, y in sorted(points)]) for name, points in curves]
    rows = draw(series, width, height, Look(log, smooth, zoom, plain))
    assert len(rows) == height
    assert all(sum(len(piece) for piece, _ in row) == width for row in rows)


@settings(max_examples=150, deadline=None)
@given(st.integers(10, 5000), st.data())
def test_the_extremes_of_any_curve_are_drawn_at_the_top_and_bottom(count: int, data: st.DataObject) -> None:
    top, bottom = data.draw(st.integers(0, count - 1)), data.draw(st.integers(0, count - 1))
    ys = [math.sin(i) for i in range(count)]
    ys[bottom], ys[top] = -50.0, 50.0
    rows = draw([Series("l", range(count), ys)], 60, 10)
    assert any(whose == 0 and piece.strip("\u2800 ") for piece, whose in rows[0])
    if top != bottom:
        assert any(whose == 0 and piece.strip("\u2800 ") for piece, whose in rows[6])
    xs, thin = thinned(range(count), ys, 100)
    assert len(xs) <= 102 and max(thin) == max(ys) and min(thin) == min(ys) and xs == sorted(xs)


def test_a_chart_draws_again_only_when_something_changed() -> None:
    class Charts(App[None]):
        def compose(self) -> ComposeResult:
            yield Chart()

    async def walk() -> None:
        app = Charts()
        async with app.run_test(size=(80, 24)) as pilot:
            chart = app.query_one(Chart)
            series = [Series("loss", (0, 1, 2), (3.0, 2.0, 1.0))]
            chart.show(series)
            await pilot.pause()
            draws = chart.draws
            chart.show([Series("loss", (0, 1, 2), (3.0, 2.0, 1.0))])
            chart.refresh()
            await pilot.pause()
            assert chart.draws == draws
            assert "loss 1" in chart.text()
            chart.zoom(1)
            assert chart.toggle_log() and chart.smoother() == 0.6
            await pilot.pause()
            assert chart.draws == draws + 1
            assert "log scale" in chart.note and "newest 1/2" in chart.note and "0.6" in chart.note
            await pilot.resize_terminal(40, 10)
            await pilot.pause()
            assert chart.draws == draws + 2
            assert max(map(len, chart.text().splitlines())) == 40

    asyncio.run(walk())
