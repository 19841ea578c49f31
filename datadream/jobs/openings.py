"""Which slots are open to jobs that wait, by the settings they were asked for with, and which job has one next."""

from __future__ import annotations

from collections.abc import Mapping

from datadream.home import state
from datadream.home.causes import CLEAR, Cause
from datadream.home.layout import Home
from datadream.home.queue import QueueSettings
from datadream.home.state import Status
from datadream.home.variables import Asked
from datadream.jobs.board import Board
from datadream.jobs.devices import Devices
from datadream.jobs.pool import variables_for
from datadream.jobs.staff import Wanted


class Openings:
    """For the runner, which has it `look` in every tick. Costs grow with the kinds of settings, not with the jobs."""

    def __init__(self, home: Home, board: Board) -> None:
        self._home, self._board = home, board
        self._devices = Devices(home, leads=True)
        self._settings = QueueSettings()
        self._open: dict[Asked, dict[str, str | None]] = {}
        self._fits: dict[Asked, bool] = {}

    def look(self, settings: QueueSettings) -> None:
        """These are the queue's settings now."""
        self._settings, self._open = settings, {}

    @property
    def all(self) -> tuple[str, ...]:
        """Every slot somebody may have."""
        return self._devices.slots(self._settings)

    def slots(self) -> tuple[str, ...]:
        """Those that some job that waits may have; jobs for which there now are some, or none, are to be looked at."""
        fits = {asked: bool(self._open_to(asked)) for asked in self._board.asks}
        for asked, fit in fits.items():
            if fit != self._fits.get(asked, fit):
                self._board.mark_ready(asked)
        self._fits = fits
        return tuple(slot for slot in self.all if any(slot in self._open_to(asked) for asked in fits))

    def choose(self, slot: str, coming: Mapping[Asked, int]) -> Wanted | None:
        """As `staff.Choose`."""
        asks = [
            asked
            for asked in self._board.asks
            if slot in self._open_to(asked) and self._board.ready_with(asked) > coming.get(asked, 0)
        ]
        job_id = self._board.next(asks)
        seen = self._board.get(job_id) if job_id is not None else None
        if job_id is None or seen is None:
            return None
        asked = seen.status.asked
        return Wanted(job_id, asked, variables_for(self._home, job_id, self._open_to(asked)[slot]))

    def explain(self, status: Status) -> Status:
        """With the reason of a job that no slot is open to, and without it when one is."""
        if status.state != "queued" or status.paused or status.native or status.launcher != "local":
            return status
        if not self._open_to(status.asked):
            return state.because(status, self._devices.why_none(self._settings, status.asked))
        return state.because(status, CLEAR) if status.cause is Cause.NO_DEVICE else status

    def _open_to(self, asked: Asked) -> dict[str, str | None]:
        if asked not in self._open:
            self._open[asked] = self._devices.open_to(self._settings, asked)
        return self._open[asked]
