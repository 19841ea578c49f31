"""Why a job is in its state, as code asks for it. `Status.reason` tells people the same, and nobody reads it back.

A line of a job's history carries its cause; lines of versions that wrote none are read by how those began.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple


class Cause(StrEnum):
    """What a job waits for, or what is the matter with it; NONE where there is nothing to say."""

    NONE = ""
    HELD = "held"  # paused by somebody, or after a restart of the machine
    STOPPING = "stopping"  # its worker was asked to stop
    PAUSING = "pausing"  # its worker was asked to stop until it is resumed
    WAITS = "waits"  # for an input that is on its way
    STUCK = "stuck"  # for an input that failed, was cancelled or is gone: nothing comes unless somebody asks
    NO_DEVICE = "no-device"  # no slot fits the devices that it was asked for with
    QUEUE_PAUSED = "queue-paused"
    NO_ROOM = "no-room"  # on a disk that it needs
    NO_RUNNER = "no-runner"  # nothing starts at all: no slot, or the runner's own trouble
    SUBMITTED = "submitted"  # in a cluster's own queue
    STORAGE = "storage"  # a disk ended its last attempt
    AGAIN = "again"  # its last attempt ended without a result
    SILENT = "silent"  # it has promised a word that hasn't come
    FROZEN = "frozen"  # its worker is stopped by a signal


class Why(NamedTuple):
    """A cause, and what people are told. False where there is nothing to say."""

    reason: str = ""
    cause: Cause = Cause.NONE

    def __bool__(self) -> bool:
        return bool(self.reason)


CLEAR = Why()
PASSING = frozenset({Cause.QUEUE_PAUSED, Cause.NO_ROOM, Cause.NO_RUNNER})  # of all jobs at once: in no job's history

# How reasons of versions before causes begin; the first that fits holds.
OLD = {
    "paused": Cause.HELD,
    "stop requested": Cause.STOPPING,
    "pause requested": Cause.PAUSING,
    "waits for a device": Cause.NO_DEVICE,
    "the queue is paused": Cause.QUEUE_PAUSED,
    "waits for disk space": Cause.NO_ROOM,
    "nothing starts: ": Cause.NO_RUNNER,
    "waits in ": Cause.SUBMITTED,
    "waits for its ": Cause.WAITS,
    "its worker (pid": Cause.FROZEN,
    "no word where one was promised": Cause.SILENT,
    "starts again": Cause.AGAIN,
    "is submitted again": Cause.AGAIN,
}


def why_of(line: Mapping[str, Any]) -> Why:
    """What a line of a job's history says, whatever version wrote it."""
    reason = str(line.get("reason", ""))
    if "cause" in line:
        try:
            return Why(reason, Cause(line["cause"]))
        except ValueError:  # of a newer version
            return Why(reason)
    return Why(reason, next((cause for start, cause in OLD.items() if reason.startswith(start)), Cause.NONE))
