"""A job is a folder: what each file in it is called, said once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SPEC, REQUEST, CONTROL = "spec.json", "request.json", "control.json"
RESULT, ERROR, ENVIRONMENT = "result.json", "error.json", "environment.json"
HISTORY, EVENTS, LOG = "history.jsonl", "events.jsonl", "log.txt"
ATTEMPTS, CHECKPOINT, LEASE, CONTROL_LOCK = "attempts", "checkpoint", "lease", "control.lock"
CANCEL, RESERVE = "cancel", ".reserve"
# what a person may look at
SHOWN = (SPEC, REQUEST, CONTROL, HISTORY, EVENTS, ERROR, RESULT, ENVIRONMENT, ATTEMPTS, LOG)


@dataclass(frozen=True)
class JobFiles:
    """The files of the job whose folder this is; there or not."""

    folder: Path

    @property
    def spec(self) -> Path:
        """What to do; its hash is the job's id."""
        return self.folder / SPEC

    @property
    def request(self) -> Path:
        """Who asked, how urgent, how often to try."""
        return self.folder / REQUEST

    @property
    def control(self) -> Path:
        """What was asked of it since: cancel, pause, priority, retry."""
        return self.folder / CONTROL

    @property
    def control_lock(self) -> Path:
        """Held by whoever asks something of it."""
        return self.folder / CONTROL_LOCK

    @property
    def attempts(self) -> Path:
        """A folder with a file for each start, claimed by exactly one runner."""
        return self.folder / ATTEMPTS

    def attempt(self, number: int) -> Path:
        """One of these."""
        return self.attempts / f"{number}.json"

    @property
    def history(self) -> Path:
        """Every change of state, with its reason and cause."""
        return self.folder / HISTORY

    @property
    def events(self) -> Path:
        """The worker's: progress, metrics, warnings."""
        return self.folder / EVENTS

    @property
    def lease(self) -> Path:
        """A lock while a worker has the job, and who that is."""
        return self.folder / LEASE

    @property
    def log(self) -> Path:
        """What it printed."""
        return self.folder / LOG

    @property
    def checkpoint(self) -> Path:
        """A folder with what it needs to go on."""
        return self.folder / CHECKPOINT

    @property
    def environment(self) -> Path:
        """What it ran on."""
        return self.folder / ENVIRONMENT

    @property
    def result(self) -> Path:
        """What it made."""
        return self.folder / RESULT

    @property
    def error(self) -> Path:
        """Why it failed."""
        return self.folder / ERROR

    @property
    def cancel(self) -> Path:
        """Empty: says to cancel where there is no room to write that."""
        return self.folder / CANCEL

    @property
    def reserve(self) -> Path:
        """Room that is held for what must be said on a full disk."""
        return self.folder / RESERVE
