"""`datadream-tui`: the comparison table of a home, refreshed from its folders.

A first screen, read only; launching and following jobs comes with the registry.
"""

from __future__ import annotations

import sys
from pathlib import Path

from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.widgets import DataTable, Footer, Header, Static

from datadream.errors import UserError
from datadream.jobs.home import Home, open_home
from datadream.report.collect import collect
from datadream.report.rows import Row, rows
from datadream.report.tables import HEADERS, cells, comparisons, notes


class ComparisonApp(App[None]):
    """Rows above, what a reader must know below."""

    TITLE = "DataDream"
    CSS_PATH = "main.tcss"
    BINDINGS = [Binding("r", "refresh", "Refresh"), Binding("q", "quit", "Quit")]  # noqa: RUF012 - as App has it

    def __init__(self, home: Home) -> None:
        super().__init__()
        self._home = home
        self.sub_title = str(home.path)

    def compose(self) -> ComposeResult:
        """One table, one line of notes."""
        yield Header()
        yield DataTable(cursor_type="row", zebra_stripes=True, id="rows")
        yield Static(id="notes", markup=False)
        yield Footer()

    def on_mount(self) -> None:
        """Columns, then the first look."""
        self.query_one(DataTable).add_columns(*HEADERS)
        self.action_refresh()

    def action_refresh(self) -> None:
        """Read the home in a thread; the screen only sees rows."""
        self.run_worker(self._read, thread=True, exclusive=True)

    def _read(self) -> None:
        try:
            runs = collect(self._home)
            table, text = rows(runs), [str(entry) for entry in comparisons(runs)]
        except UserError as error:
            table, text = [], [str(error)]
        self.call_from_thread(self._show, table, text)

    def _show(self, table: list[Row], text: list[str]) -> None:
        widget = self.query_one(DataTable)
        widget.clear()
        for line in cells(table):
            widget.add_row(*line)
        empty = ["Nothing to compare yet: run `datadream demo`, then press r."]
        self.query_one("#notes", Static).update("\n".join([*notes(table), *text] if table else text or empty))


def main() -> None:
    """Open the app on `--home DIR`, `DATADREAM_HOME` or the default home."""
    arguments = sys.argv[1:]
    if arguments and (arguments[0] in ("-h", "--help") or arguments[0] != "--home" or len(arguments) != 2):
        sys.stderr.write("usage: datadream-tui [--home DIR]\n")
        sys.exit(0 if arguments[0] in ("-h", "--help") else 2)
    try:
        home = open_home(Path(arguments[1]) if arguments else None)
    except UserError as error:
        sys.stderr.write(f"datadream-tui: {error}\n")
        sys.exit(2)
    ComparisonApp(home).run()


if __name__ == "__main__":
    main()
