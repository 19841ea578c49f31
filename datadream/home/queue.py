"""The queue's settings, and the device slots a home hands out."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from datadream import durable, records
from datadream.errors import UserError
from datadream.home import mounts
from datadream.home.layout import Home
from datadream.home.lease import lock
from datadream.locks import openers
from datadream.models.gpus import DRIVER, Gpu, own_visible, read_gpus
from datadream.records import Unreadable

NO_SLOTS = "no slots: set some with `datadream queue set --slots cuda:0` or `--slots cpu:0`"
NVIDIA = DRIVER
Slot = Annotated[str, Field(pattern=r"^(cpu|cuda:\d{1,4}|cpu:\d{1,4})(/\d{1,4})?$")]


class QueueSettings(BaseModel):
    """`queue.json`. Slots are devices, `cuda:0`, or parts of one, `cuda:0/0` and `cuda:0/1`; none: one a GPU."""

    model_config = ConfigDict(frozen=True, extra="ignore")
    slots: tuple[Slot, ...] = ()
    paused: bool = False
    reboot: Literal["hold", "resume"] = "hold"
    grace_seconds: float = Field(default=30.0, ge=0)
    retry_seconds: float = Field(default=2.0, ge=0)


def look(home: Home) -> tuple[QueueSettings, str]:
    """A home's settings, the defaults when there are none, and what is wrong with their file if nothing may start."""
    try:
        text = durable.read_bytes(home.queue_settings, durable.RECORD_BYTES)
        return QueueSettings.model_validate_json(text), ""
    except FileNotFoundError:
        return QueueSettings(), ""
    except ValidationError as error:
        what = in_words(error)
    except OSError as error:
        if error.errno in durable.NO_RESOURCES:
            raise
        what = error.strerror or "can't be read"
    except ValueError as error:
        what = str(error)
    again = "fix it, or rewrite it with `datadream queue set --slots auto`"
    return QueueSettings(paused=True), f"{home.queue_settings} can't be used ({what}): {again}"


def read_settings(home: Home) -> QueueSettings:
    """A home's settings; the defaults when there are none, and paused when their file can't be used."""
    return look(home)[0]


def write_settings(home: Home, settings: QueueSettings) -> None:
    """Keep `settings`, whatever there was, and wake whoever watches the queue; to change one, `change`."""
    durable.write_json(home.queue_settings, settings.model_dump(mode="json"))
    durable.touch_dir(durable.make_dir(home.queue))


def change(home: Home, **changes: Any) -> QueueSettings:
    """Change some of the settings, with nobody else doing so meanwhile; what they are now.

    A file that can't be used is kept beside, and the others begin as the defaults. Raises UserError for a value that
    can't be one, and for a file that is there and can't be opened.
    """
    with lock(home.path / ".queue.lease"):
        old, wrong = look(home)
        if wrong:
            _may_go(home.queue_settings)
            durable.replace_file(home.queue_settings, durable.previous(home.queue_settings))
            old = QueueSettings()
        try:
            settings = QueueSettings(**{**old.model_dump(), **changes})
        except ValidationError as error:
            raise UserError(in_words(error), hint="see `datadream queue set --help`") from error
        write_settings(home, settings)
    return settings


def _may_go(path: Path) -> None:
    """Raise UserError for a file that only can't be opened, or is none: it may be in order."""
    try:
        records.read_bytes(path, durable.RECORD_BYTES)
    except Unreadable as error:
        if isinstance(error.__cause__, OSError):
            what = f"the queue's settings can't be read: the file {error.reason}"
            raise UserError(what, at=path, hint="check its permissions") from error


def in_words(error: ValidationError) -> str:
    """The first thing that is wrong with settings."""
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    if first["type"] == "string_pattern_mismatch":
        return f"{where}: {str(first['input'])[:40]!r} is not a slot; e.g. cpu:0, cuda:0 or cuda:0/1"
    return f"{where}: {first['msg']}" if where else str(first["msg"])


def slots(settings: QueueSettings) -> tuple[str, ...]:
    """The slots for jobs asked for here: as set, else one for each GPU that CUDA has here, else the CPU.

    They are called as CUDA calls those GPUs here; see `devices` for jobs that are asked for elsewhere.
    """
    return settings.slots or tuple(f"cuda:{i}" for i in range(len(own_visible(machine())))) or ("cpu:0",)


def machine() -> tuple[Gpu, ...]:
    """The NVIDIA GPUs of this machine; () where the driver lists none."""
    return read_gpus(NVIDIA)


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
        if error.errno in durable.MISSING and not openers(path):
            return fd
    os.close(fd)
    return None


def is_taken(home: Home, slot: str) -> bool:
    """Whether anybody holds the slot."""
    fd = take_slot(home, slot)
    if fd is None:
        return True
    os.close(fd)
    return False
