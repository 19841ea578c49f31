"""What a cell of the comparison lacks, and more seeds of it: found out, asked, queued, undone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tui.base import HomeScreen
from tui.screens.compare import read
from tui.screens.job.actions import unqueue

if TYPE_CHECKING:
    from datadream.plans.request import Request
    from datadream.report.pivot import Cell, Pivot
    from tui.services.data import Data

NOTHING_RUN = "no runs here; m queues them"


class Queueing(HomeScreen):
    """The keys m and a of the comparison, and what is known of the cell under the cursor."""

    def __init__(self) -> None:
        super().__init__()
        self._cell: read.CellFacts | None = None  # None while it is being read
        self._cell_of: tuple[int, int] = (-1, -1)

    def _read_cell(self, pivot: Pivot, at: tuple[int, int]) -> None:
        """Find out what the keys of that cell would do, unless that is known."""
        if at == self._cell_of:
            return
        self._cell_of, self._cell = at, None

        def answer(facts: read.CellFacts) -> None:
            if at == self._cell_of:
                self._cell = facts

        self.ask("cell", lambda data: read.read_cell(data, pivot, *at), answer)

    def _why_not_cell(self, action: str, cell: Cell) -> str:
        if action == "missing" and not cell.lacks:
            return "no missing seeds in this cell; a queues more seeds"
        if action == "seeds" and cell.row is None:
            return NOTHING_RUN
        if self._cell is None:
            return "the cell is still loading"
        if action == "images":
            return "" if self._cell.synth else "no synthetic images in this cell"
        return self._cell.why_missing if action == "missing" else self._cell.why_more

    def _queue_line(self, action: str) -> str:
        """The equal `datadream run`."""
        if self._cell is None:
            return ""
        request = self._cell.missing if action == "missing" else self._cell.more
        return read.line(request) if request is not None else ""

    def do_missing(self) -> None:
        """Queue what the cell lacks."""
        assert self._cell is not None and self._cell.missing is not None
        self._offer(self._cell.missing, self._cell.record)

    def do_seeds(self) -> None:
        """Queue two more seeds."""
        assert self._cell is not None and self._cell.more is not None
        self._offer(self._cell.more, self._cell.record)

    def _offer(self, request: Request, record: Mapping[str, Any] | None) -> None:
        """The question at once; what it would take, once that is known."""
        from datadream.text import shown_lines
        from tui.screens.shared.modals import Confirm

        offers: list[read.Offer] = []
        jobs: list[str] = []

        def fill(offer: read.Offer) -> None:
            offers.append(offer)
            dialog.fill(offer.question, shown_lines(offer.about))

        def deed(data: Data) -> list[str]:
            queued, told = read.queue(data, offers[0].plan)
            jobs.extend(queued)
            return told

        def tell(lines: list[str]) -> None:
            for line in lines:
                self.desk.say(line, "warning")

        def answered(yes: bool | None) -> None:
            if yes:
                done, command = offers[0].done, offers[0].command
                self.act(done, deed, tell, undo=lambda data: unqueue(data.home, jobs), command=command)

        dialog = Confirm("Queue these runs?", yes="Queue", reading=True)
        self.desk.push_screen(dialog, answered)
        self.ask("offer", lambda data: read.offer(data, request, record), fill, failed=dialog.refuse)
