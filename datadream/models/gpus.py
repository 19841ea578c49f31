"""Which GPUs a machine has, and which of them CUDA_VISIBLE_DEVICES leaves, as CUDA counts them. No torch here."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

DRIVER = Path("/proc/driver/nvidia/gpus")
VISIBLE = "CUDA_VISIBLE_DEVICES"
_UUID = re.compile(r"GPU UUID:\s*(GPU-[0-9A-Fa-f-]+)\s*$", re.MULTILINE)
_MINOR = re.compile(r"Device Minor:\s*([0-9]+)\s*$", re.MULTILINE)
_INDEX = re.compile(r"\+?([0-9]+)", re.ASCII)


@dataclass(frozen=True)
class Gpu:
    """A GPU as its driver lists it. `uuid` is "" where that isn't told; `cut`: into MIG instances."""

    uuid: str = ""
    cut: bool = False


def read_gpus(folder: Path | None = None) -> tuple[Gpu, ...]:
    """The machine's NVIDIA GPUs in PCI order; () where the driver lists none."""
    folder = folder or DRIVER
    try:
        names = tuple(sorted(path.name for path in folder.iterdir()))
    except OSError:
        return ()
    return tuple(_read_gpu(folder, name) for name in names)


@cache
def _read_gpu(folder: Path, name: str) -> Gpu:
    try:
        text = (folder / name / "information").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return Gpu()
    uuid, minor = _UUID.search(text), _MINOR.search(text)
    cut = bool(minor) and any((folder.parent / f"capabilities/gpu{minor[1]}/mig").glob("gi*"))  # type: ignore[index]
    return Gpu(uuid[1] if uuid else "", cut)


def visible(value: str | None, gpus: Sequence[Gpu]) -> tuple[str, ...]:
    """The devices that CUDA has in a process where CUDA_VISIBLE_DEVICES is `value`, in its order.

    Each is the number of a GPU of the machine (`"2"`), or the name of a MIG instance as it was given. As in CUDA: no
    variable, all of them; the first part that names no device ends the list (so `-1`, `none`, `void` and Slurm's
    `NoDevFiles` leave none); a device named twice leaves none; numbers, UUIDs (`GPU-` and enough of it to be the only
    one) and MIG instances don't mix; and of MIG instances there is only ever one.
    """
    if value is None:
        found = [str(number) for number in range(len(gpus))]
    elif value.startswith("MIG-"):
        return _instance(value.split(",")[0].strip(), gpus)
    elif value.startswith("GPU-"):
        found = _by_uuid(value.split(","), gpus)
    else:
        found = _by_number(value.split(","), len(gpus))
    cut = [number for number in found if number.isdecimal() and gpus[int(number)].cut]
    return tuple(cut[:1] or found)


def own_visible(gpus: Sequence[Gpu]) -> tuple[str, ...]:
    """`visible` for this process."""
    return visible(os.environ.get(VISIBLE), gpus)


def _instance(name: str, gpus: Sequence[Gpu]) -> tuple[str, ...]:
    """The one MIG instance; none when it is of a GPU that isn't there (`MIG-GPU-<uuid>/<instance>/<instance>`)."""
    parent = name.removeprefix("MIG-").partition("/")[0]
    known = [gpu.uuid for gpu in gpus if gpu.uuid]
    absent = parent.startswith("GPU-") and len(known) == len(gpus) and parent not in known
    return (name,) if gpus and name != "MIG-" and not absent else ()


def _by_uuid(parts: Sequence[str], gpus: Sequence[Gpu]) -> list[str]:
    """By the beginnings of UUIDs; where the driver tells none, as they were given, up to as many as there are."""
    told = all(gpu.uuid for gpu in gpus)
    found: list[str] = []
    for part in parts:
        if not part.startswith("GPU-"):
            break
        alike = [str(number) for number, gpu in enumerate(gpus) if gpu.uuid.startswith(part.strip())]
        if told and len(alike) != 1:
            break
        device = alike[0] if told else part.strip()
        if device in found:
            return []
        found.append(device)
    return found[: len(gpus)]


def _by_number(parts: Sequence[str], count: int) -> list[str]:
    """By number, read as strtoul(3) does: what follows the digits is left alone."""
    found: list[str] = []
    for part in parts:
        number = _INDEX.match(part.strip())
        if number is None:
            break
        device = number[1].lstrip("0") or "0"
        if device in found:
            return []
        found.append(device)
    inside = [len(device) < 6 and int(device) < count for device in found]
    return found[: inside.index(False)] if False in inside else found
