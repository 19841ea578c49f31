"""What the comparison is of: rows and columns, which are kept for the next time, and which runs count."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tui.base import HomeScreen

PREFS = "compare"


class Choosing(HomeScreen):
    """The keys r and / of the comparison."""

    def __init__(self) -> None:
        super().__init__()
        self._where = self._asked = ""  # the filter of what is shown, and the one being read
        self._rows: tuple[str, ...] = ()
        self._columns: tuple[str, ...] = ()

    def _read(self, where: str) -> None:
        """Read the runs that `where` leaves."""
        raise NotImplementedError

    def _turn(self) -> None:
        """Show what was read by the rows and columns chosen."""
        raise NotImplementedError

    def do_rows(self) -> None:
        """Choose rows, then columns."""
        from datadream.report.pivot import DIMENSIONS
        from tui.screens.shared.modals import Choose

        def rows(chosen: str | list[str] | None) -> None:
            if isinstance(chosen, list) and chosen:
                rest = [name for name in DIMENSIONS if name not in chosen]
                self.desk.push_screen(
                    Choose("Columns: one for each", [(name, name) for name in rest], many=True, chosen=self._columns),
                    lambda found: columns(chosen, found),
                )
            elif chosen is not None:
                self.desk.say("choose at least one", "warning")

        def columns(chosen: list[str], found: str | list[str] | None) -> None:
            if isinstance(found, list):
                self._rows, self._columns = tuple(chosen), tuple(found)
                self.desk.prefs.set(PREFS, {"rows": list(chosen), "columns": list(found)})
                self._turn()

        options = [(name, name) for name in DIMENSIONS]
        self.desk.push_screen(Choose("Rows: one for each", options, many=True, chosen=self._rows), rows)

    def do_filter(self) -> None:
        """Which runs count."""
        from store.where import parse_where
        from tui.screens.shared.modals import AskText

        def check(text: str) -> str:
            from datadream.errors import UserError

            try:
                parse_where(text)
            except UserError as error:
                return str(error)
            return ""

        def answered(text: str | None) -> None:
            if text is not None:
                self._read(text.strip())

        hint = "e.g. method=datadream-cls shots>=4 source=digits; empty: all runs"
        self.desk.push_screen(AskText("Filter runs", self._where, hint, check), answered)


def chosen_last(kept: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Rows and columns as chosen last; the usual ones when that can't be read."""
    from datadream.errors import UserError
    from datadream.report.pivot import COLUMNS, ROWS, parse_pivot

    try:
        return parse_pivot(f"{'+'.join(kept['rows'])},{'+'.join(kept['columns'])}")
    except (UserError, KeyError, TypeError):
        return ROWS, COLUMNS
