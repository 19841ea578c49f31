"""The table of any length against a plain list: cursor, marks, order, refresh, what is loaded and what is drawn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.text import Text
from textual import events
from textual.app import App, ComposeResult
from textual.pilot import Pilot

from tui.drawing import glyphs
from tui.widgets.table import AHEAD, PAGE, VirtualTable
from tui.widgets.table_columns import Column, Row, column, cut, fit

COLUMNS = [column("id"), column("method"), column("accuracy"), column("tags")]
HEIGHT = 12


class Tables(App[None]):
    """A table over a dict of rows; what is wanted comes a little later, as from a pool."""

    def __init__(self, rows: dict[str, Row], columns: Sequence[Column] = COLUMNS) -> None:
        super().__init__()
        self.rows, self.shown = rows, columns
        self.wanted: list[list[str]] = []
        self.said: list[tuple[str, str]] = []
        self.answering = True

    def compose(self) -> ComposeResult:
        """Only that."""
        yield VirtualTable(self.shown)

    @property
    def table(self) -> VirtualTable:
        """The table."""
        return self.query_one(VirtualTable)

    async def on_virtual_table_wanted(self, message: VirtualTable.Wanted) -> None:
        """Read them."""
        self.wanted.append(message.ids)
        if self.answering:
            self.call_later(self.table.put, [dict(self.rows[i]) for i in message.ids if i in self.rows])

    def on_virtual_table_moved(self, message: VirtualTable.Moved) -> None:
        """Remember."""
        self.said.append(("moved", message.row_id))

    def on_virtual_table_opened(self, message: VirtualTable.Opened) -> None:
        """Remember."""
        self.said.append(("opened", message.row_id))

    def on_virtual_table_header_clicked(self, message: VirtualTable.HeaderClicked) -> None:
        """Remember."""
        self.said.append(("header", message.name))

    def lines(self) -> list[str]:
        """What is drawn."""
        return [
            "".join(segment.text for segment in strip).rstrip() for strip in self.screen._compositor.render_strips()
        ]


def made(count: int, state: int = 0) -> dict[str, Row]:
    """Rows whose accuracy is a shuffle of their number; `state` gives each another."""
    found: dict[str, Row] = {}
    for i in range(count):
        row_id = f"{i * 0x9E3779B97F4A7C15 % 2**64:016x}"
        found[row_id] = {"id": row_id, "method": f"m{i % 3}", "accuracy": float((i * 37 + state) % 101), "tags": []}
    return found


def run(rows: dict[str, Row], test: Callable[[Tables, Pilot[Any]], Any], width: int = 70) -> None:
    async def go() -> None:
        app = Tables(rows)
        async with app.run_test(size=(width, HEIGHT)) as pilot:
            app.table.set_ids(list(rows))
            await pilot.pause()
            await test(app, pilot)

    asyncio.run(go())


KEYS = ["up", "down", "pageup", "pagedown", "home", "end", "g", "G", "j", "k", "left", "right"]
NAMES = ["id", "accuracy", "title", "reason", "created", "shots", "seed", "state", "stage", "tags", "settings"]
STEPS = st.one_of(
    st.tuples(st.just("press"), st.sampled_from(KEYS)),
    st.tuples(st.just("mark"), st.just(0)),
    st.tuples(st.just("unmark"), st.just(0)),
    st.tuples(st.just("to"), st.integers(-5, 400)),
    st.tuples(st.just("sort"), st.integers(0, 3)),
    st.tuples(st.just("filter"), st.integers(0, 3)),
    st.tuples(st.just("refresh"), st.integers(0, 5)),
    st.tuples(st.just("grow"), st.integers(0, 300)),
    st.tuples(st.just("click"), st.integers(1, HEIGHT - 1)),
)


class Model:
    """The same as a list."""

    def __init__(self, rows: dict[str, Row]) -> None:
        self.rows, self.ids = rows, list(rows)
        self.sort, self.filter, self.state = 0, 3, 0
        self.cursor, self.marks = 0, list[str]()

    def order(self) -> list[str]:
        found = [i for i, row in self.rows.items() if self.filter == 3 or row["method"] == f"m{self.filter}"]
        keys: list[Callable[[str], Any]] = [lambda i: 0, lambda i: self.rows[i]["accuracy"], lambda i: i, lambda i: 0]
        found.sort(key=keys[self.sort], reverse=self.sort == 2)
        return found[::-1] if self.sort == 3 else found

    def move(self, to: int) -> None:
        self.cursor = max(0, min(to, len(self.ids) - 1))

    def read(self) -> None:
        here = self.ids[self.cursor] if self.ids else ""
        self.ids = self.order()
        self.move(self.ids.index(here) if here in self.ids else self.cursor)


@given(st.integers(0, 350), st.lists(STEPS, max_size=14))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_walk_leaves_what_a_list_would(count: int, steps: list[tuple[str, Any]]) -> None:
    model = Model(made(count))

    async def walk(app: Tables, pilot: Pilot[Any]) -> None:
        table = app.table
        for what, argument in steps:
            page = HEIGHT - 1 - table.show_horizontal_scrollbar  # rows seen
            if what == "press":
                await pilot.press(argument)
                by = {"up": -1, "k": -1, "down": 1, "j": 1, "pageup": 1 - page, "pagedown": page - 1}
                if argument in by:
                    model.move(model.cursor + by[argument])
                elif argument not in ("left", "right"):
                    model.move(0 if argument in ("home", "g") else len(model.ids))
            elif what == "mark":
                table.toggle_mark()
                if model.ids:
                    here = model.ids[model.cursor]
                    model.marks = [i for i in model.marks if i != here] if here in model.marks else [*model.marks, here]
                    model.move(model.cursor + 1)
            elif what == "unmark":
                table.set_marks(())
                model.marks = []
            elif what == "to":
                table.move_to(argument)
                model.move(argument)
            elif what == "click":
                await pilot.pause()  # what has come is laid out, as it is before anybody can click on it
                number = round(table.scroll_y) + argument - 1
                await pilot.click(VirtualTable, offset=(5, argument))
                if number < len(model.ids) and argument <= page:
                    model.move(number)
            else:
                if what == "sort":
                    model.sort = argument
                elif what == "filter":
                    model.filter = argument
                elif what == "refresh":
                    model.rows = app.rows = made(len(model.rows), argument)
                else:
                    model.rows = app.rows = made(argument, model.state)
                table.set_ids(model.order(), [app.rows[i] for i in table.near() if i in app.rows])
                model.read()
            assert (list(table.ids), table.cursor, table.marks) == (model.ids, model.cursor, model.marks)
            assert table.cursor_id == (model.ids[model.cursor] if model.ids else "")
        for _ in range(200):  # rows come a little later: on a busy machine, more than two turns later
            await pilot.pause()
            drawn = app.lines()
            if all(drawn[line].strip() for line in range(1, len(table.window) + 1)):
                break
            await pilot.pause(0.01)
        assert not table.ids or table.cursor in table.window
        for line, number in enumerate(table.window, 1):
            row = model.rows[model.ids[number]]
            sign = (glyphs.ARROW if number == model.cursor else " ") + ("■" if row["id"] in model.marks else " ")
            assert drawn[line].startswith(f"{sign}{row['id'][:8]}"), drawn[line]
            if not table.scroll_x:
                assert f"{row['method']} " in drawn[line] and f"{row['accuracy']:.2f}" in drawn[line]

    run(model.rows, walk)


def test_only_what_is_seen_is_asked_for() -> None:
    rows = made(20_000)

    async def look(app: Tables, pilot: Pilot[Any]) -> None:
        assert sum(map(len, app.wanted)) <= PAGE
        app.table.move_to(10_000)
        await pilot.pause()
        await pilot.pause()
        assert sum(map(len, app.wanted)) <= 4 * PAGE
        for number in app.table.window:
            assert app.table.row(app.table.ids[number]) is not None
        asked = len(app.wanted)
        for _ in range(AHEAD // 2):
            app.table.action_move(1)
        await pilot.pause()
        assert len(app.wanted) <= asked + 1

    run(rows, look)


def test_the_cursor_never_waits_for_rows() -> None:
    async def look(app: Tables, pilot: Pilot[Any]) -> None:
        app.answering = False
        app.table.move_to(5_000)
        await pilot.press("j", "j")
        assert app.table.cursor == 5_002
        line = next(line for line in app.lines() if line.startswith(glyphs.ARROW))
        assert app.table.cursor_id[:8] in line and glyphs.ELLIPSIS in line
        app.answering = True
        app.table.forget()
        await pilot.pause()
        await pilot.pause()
        line = next(line for line in app.lines() if line.startswith(glyphs.ARROW))
        assert f"{app.rows[app.table.cursor_id]['accuracy']:.2f}" in line

    run(made(10_000), look)


def test_memory_of_rows_is_bounded_however_far_one_walks() -> None:
    async def look(app: Tables, pilot: Pilot[Any]) -> None:
        for start in range(0, 20_000, 300):
            app.table.move_to(start)
            await pilot.pause()
        assert len(app.table._rows) < 5_000

    run(made(20_000), look)


def test_a_row_that_changed_is_drawn_anew_and_no_other() -> None:
    async def look(app: Tables, pilot: Pilot[Any]) -> None:
        table, drawn = app.table, list[int]()
        refresh = table.refresh_line
        table.refresh_line = lambda y: (drawn.append(y), refresh(y))[1]  # type: ignore[method-assign,func-returns-value]
        third = table.ids[2]
        app.rows[third] = {**app.rows[third], "method": "other"}
        table.put([dict(app.rows[i]) for i in table.near()])
        await pilot.pause()
        assert drawn == [3]
        assert "other" in app.lines()[3]

    run(made(50), look)


def test_a_refresh_without_news_draws_nothing() -> None:
    async def look(app: Tables, pilot: Pilot[Any]) -> None:
        table, drawn = app.table, list[object]()
        table.refresh_line = lambda y: drawn.append(y)  # type: ignore[method-assign]
        table.refresh = lambda *regions, **_: drawn.append(regions)  # type: ignore[method-assign,return-value,assignment]
        table.set_ids(list(table.ids), [dict(app.rows[i]) for i in table.near()])
        await pilot.pause()
        assert drawn == []

    run(made(50), look)


def test_the_mouse_moves_opens_and_sorts() -> None:
    async def look(app: Tables, pilot: Pilot[Any]) -> None:
        await pilot.click(VirtualTable, offset=(5, 4))
        assert app.table.cursor == 3
        await pilot.click(VirtualTable, offset=(5, 5), times=2)
        assert ("opened", app.table.ids[4]) in app.said
        await pilot.click(VirtualTable, offset=(3, 0))
        assert app.said[-1] == ("header", "id")
        start = app.lines()[0].index("accuracy")
        await pilot.click(VirtualTable, offset=(start, 0))
        assert app.said[-1] == ("header", "accuracy")
        await pilot._post_mouse_events([events.MouseScrollDown], VirtualTable, (5, 5))
        await pilot.pause()
        assert app.table.scroll_y > 0 and app.table.cursor == 4

    run(made(100), look)


def test_the_header_says_what_sorts() -> None:
    async def look(app: Tables, pilot: Pilot[Any]) -> None:
        for sort, told in (("accuracy", f"accuracy {glyphs.UP}"), ("-accuracy", f"accuracy {glyphs.DOWN}")):
            app.table.sort = sort
            await pilot.pause()
            assert told in app.lines()[0]

    run(made(3), look)


def test_wide_tables_scroll_sideways_and_keep_the_id() -> None:
    columns = [column(name) for name in ("id", "title", "reason", "created", "settings", "accuracy")]
    row = {"id": "f" * 16, "title": "a title", "reason": "why", "created": "2026-01-01T00:00", "accuracy": 99.125}

    async def go() -> None:
        app = Tables({"f" * 16: {**row, "settings": "x=1"}}, columns)
        async with app.run_test(size=(50, HEIGHT)) as pilot:
            app.table.set_ids(list(app.rows))
            await pilot.pause()
            await pilot.pause()
            assert "99.1" not in app.lines()[1]
            await pilot.press(*["right"] * 8)
            assert "ffffffff" in app.lines()[1] and "99.12" in app.lines()[1]
            assert "accuracy" in app.lines()[0]
            await pilot.press(*["left"] * 9)
            assert "a title" in app.lines()[1]

    asyncio.run(go())


@given(st.lists(st.sampled_from(NAMES), min_size=1, unique=True), st.integers(20, 220))
def test_widths_fill_the_room_and_cut_no_id_or_accuracy(names: list[str], room: int) -> None:
    columns = [column(name) for name in names]
    widths = fit(columns, room, 1)
    total = sum(widths) + len(widths) - 1
    by_name = dict(zip(names, widths, strict=True))
    assert by_name.get("id", 8) >= 8 and by_name.get("accuracy", 8) >= 8
    if any(each.grow for each in columns):
        assert total >= room
    least = sum(each.width if each.grow else max(1, cell_len(each.title)) for each in columns) + len(columns) - 1
    if total > room:
        assert total <= max(least, sum(each.width for each in columns) + len(columns) - 1)


@given(st.text(max_size=30), st.integers(1, 20), st.booleans(), st.booleans())
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_a_cell_is_exactly_as_wide_as_asked(text: str, width: int, right: bool, styled: bool) -> None:
    from datadream.text import shown

    safe = shown(text)
    found = cut(Text(safe, "bold") if styled else safe, width, right)
    plain = found.plain if isinstance(found, Text) else found
    assert cell_len(plain) == width
    if cell_len(safe) <= width:
        assert plain.strip() == safe.strip()


@pytest.mark.parametrize("state", ["done", "failed", "running"])
def test_a_state_is_told_by_glyph_and_word(state: str) -> None:
    said = column("state").show({"state": state, "reason": ""})
    assert isinstance(said, Text) and said.plain == glyphs.state_text(state).plain and state in said.plain
