"""What every list of the registry has in common: filter, order, columns, marks, labels, and a pane with the details.

A list names its noun and says what its details are:

    class SetsScreen(ListScreen):
        KEY, CRUMB, NOUN, CLI = "sets", "Few-shot sets", "set", "set"
        SHOWN = ("id", "name", "shots")
        EMPTY = "no sets yet: N draws one"
        BINDINGS = bindings("sets")

        def detail(self, data: Data, row: Row) -> RenderableType: ...   # in a pool thread
        def open_row(self, row_id: str) -> None: ...
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from rich.console import RenderableType
from rich.text import Text
from textual.app import ComposeResult
from textual.containers import Container, Vertical, VerticalScroll
from textual.timer import Timer
from textual.widgets import Input, Static

from datadream.home.quoting import bash_word
from datadream.text import shown, shown_lines
from store.where import EXAMPLES
from tui.base import HomeScreen, Still
from tui.drawing import glyphs
from tui.screens.lists.filter import FilterBox, Found, draft, read
from tui.screens.lists.labels import Labelling
from tui.widgets.lines import Lines
from tui.widgets.table import VirtualTable
from tui.widgets.table_columns import DESCENDING, Column, Row, column
from tui.widgets.visible import Visible

if TYPE_CHECKING:
    from tui.services.data import Data

SYNC_SECONDS = 1.0  # before something is done to rows
DETAIL_SECONDS = 0.06  # a cursor that runs along asks for no details
OF_ROWS = ("open", "mark", "tag", "note", "lineage")
OF_MARKS = ("tag", "note", "cancel", "retry", "pause", "raise", "lower", "remove")  # the rest means one row


class ListScreen(Labelling, HomeScreen):
    """Rows of `NOUN`, as many as there are. `SORT` is the order nobody chose; "" is newest first."""

    NOUN: ClassVar[str] = ""
    CLI: ClassVar[str] = ""  # `datadream CLI ls`
    SHOWN: ClassVar[tuple[str, ...]] = ("id",)
    SORT: ClassVar[str] = ""
    NEWEST: ClassVar[str] = "created"
    EMPTY: ClassVar[str] = "nothing here yet"
    AUTO_FOCUS = "#table"

    def __init__(self) -> None:
        super().__init__()
        self.sort, self.where = self.SORT, ""
        self.total = 0
        self.pane_width = 0  # cells the details have
        self._asked: tuple[str, str, bool, bool] | None = (
            None  # filter, order, to the top, close the box: not there yet
        )
        self._seen, self._said = False, ""
        self._timer: Timer | None = None

    # For subclasses

    def detail(self, data: Data, row: Row) -> RenderableType:
        """What the pane says of a row; called in a pool thread."""
        del data
        return Text("\n".join(f"{name:<20} {self.make_column(name).show(row)}" for name in row))

    def dress(self, data: Data, rows: list[Row]) -> list[Row]:
        """Rows with what the registry doesn't say of them; called in a pool thread."""
        del data
        return rows

    def open_row(self, row_id: str) -> None:
        """Enter, or a double click."""

    def make_column(self, name: str) -> Column:
        """A column by its name; override it for cells of your own."""
        return column(name)

    # What is meant

    @property
    def table(self) -> VirtualTable:
        """The rows."""
        return self.query_one("#table", VirtualTable)

    def ids(self) -> list[str]:
        """The marked rows that the filter leaves, else the one under the cursor."""
        if not self.is_mounted:
            return []
        table = self.table
        return table.seen_marks or [row_id for row_id in [table.cursor_id] if row_id]

    def meant(self, action: str) -> int:
        """How many marked rows: those a filter hides are never meant."""
        return len(self.table.seen_marks) if action in OF_MARKS and self.is_mounted else 0

    def hidden(self) -> int:
        """How many marked rows the filter hides."""
        return len(self.table.marks) - len(self.table.seen_marks) if self.is_mounted else 0

    def still_there(self, ids: Sequence[str]) -> Still:
        """Those of `ids` that the list would show now, as it is filtered: what left it since is left alone."""
        noun, where = self.NOUN, self.where

        def still(data: Data) -> list[str]:
            from store import queries
            from store.where import parse_where

            data.sync(SYNC_SECONDS)
            there = set(queries.keys(data.registry(), noun, parse_where(where)))
            return [row_id for row_id in ids if row_id in there]

        return still

    def rows(self) -> list[Row]:
        """What is loaded of those."""
        found = [self.table.row(row_id) for row_id in self.ids()]
        return [row for row in found if row is not None]

    def why_not(self, action: str) -> str:
        """What needs a row says so."""
        if action in OF_ROWS and not self.ids():
            return f"no matching {self.NOUN}" if self.where else self.EMPTY
        return super().why_not(action)

    def command(self, action: str) -> str:
        """`datadream ... ls` as it stands here, or `show` for what is open."""
        if action in ("filter", "sort", "reverse", "columns"):
            parts = ["datadream", self.CLI, "ls"]
            parts += ["--where", bash_word(self.where)] if self.where else []
            parts += ["--sort", self.sort] if self.sort != self.SORT else []
            parts += ["--columns", ",".join(self.columns())] if action == "columns" else []
            return " ".join(parts)
        if action == "open" and self.ids():
            return f"datadream {self.CLI} show {self.table.cursor_id}"
        return self.label_command(action) or super().command(action)

    # What there is

    def body(self) -> ComposeResult:
        """Filter, rows, details, and a line that says what is seen."""
        with Vertical(id="filtering"):
            yield FilterBox(placeholder=EXAMPLES[self.NOUN], id="filter", select_on_focus=False, highlighter=Visible())
            yield Static(id="filter-note", markup=False)
        with Container(id="listing"):
            with Vertical(id="rows"):
                yield VirtualTable([self.make_column(name) for name in self.columns()], id="table")
                yield Static(id="empty", markup=False)
            with VerticalScroll(id="detail", classes="pane"):
                yield Static(id="detail-text", markup=False)
        yield Lines(id="status")

    def columns(self) -> list[str]:
        """Those shown: chosen before, else the usual ones."""
        kept: list[object] = self.desk.prefs.get(f"columns.{self.KEY}", list(self.SHOWN))
        chosen = [name for name in kept if isinstance(name, str)]
        return ["id", *(name for name in chosen if name != "id")] if "id" not in chosen else list(chosen)

    def refresh_data(self) -> None:
        """Read the ids anew, and what is seen; another filter or order that was asked for isn't forgotten over that."""
        where, sort, to_top, apply = self._asked or (self.where, self.sort, False, False)
        self._read(where, sort, to_top=to_top, apply=apply)

    def peel(self) -> bool:
        """Escape: close the filter box, else drop the filter."""
        if self.query_one("#filtering").display:
            self._close_filter()
        elif self.where:
            self._read("", self._order)
        else:
            return False
        return True

    def _read(self, where: str, sort: str, *, to_top: bool = False, apply: bool = False) -> None:
        self._asked = (where, sort, to_top, apply)
        near = [] if to_top else self.table.near()
        marks, noun = self.table.marks, self.NOUN

        def answer(found: Found | str) -> None:
            self._asked = None
            if isinstance(found, str):
                self._note(found, wrong=True)
                return
            self.where, self.sort, self.total = where, sort, found.total
            self._seen = True
            table = self.table
            if found.gone:
                table.set_marks([mark for mark in table.marks if mark not in found.gone])
            with self.app.batch_update():
                table.sort = sort or f"-{self.NEWEST}"
                table.set_ids(found.ids, found.rows, to_top=to_top)
                if apply:
                    self._close_filter()
                self._show_empty()
            self._say()
            self.refresh_bindings()  # the line of keys says how many marked rows there are
            self._detail_soon()

        def question(data: Data) -> Found | str:
            found = read(data, noun, where, sort, near, marks)
            return found if isinstance(found, str) else replace(found, rows=self.dress(data, found.rows))

        self.ask("keys", question, answer)

    def _show_empty(self) -> None:
        none = not self.table.ids
        self.query_one("#empty").display = none
        if none:
            where = f"no {self.NOUN} matches {self.where}\nescape clears the filter, / changes it" if self.where else ""
            self.query_one("#empty", Static).update(Text(shown_lines(where) if where else self.EMPTY))

    # The filter: a draft until enter

    def do_filter(self) -> None:
        """Open the box with what is applied."""
        box = self.query_one("#filter", FilterBox)
        box.value = self.where
        box.cursor_position = len(box.value)
        self.query_one("#filtering").display = True
        self._note("")
        box.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Say how many rows the draft would leave, or what is wrong with it."""
        if event.input.id == "filter" and self.query_one("#filtering").display:
            noun, text = self.NOUN, event.value
            self.ask("draft", lambda data: draft(data, noun, text), lambda told: self._note(told[0], wrong=told[1]))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Apply the draft, if it can be."""
        if event.input.id == "filter":
            event.stop()
            self._read(event.value.strip(), self._order, apply=True)

    def on_filter_box_left(self) -> None:
        """Escape in the box: as it was."""
        self._close_filter()

    def _close_filter(self) -> None:
        self.query_one("#filtering").display = False
        self.table.focus()

    def _note(self, text: str, wrong: bool = False) -> None:
        note = self.query_one("#filter-note", Static)
        said = ("! " if wrong else "") + (shown(text) or "enter applies, escape cancels")
        note.update(Text(said), layout=False)
        note.set_class(wrong, "-wrong")

    # Order and columns

    def do_sort(self) -> None:
        """By the next column."""
        names = [self.SORT.removeprefix("-"), *(name for name in self.columns() if name != "tags")]
        names = list(dict.fromkeys(names))
        now = self._order.removeprefix("-")
        name = names[(names.index(now) + 1) % len(names)] if now in names else names[0]
        self._read(self.where, self._first_way(name), to_top=True)

    def do_reverse(self) -> None:
        """The other way round."""
        now = self._order or f"-{self.NEWEST}"
        self._read(self.where, now[1:] if now.startswith("-") else f"-{now}", to_top=True)

    def on_virtual_table_header_clicked(self, message: VirtualTable.HeaderClicked) -> None:
        """By that column; by it the other way when it is already."""
        if message.name == (self.sort.removeprefix("-") or self.NEWEST):
            self.do_reverse()
        elif message.name != "tags":
            self._read(self.where, self._first_way(message.name), to_top=True)

    @property
    def _order(self) -> str:
        """The one that is asked for, else the one that is there."""
        return self._asked[1] if self._asked else self.sort

    def _first_way(self, name: str) -> str:
        return f"-{name}" if name in DESCENDING and name != self.SORT else name

    def do_columns(self) -> None:
        """Choose them; the choice is kept. Those shown come first, and at once."""
        from tui.screens.shared.modals import Choose

        noun, now = self.NOUN, self.columns()

        def known(data: Data) -> list[tuple[str, str]]:
            from store import nouns

            del data
            return [(name, name) for name in dict.fromkeys([*now, *nouns.columns(noun)])]

        def answered(chosen: str | list[str] | None) -> None:
            if isinstance(chosen, list) and chosen:
                self.desk.prefs.set(f"columns.{self.KEY}", chosen)
                self.table.set_columns([self.make_column(name) for name in self.columns()])

        choose = Choose("Columns", [(name, name) for name in now], many=True, chosen=now)
        self.desk.push_screen(choose, answered)
        self.ask("columns", known, choose.fill)

    # Rows

    def do_open(self) -> None:
        """What the cursor is on."""
        self.open_row(self.table.cursor_id)

    def do_mark(self) -> None:
        """Or unmark."""
        self.table.toggle_mark()

    def do_unmark(self) -> None:
        """All of them."""
        self.table.set_marks(())

    def on_virtual_table_opened(self, message: VirtualTable.Opened) -> None:
        """By mouse."""
        self.action_do("open") if message.row_id else None

    def on_virtual_table_wanted(self, message: VirtualTable.Wanted) -> None:
        """Rows that will be seen."""
        noun, ids = self.NOUN, message.ids

        def rows(data: Data) -> list[Row]:
            from store import queries

            return self.dress(data, list(queries.rows_of(data.registry(), noun, ids)))

        self.ask("rows", rows, self.table.put)

    def on_virtual_table_marked(self) -> None:
        """Count them."""
        self._say()
        self.refresh_bindings()

    def on_virtual_table_moved(self) -> None:
        """Say where, and soon what it is."""
        self._say()
        self._detail_soon()

    def on_resize(self) -> None:
        """The pane may be there now."""
        self._detail_soon()

    def _detail_soon(self) -> None:
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(DETAIL_SECONDS, self._ask_detail)

    def _ask_detail(self) -> None:
        pane, noun, row_id = self.query_one("#detail"), self.NOUN, self.table.cursor_id
        if not pane.display:
            return
        self.pane_width = pane.content_size.width

        def told(data: Data) -> RenderableType:
            from store import queries

            rows = self.dress(data, list(queries.rows_of(data.registry(), noun, [row_id]))) if row_id else []
            return self.detail(data, rows[0]) if rows else ""

        def answer(said: RenderableType) -> None:
            if row_id == self.table.cursor_id:
                self.query_one("#detail-text", Static).update(said)
                pane.border_title = row_id[:8]

        self.ask("detail", told, answer)

    def _say(self) -> None:
        """Where the cursor is, of how many; marks, order, filter."""
        table = self.table
        if not self._seen:
            return
        at = table.cursor + 1 if table.ids else 0
        parts = [f"{at:,} of {len(table.ids):,}" + f" (of {self.total:,} without the filter)" * bool(self.where)]
        marked, hidden = len(table.seen_marks), self.hidden()
        parts += [f"{marked:,} marked" + f", {hidden:,} more hidden" * bool(hidden)] if marked or hidden else []
        sort = self.sort or f"-{self.NEWEST}"
        parts.append(f"sorted by {sort.removeprefix('-')} {glyphs.DOWN if sort.startswith('-') else glyphs.UP}")
        parts += [f"filter: {shown(self.where)}"] if self.where else []
        line = f" {glyphs.DOT} ".join(parts)
        if line != self._said:
            self._said = line
            self.query_one("#status", Lines).update(Text(line), layout=False)
