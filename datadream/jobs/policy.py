"""What to do when a worker dies, and when one falls silent."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from datadream import locks
from datadream.home import identity, state
from datadream.home.causes import CLEAR, Cause, Why
from datadream.home.jobfiles import JobFiles
from datadream.home.layout import Home
from datadream.home.lease import read_note
from datadream.home.queue import QueueSettings
from datadream.home.state import State, Status
from datadream.text import counted

BACKOFF_MAX = 60.0
REFUSED = 15.0  # times longer: a cluster's controller that is restarted is away for a minute, not a second
OLD = timedelta(hours=1)  # after a reboot, a job silent for longer is held until somebody asks
LATE = 1.5  # a word is late after this many times what was promised


@dataclass(frozen=True)
class Verdict:
    """A line of the job's history to write; `delay` in seconds before another start, `hold` why it is paused."""

    state: State
    reason: str
    cause: Cause = Cause.NONE
    delay: float = 0.0
    hold: str = ""
    more: dict[str, Any] = field(default_factory=dict)


def backoff(settings: QueueSettings, times: int) -> float:
    """Seconds to wait after the `times`-th failure in a row; none after no failure."""
    return min(BACKOFF_MAX, settings.retry_seconds * 2.0 ** min(times - 1, 16)) if times > 0 else 0.0


def after_loss(home: Home, status: Status, settings: QueueSettings) -> list[Verdict]:
    """A worker is gone without a result: go on from the checkpoint, hold, or give up.

    An attempt that came further than all before it, was asked to stop or fell to a reboot doesn't count against
    `max_attempts`.
    """
    folder = home.job(status.id)
    retries = state.read_control(home, status.id).retries
    last = next(iter(state.last_events(folder)[-1:]), {})
    lines = state.history(folder)
    rebooted, stopped = _rebooted(folder, status), _was_stopped(last, lines, status)
    asked = str(last.get("reason") or "its worker was asked to stop")
    cause = "the machine rebooted" if rebooted else asked if stopped else status.reason
    excused = rebooted or stopped
    line = {"state": "lost", "done": status.done, "excused": excused, "retries": retries}
    strikes = _strikes([*lines, line], retries)
    lost = Verdict("lost", cause, more={"done": status.done, "excused": excused, "retries": retries})
    if rebooted and settings.reboot == "hold" and _is_old(last):
        return [lost, Verdict("queued", *state.held(HELD), hold=HELD, more={"retries": retries})]
    if strikes >= state.read_request(home, status.id).max_attempts:
        reason = (
            f"failed after {counted(status.attempts, 'attempt')}: {cause} (see `datadream job log {status.id[:8]}`)"
        )
        return [lost, Verdict("failed", reason, more={"retries": retries})]
    again = "restarts from its checkpoint" if status.done else "restarts"
    return [
        lost,
        Verdict("queued", f"{again}: {cause}", Cause.AGAIN, backoff(settings, strikes), more={"retries": retries}),
    ]


def after_refusal(home: Home, status: Status, settings: QueueSettings) -> list[Verdict]:
    """Its cluster didn't take it, for `status.reason`: submit it again later, or give up.

    Each time counts against `max_attempts` as a loss that brought nothing.
    """
    retries = state.read_control(home, status.id).retries
    more = {"done": 0, "excused": False, "retries": retries}
    strikes = _strikes([*state.history(home.job(status.id)), {"state": "lost", **more}], retries)
    lost = Verdict("lost", status.reason, more=more)
    if strikes >= state.read_request(home, status.id).max_attempts:
        return [lost, Verdict("failed", status.reason, more={"retries": retries})]
    again = f"resubmitting: {status.reason}"
    return [
        lost,
        Verdict("queued", again, Cause.AGAIN, REFUSED * backoff(settings, strikes), more={"retries": retries}),
    ]


def out_of_reach(status: Status, why: str) -> str:
    """What is said of a job whose worker was asked to stop, hasn't, and can't be ended by this runner."""
    asked = state.STOP_REQUESTED if status.state == "cancelling" else state.PAUSE_REQUESTED
    return f"{asked}; its worker ({why}) can't be signalled from here: it stops at its next step, or end it there"


HELD = "held after a reboot"


def _strikes(lines: list[dict[str, Any]], retries: int) -> int:
    """Losses in a row that brought nothing, since the last time somebody asked for a retry."""
    best = strikes = 0
    for line in lines:
        if line.get("state") != "lost" or line.get("excused") or int(line.get("retries", 0)) != retries:
            continue
        done = int(line.get("done", 0))
        best, strikes = (done, 0) if done > best else (best, strikes + 1)
    return strikes


def _was_stopped(last: dict[str, Any], lines: list[dict[str, Any]], status: Status) -> bool:
    """Whether the attempt was asked to stop: it said so, or was cancelled before somebody wanted the job again."""
    cancelled = any(
        line.get("state") in ("cancelling", "cancelled") and line.get("attempt") == status.attempts for line in lines
    )
    return cancelled or (last.get("kind") == "stopped" and last.get("attempt") == status.attempts)


def _rebooted(folder: Any, status: Status) -> bool:
    worker = identity.parse(state.read_attempt(folder, status.attempts).get("worker") or {})
    return worker is not None and worker.host == socket.gethostname() and worker.boot != identity.boot_id()


def _is_old(event: dict[str, Any]) -> bool:
    try:
        return datetime.now(UTC) - datetime.fromisoformat(str(event["at"])) > OLD
    except (KeyError, ValueError):
        return False


class Silence:
    """Tells hung from slow by the observer's own clock: a job promises with every word when the next will come."""

    def __init__(self) -> None:
        self._heard: dict[tuple[str, int], tuple[int, float, float]] = {}

    def judge(self, home: Home, status: Status) -> Why:
        """Why to worry about a running job; nothing when there is no reason."""
        folder, key, now = home.job(status.id), (status.id, status.attempts), time.monotonic()
        worker = identity.parse(read_note(JobFiles(folder).lease))
        if worker is not None and worker.host == socket.gethostname() and locks.is_stopped(worker.pid):
            said = f"its worker (pid {worker.pid}) is stopped: `kill -CONT {worker.pid}` resumes it"
            return Why(said, Cause.FROZEN)
        try:
            size = JobFiles(folder).events.stat().st_size
        except OSError:
            size = 0
        before = self._heard.get(key)
        if before is None or before[0] != size:
            event: dict[str, Any] = next(iter(state.last_events(folder, 4096)[-1:]), {})
            promised = event.get("next")
            before = (size, now, float(promised) if isinstance(promised, int | float) else 900.0)
            self._heard[key] = before
        _, since, promise = before
        if now - since > LATE * promise:
            said = f"no event within the promised {promise / 60:.0f} min: it may hang, see its log"
            return Why(said, Cause.SILENT)
        return CLEAR
