"""A job's events.jsonl: its one writer, and its records in words."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from datadream import durable, records
from datadream.home.lines import from_end

PROGRESS_SECONDS = 0.2  # progress closer together than this is dropped; metrics never are
SILENCE_SECONDS = 120.0  # a job promises a word within this, or longer when its words have come slower
FIRST_SILENCE_SECONDS = 900.0  # until the first step: models may load over a slow network
STEPS_MAX = 1 << 62  # what a database holds
NOT_METRICS = ("kind", "step", "seq", "at", "attempt", "seconds", "next")
# what a record of these kinds must hold, besides its kind
SHAPES: dict[str, records.Shape] = {
    "progress": {"done": float, "total": float, "unit": str},
    "metric": {"step": int},
    "done": {"seconds": float},
}


class Journal:
    """Writes a job's events, numbered on from what is there. Only the holder of the job's lease may have one.

    Each record: `seq` (1, 2, ... each once), `at` (UTC), `attempt`, `seconds` worked over all attempts, `next`
    (seconds within which another word is promised). A metric of a step that an earlier attempt told already is left
    out, so that a curve has each step once.
    """

    def __init__(self, path: Path, attempt: int) -> None:
        self._attempt = attempt
        self._seq, self._told, self._before, self.done = 0, -1, 0.0, False
        self._appender = durable.Appender(path)  # first: it ends a line that was torn
        self._go_on_from(path)
        self._began = self._last = time.monotonic()
        self._slowest = 0.0
        self._steps = False

    def _go_on_from(self, path: Path) -> None:
        """Number, seconds and last step of what is there, read from the end: the newest tells most of it."""
        first = True
        for line in from_end(path):
            if not first and b'"metric"' not in line and b'"done"' not in line:
                continue
            record = durable.parse_record(line)
            if record is None:
                continue
            seq, step, seconds = record.get("seq"), record.get("step"), record.get("seconds")
            self._seq = max(self._seq, seq) if isinstance(seq, int) else self._seq
            if record.get("kind") == "done":
                self.done = first
                break
            if first and isinstance(seconds, int | float):
                self._before = float(seconds)
            first = False
            if record.get("kind") == "metric" and isinstance(step, int):
                self._told = step
                break

    @property
    def seconds(self) -> float:
        """Worked so far, over all attempts since the last time it was done."""
        return round(self._before + time.monotonic() - self._began, 3)

    def emit(self, event: dict[str, Any]) -> None:
        """Write one record, unless it is nothing new."""
        kind, now = event.get("kind"), time.monotonic()
        if kind == "metric":
            if int(event["step"]) <= self._told:
                return
            self._told = int(event["step"])
        if kind == "progress":
            if self._steps and now - self._last < PROGRESS_SECONDS and event["done"] != event["total"]:
                return
            self._slowest, self._last, self._steps = max(self._slowest, now - self._last), now, True
        silence = max(SILENCE_SECONDS, 5 * self._slowest) if self._steps else FIRST_SILENCE_SECONDS
        self._seq += 1
        record = {"seq": self._seq, "at": datetime.now(UTC).isoformat(timespec="microseconds")}
        more = {"attempt": self._attempt, "seconds": self.seconds, "next": round(silence)}
        self._appender.append({**event, **record, **more})

    def close(self) -> None:
        """No more events."""
        self._appender.close()


def metrics(event: Mapping[str, Any]) -> tuple[int, dict[str, float]] | None:
    """The step of a metric event and its values by name; None for any other event, or a step that is none."""
    step = event.get("step")
    if event.get("kind") != "metric" or type(step) is not int or not 0 <= step < STEPS_MAX:
        return None
    return step, {
        name: float(value)
        for name, value in event.items()
        if name not in NOT_METRICS and isinstance(value, int | float) and not isinstance(value, bool)
    }


def is_event(record: Mapping[str, Any]) -> bool:
    """Whether a record has what its kind is shown by; anybody may have written into the file."""
    kind = record.get("kind")
    try:
        records.check(record, {"kind": str, **SHAPES.get(kind if isinstance(kind, str) else "", {})})
    except ValueError:
        return False
    return True


def in_words(event: dict[str, Any]) -> str:
    """A record as a line: when, what kind, and what it says."""
    head = f"{str(event.get('at', ''))[:19]} {event.get('kind')}"
    known = ("seq", "at", "attempt", "kind", "seconds", "next")
    return " ".join([head, *(f"{key}={value}" for key, value in event.items() if key not in known)])


def line_in_words(line: str) -> str:
    """A line of events.jsonl in words; as it is when it is no record."""
    event = durable.parse_record(line.encode("utf-8", "replace"))
    return line if event is None else in_words(event)
