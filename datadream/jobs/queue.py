"""The queue's settings, and the device slots a home hands out."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from datadream import durable
from datadream.jobs.home import Home
from datadream.jobs.state import read_model
from datadream.models.gpus import DRIVER, Gpu, own_visible, read_gpus

NVIDIA = DRIVER
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


def write_settings(home: Home, settings: QueueSettings) -> None:
    """Keep `settings` and wake whoever watches the queue."""
    durable.write_json(home.queue_settings, settings.model_dump(mode="json"))
    durable.touch_dir(durable.make_dir(home.queue))


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
    """
    path = home.slot(slot)
    durable.make_dir(path.parent)
    fd = durable.open_file(path, os.O_RDWR)
    with suppress(BlockingIOError):
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
