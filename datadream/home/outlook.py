"""Why nothing starts at all, whatever the job: the queue's settings, the disk, the runner's own trouble."""

from __future__ import annotations

import shutil

from datadream.home import queue, room, trouble
from datadream.home.causes import CLEAR, Cause, Why
from datadream.home.layout import Home
from datadream.models.presets import ModelRef
from datadream.stages.table import Kind

ROOM_BYTES = 24 << 20  # nothing starts with less free


def held_up(home: Home, launcher: str = "local") -> Why:
    """Why no job starts; nothing when some can."""
    settings, wrong = queue.look(home)
    if wrong:
        return _nothing_starts(wrong)
    if settings.paused:
        return Why("the queue is paused", Cause.QUEUE_PAUSED)
    if (free := shutil.disk_usage(home.path).free) < ROOM_BYTES:
        return _waits_for_room(free)
    if launcher == "local" and not queue.slots(settings):
        return _nothing_starts(queue.NO_SLOTS)
    found = trouble.read(home)
    what = found.what or found.launchers.get(launcher, "")
    return _nothing_starts(what) if what else CLEAR


def no_room(home: Home, kind: Kind, model: ModelRef | None) -> Why:
    """Why a job that makes `kind` with `model` waits for disk space; nothing with enough on every disk it needs."""
    free = room.least(home, kind, model)
    if free.size >= ROOM_BYTES:
        return CLEAR
    at = "" if free.at == home.path else f" on the disk of {free.at}"
    return _waits_for_room(free.size, at)


def _nothing_starts(what: str) -> Why:
    return Why(f"no job can start: {what}", Cause.NO_RUNNER)


def _waits_for_room(size: int, at: str = "") -> Why:
    return Why(f"waiting for disk space: {size >> 20} MiB free{at}", Cause.NO_ROOM)
