"""The filter of a list: the box, what its draft would give, and the ids and rows of what is applied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Input

from datadream.errors import UserError
from tui.widgets.table_columns import Row

if TYPE_CHECKING:
    from tui.services.data import Data

FIRST = 150  # rows that come along with the ids


class FilterBox(Input):
    """A line in the command line's syntax. Escape leaves what is applied as it is."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Back", show=False)]

    class Left(Message):
        """The draft is not wanted."""

    def action_leave(self) -> None:
        """Say so."""
        self.post_message(self.Left())


@dataclass(frozen=True)
class Found:
    """All ids in order, some of their rows, how many there are without a filter, and marked ids that are gone."""

    ids: list[str]
    rows: list[Row]
    total: int
    gone: frozenset[str]


def read(data: Data, noun: str, where: str, sort: str, near: Sequence[str], marks: Sequence[str]) -> Found | str:
    """What there is, with the rows `near` what is seen; a sentence when the filter or order can't be."""
    from store import queries
    from store.where import parse_where

    registry = data.registry()
    try:
        conditions = parse_where(where)
        ids = queries.keys(registry, noun, conditions, sort)
    except UserError as error:
        if where:
            return sentence(error)
        raise
    rows: list[Row] = list(queries.rows_of(registry, noun, list(near) or ids[:FIRST]))
    total = queries.count(registry, noun) if conditions else len(ids)
    lost = [mark for mark in marks if mark not in {str(row["id"]) for row in rows}]
    gone = set(lost) - {str(row["id"]) for row in queries.rows_of(registry, noun, lost)} if lost else set()
    return Found(ids, rows, total, frozenset(gone))


def draft(data: Data, noun: str, text: str) -> tuple[str, bool]:
    """How many rows the filter would leave, or what is wrong with it (and True)."""
    from store import queries
    from store.where import parse_where

    try:
        count = queries.count(data.registry(), noun, parse_where(text))
    except UserError as error:
        return sentence(error), True
    return f"{count:,} match; enter applies, escape cancels", False


def sentence(error: UserError) -> str:
    """A UserError about a filter, without the command line's option."""
    return str(error).removeprefix("--where ")
