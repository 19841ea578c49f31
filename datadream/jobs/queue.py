"""The queue's settings, and the device slots a home hands out."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from datadream import durable
from datadream.errors import UserError
from datadream.jobs import mounts
from datadream.jobs.home import Home
from datadream.jobs.lease import lock
from datadream.jobs.state import load_model, read_model
from datadream.records import Unreadable

NVIDIA = Path("/proc/driver/nvidia/gpus")
Slot = Annotated[str, Field(pattern=r"^(cpu|cuda:\d{1,4}|cpu:\d{1,4})(/\d{1,4})?$")]


class QueueSettings(BaseModel):
    """`queue.json`. Slots are devices, `cuda:0`, or parts of one, `cuda:0/0` and `cuda:0/1`; none: one a GPU."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    slots: tuple[Slot, ...] = ()
    paused: bool = False
    reboot: Literal["hold", "resume"] = "hold"
    grace_seconds: float = Field(30.0, ge=0)
    retry_seconds: float = Field(2.0, ge=0)


def read_settings(home: Home) -> QueueSettings:
    """A home's settings; the defaults when there are none."""
    return read_model(home.queue_settings, QueueSettings)


def change_settings(home: Home, changes: Mapping[str, Any]) -> QueueSettings:
    """Change some of the settings, as they are at this moment; all of them then.

    Raises pydantic's ValidationError for a value that is none, and UserError as `settings_to_change`.
    """
    with lock(home.path / ".queue.lease"):
        settings = QueueSettings(**{**settings_to_change(home).model_dump(), **changes})
        write_settings(home, settings)
    return settings


def settings_to_change(home: Home) -> QueueSettings:
    """As `read_settings`. Raises UserError when they can't be read: what they say would be lost by a change."""
    try:
        return load_model(home.queue_settings, QueueSettings)
    except Unreadable as error:
        what = f"the queue's settings can't be read: the file {error.reason}"
        hint = "remove that file, whose defaults are used already, then set what you want"
        raise UserError(what, at=error.path, hint=hint) from error


def write_settings(home: Home, settings: QueueSettings) -> None:
    """Keep `settings`, whatever there was, and wake whoever watches the queue; to change one, `change_settings`."""
    durable.write_json(home.queue_settings, settings.model_dump(mode="json"))
    durable.touch_dir(durable.make_dir(home.queue))


def slots(settings: QueueSettings) -> tuple[str, ...]:
    """The slots jobs may have: as set, else one for each NVIDIA GPU that CUDA_VISIBLE_DEVICES leaves, else the CPU."""
    if settings.slots:
        return settings.slots
    try:
        count = len(list(NVIDIA.iterdir()))
    except OSError:
        count = 0
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        count = min(count, len([part for part in visible.split(",") if part.strip() not in ("", "-1")]))
    return tuple(f"cuda:{i}" for i in range(count)) or ("cpu:0",)


def device_of(settings: QueueSettings, slot: str) -> str | None:
    """The device of a slot, as torch writes it; None leaves the choice to torch, where no GPU was found or named."""
    device = slot.split("/")[0]
    if device.startswith("cpu"):
        return "cpu" if settings.slots else None
    return device


def take_slot(home: Home, slot: str) -> int | None:
    """A descriptor that holds the slot, None when it is taken.

    It is a flock, so a worker that inherits it holds the slot, and so does any child of it that lives on (flock(2)).
    Where there is no flock, whoever has the file open holds it: a slot is a device of this host, whose processes tell.
    """
    path = home.slot(slot)
    durable.make_dir(path.parent)
    fd = durable.open_file(path, os.O_RDWR)
    try:
        if not mounts.features(path).flock:
            raise OSError(errno.ENOTSUP, "no flock")
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return fd
    except BlockingIOError:
        pass
    except OSError as error:
        if error.errno in durable.MISSING and not _is_open_elsewhere(path):
            return fd
    os.close(fd)
    return None


def _is_open_elsewhere(path: Path) -> bool:
    """Whether another process of this host has the file open, as far as we may look."""
    found = os.path.realpath(path)
    for process in Path("/proc").iterdir():
        if process.name.isdecimal() and int(process.name) != os.getpid():
            with suppress(OSError):
                for fd in (process / "fd").iterdir():
                    with suppress(OSError):
                        if str(fd.readlink()) == found:
                            return True
    return False


def is_taken(home: Home, slot: str) -> bool:
    """Whether anybody holds the slot."""
    fd = take_slot(home, slot)
    if fd is None:
        return True
    os.close(fd)
    return False
