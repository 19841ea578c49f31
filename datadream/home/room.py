"""How much is free, on the disks that are really written to: jobs and artifacts may lie on others than the home."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datadream.home.layout import Home
    from datadream.models.presets import ModelRef

TEMPORARY_BYTES = 1 << 20  # libraries put little there


@dataclass(frozen=True)
class Free:
    """Bytes that are free, and the folder whose disk that is."""

    size: int
    at: Path


def least(home: Home, kind: str | None = None, model: ModelRef | None = None) -> Free:
    """The fullest of the disks that a job writes to: its folder's, that of what it makes (of any kind when None), that
    of a model to download (`cache_of`), and TMPDIR's when next to nothing is left there.
    """
    artifacts = home.path / "artifacts"
    kinds = [kind] if kind else sorted(path.name for path in artifacts.glob("[!.]*"))
    places = [home.path, home.path / "jobs", artifacts, *(artifacts / kind for kind in kinds)]
    cache = cache_of(model)
    found = list(_free([*places, cache] if cache else places))
    temporary = os.environ.get("TMPDIR")
    if temporary:
        found += [free for free in _free([Path(temporary)]) if free.size < TEMPORARY_BYTES]
    return min(found, key=lambda free: free.size)


def by_disk(home: Home, sizes: Mapping[str, int]) -> list[tuple[Path, int]]:
    """A folder of each disk that artifacts of these kinds go to, and how many bytes go there of all."""
    disks: dict[int, tuple[Path, int]] = {}
    for kind, size in sizes.items():
        place = _there(home.path / "artifacts" / kind)
        device = place.stat().st_dev
        first, before = disks.get(device, (place, 0))
        disks[device] = first, before + size
    return list(disks.values())


def cache_of(model: ModelRef | None) -> Path | None:
    """Where the hub puts the files of `model` that have yet to come; None for a folder, and when they are there."""
    if model is None or model.digest or Path(model.location).exists():
        return None
    name = model.location.removeprefix("hf-hub:")
    if name.count("/") != 1:  # an open_clip name with its weights: where those come from is its own affair
        return None
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    hub = Path(os.environ.get("HF_HOME") or cache / "huggingface")
    files = Path(os.environ.get("HF_HUB_CACHE") or hub / "hub").expanduser()
    folder = files / f"models--{name.replace('/', '--')}"
    there = any(folder.glob("snapshots/*")) and not any(folder.glob("blobs/*.incomplete"))
    return None if there else files


def _free(places: Iterable[Path]) -> Iterator[Free]:
    """Each disk once."""
    seen = set()
    for place in map(_there, places):
        device = place.stat().st_dev
        if device not in seen:
            seen.add(device)
            yield Free(shutil.disk_usage(place).free, place)


def _there(place: Path) -> Path:
    """`place`, or the nearest folder above it that is there."""
    return next(folder for folder in (place, *place.parents) if folder.exists())
