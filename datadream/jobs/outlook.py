"""Why nothing starts at all, whatever the job: the queue's settings, the disk, the runner's own trouble."""

from __future__ import annotations

import shutil

from datadream.jobs import queue, room, trouble
from datadream.jobs.home import Home, Kind
from datadream.models.presets import ModelRef

ROOM_BYTES = 24 << 20  # nothing starts with less free
QUEUE_PAUSED, NO_ROOM, NO_RUNNER = "the queue is paused", "waits for disk space", "nothing starts: "
PASSING = (QUEUE_PAUSED, NO_ROOM, NO_RUNNER)  # how such a reason begins; no job keeps it in its history


def held_up(home: Home, launcher: str = "local") -> str:
    """Why no job starts, or ""."""
    settings, wrong = queue.look(home)
    if wrong:
        return f"{NO_RUNNER}{wrong}"
    if settings.paused:
        return QUEUE_PAUSED
    if (free := shutil.disk_usage(home.path).free) < ROOM_BYTES:
        return f"{NO_ROOM}: {free >> 20} MiB are free"
    if launcher == "local" and not queue.slots(settings):
        return f"{NO_RUNNER}{queue.NO_SLOTS}"
    found = trouble.read(home)
    what = found.what or found.launchers.get(launcher, "")
    return f"{NO_RUNNER}{what}" if what else ""


def no_room(home: Home, kind: Kind, model: ModelRef | None) -> str:
    """Why a job that makes `kind` with `model` waits for disk space, "" when there is enough on every disk it needs."""
    free = room.least(home, kind, model)
    if free.size >= ROOM_BYTES:
        return ""
    at = "" if free.at == home.path else f" on the disk of {free.at}"
    return f"{NO_ROOM}: {free.size >> 20} MiB are free{at}"
