"""The comparison as it stands, taken elsewhere: into files, into the clipboard, and as the equal command."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from datadream.home.quoting import bash_word
from tui.screens.compare import read
from tui.screens.compare.choose import Choosing

if TYPE_CHECKING:
    from datadream.report.pivot import Pivot
    from datadream.report.rows import Row
    from tui.services.data import Data


class Exporting(Choosing):
    """The keys E and y of the comparison."""

    def __init__(self) -> None:
        super().__init__()
        self._pivot: Pivot | None = None

    def _compare_line(self) -> str:
        """The command that shows this table."""
        table = self._pivot.table if self._pivot is not None else ()
        return compare_line(self._rows, self._columns, self._where, table)

    def _export_line(self, formats: Sequence[str]) -> str:
        names = {"tex": "latex"}
        line = self._compare_line()
        return "\n".join(f"{line} --format {names.get(name, name)} --output compare.{name}" for name in formats)

    def _whole(self, data: Data) -> Pivot:
        """The table with every verdict there may be, also of columns that weren't seen."""
        raise NotImplementedError

    def do_export(self) -> None:
        """Choose formats; the paths are told."""
        from datadream.report.exports import FORMATS
        from tui.screens.shared.modals import Choose

        def answered(chosen: str | list[str] | None) -> None:
            if isinstance(chosen, list) and chosen:
                command = self._export_line(chosen)
                self.ask(
                    "export",
                    lambda data: read.write_exports(data, self._whole(data), chosen),
                    lambda paths: self.desk.did(f"written: {', '.join(paths)}", command=command),
                )

        self.desk.push_screen(Choose("Export as", list(FORMATS.items()), many=True, chosen=["csv"]), answered)

    def do_copy(self) -> None:
        """The table as Markdown."""
        from datadream.report.exports import export

        self.ask("copy", lambda data: export(self._whole(data), "md").decode(), self.desk.copy)


def compare_line(rows: Sequence[str], columns: Sequence[str], where: str, table: Sequence[Row]) -> str:
    """`datadream compare` with these rows, columns and filter; `table` is what they leave."""
    line = f"datadream compare --pivot {'+'.join(rows)},{'+'.join(columns)}"
    if where:
        line += f" --where {bash_word(where)}"
    if table and table[0].split != "test" and not read.names_split(where):
        line += f" --split {table[0].split}"  # the command shows no other split unasked
    return line
