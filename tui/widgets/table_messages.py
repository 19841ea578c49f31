"""What a table tells the screen that owns it. Handlers are named `on_virtual_table_...`."""

from __future__ import annotations

from textual.message import Message
from textual.widget import Widget


class OfTable(Message, namespace="virtual_table"):
    """From a table."""

    def __init__(self, table: Widget) -> None:
        super().__init__()
        self.table = table

    @property
    def control(self) -> Widget:
        """Which table."""
        return self.table


class Wanted(OfTable, namespace="virtual_table"):
    """These rows will be seen soon; answer with `put`."""

    def __init__(self, table: Widget, ids: list[str]) -> None:
        super().__init__(table)
        self.ids = ids


class OfRow(OfTable, namespace="virtual_table"):
    """About a row; "" when there is none."""

    def __init__(self, table: Widget, row_id: str) -> None:
        super().__init__(table)
        self.row_id = row_id


class Moved(OfRow, namespace="virtual_table"):
    """The cursor is on another row."""


class Opened(OfRow, namespace="virtual_table"):
    """A row was clicked twice."""


class Marked(OfRow, namespace="virtual_table"):
    """The marks changed."""


class HeaderClicked(OfTable, namespace="virtual_table"):
    """The title of a column was clicked."""

    def __init__(self, table: Widget, name: str) -> None:
        super().__init__(table)
        self.name = name
