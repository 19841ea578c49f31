"""Which slots a job may have, by the settings it was asked for with, and what its worker calls the device.

A slot's name must mean the same device to every shell, or two jobs get one GPU. So a home's runner numbers them once:
first the devices it sees itself, in CUDA's order (all there is, where everybody sets the same), then the machine's
others, then MIG instances as requests name them.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import suppress

from datadream import durable
from datadream.errors import UserError
from datadream.home import queue, state, variables
from datadream.home.causes import Cause, Why
from datadream.home.layout import Home
from datadream.home.queue import QueueSettings
from datadream.home.variables import Asked
from datadream.jobs import leader
from datadream.models.environment import DEVICE, device_asked
from datadream.models.gpus import VISIBLE, own_visible, visible

FILE = "devices.json"


class Devices:
    """The devices behind `cuda:0`, `cuda:1`, ... of one home. Numbers keep their meaning while anybody has a slot."""

    def __init__(self, home: Home, *, leads: bool = False) -> None:
        """For the runner that `leads`, which writes them down, or for who looks."""
        self._home, self._leads = home, leads
        gpus = queue.machine()
        own = own_visible(gpus)
        found = (*own, *(str(number) for number in range(len(gpus)) if str(number) not in own))
        before = _read(home) if (_taken(home) if leads else leader.is_led(home)) else ()
        self._names = (*before, *(device for device in found if device not in before))
        if leads:
            self._write()

    def slots(self, settings: QueueSettings) -> tuple[str, ...]:
        """Every slot somebody may have, in the order they are handed out."""
        return settings.slots or (*(f"cuda:{number}" for number in range(len(self._names))), "cpu:0")

    def open_to(self, settings: QueueSettings, asked: Asked) -> dict[str, str | None]:
        """The slots a job asked for with `asked` may have, each with the DATADREAM_DEVICE of its worker.

        None leaves that variable as it was asked for: where no GPU was found, torch may know of one all the same.
        """
        environment = variables.asked_with(None if asked is None else dict(asked))
        gpus, wish = queue.machine(), _wish(environment)
        seen = visible(environment.get(VISIBLE), gpus) if wish != "cpu" else ()
        self._learn(seen)
        mine: dict[str, str | None] = {
            f"cuda:{self._names.index(device)}": f"cuda:{number}"
            for number, device in enumerate(seen)
            if wish in ("", "cuda", f"cuda:{number}")
        }
        if not settings.slots:
            plain: dict[str, str | None] = {} if wish.startswith("cuda") and gpus else {"cpu:0": None}
            return {slot: mine[slot] for slot in self.slots(settings) if slot in mine} or plain
        found: dict[str, str | None] = {}
        for slot in settings.slots:
            device = queue.device_of(settings, slot) or "cpu"
            if gpus and device != "cpu":
                found |= {slot: mine[device]} if device in mine else {}
            elif wish in ("", device) or (wish == "cuda" and device != "cpu"):
                found[slot] = device
        return found

    def why_none(self, settings: QueueSettings, asked: Asked) -> Why:
        """Why a job that no slot is open to waits."""
        environment = variables.asked_with(None if asked is None else dict(asked))
        told = variables.in_words({name: environment[name] for name in (VISIBLE, DEVICE) if name in environment})
        slots = ", ".join(settings.slots or self.slots(settings)[:-1]) or "none"
        said = f"waiting for a device: requested with {told}, which matches none of the slots {slots}"
        return Why(said, Cause.NO_DEVICE)

    def _learn(self, seen: tuple[str, ...]) -> None:
        new = [device for device in seen if device not in self._names]
        if new:
            self._names = (*self._names, *new)
            if self._leads:
                self._write()

    def _write(self) -> None:
        content = {"host": socket.gethostname(), "devices": list(self._names)}
        with suppress(OSError, UserError):  # on a full disk, the next runner may number them anew
            if content != state.read_dict(self._home.runner / FILE):
                durable.write_json(durable.make_dir(self._home.runner) / FILE, content)


def shown(home: Home, settings: QueueSettings) -> tuple[str, ...]:
    """The slots of a home, to be looked at: the CPU's only where it is the only one, or taken."""
    *gpus, cpu = Devices(home).slots(settings) if not settings.slots else (*settings.slots, "")
    return (*gpus, cpu) if cpu and (not gpus or queue.is_taken(home, cpu)) else tuple(gpus)


def _wish(environment: Mapping[str, str]) -> str:
    try:
        return device_asked(environment)
    except UserError:  # its worker says so
        return ""


def _read(home: Home) -> tuple[str, ...]:
    """The devices as the last runner numbered them, if it was one of this machine."""
    found = state.read_dict(home.runner / FILE) or {}
    devices = found.get("devices")
    if found.get("host") != socket.gethostname() or not isinstance(devices, list):
        return ()
    return tuple(dict.fromkeys(device for device in devices if isinstance(device, str)))


def _taken(home: Home) -> bool:
    """Whether anybody has a GPU's slot of this home."""
    try:
        names = [path.name for path in (home.path / "slots").iterdir()]
    except OSError:
        return False
    slots = [name.replace("-", ":", 1).replace(".", "/", 1) for name in names if name.startswith("cuda-")]
    try:
        return any(queue.is_taken(home, slot) for slot in slots)
    except (OSError, UserError):
        return True
