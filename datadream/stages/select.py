"""Choose among drawn images: one drawn pool serves many selections, each cheap. A person's bad-image marks are one.

The artifact is `selection.json`: how many were kept, what a mark or the method left out, by `<class folder>/<file>`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from datadream import durable, records
from datadream.data.decode import handling
from datadream.data.image_folders import image_file
from datadream.data.shots import image_reader
from datadream.methods import plugs
from datadream.methods.selection import Request, Selection
from datadream.models.clip import load_clip
from datadream.stages.emit import heed_stop
from datadream.stages.failing import not_finite
from datadream.stages.kept import owner_of, read_lines
from datadream.stages.pixels import fit
from datadream.stages.settings import BLIND, SelectSettings
from datadream.stages.task import Result, Task

SELECTION = "selection.json"
DONE = "classes.jsonl"  # of a checkpoint: a line for each class that is chosen
BATCH = 256


def select(task: Task[SelectSettings]) -> Result:
    """Write `selection.json`. Marked images (`excluded`) are out before the method sees the rest.

    Raises UserError when an image can't be read.
    """
    pool = task.inputs["synthetic"]
    marked = frozenset(task.excluded)
    names = [
        [name for i in range(task.images_per_class) if (name := f"{folder}/{image_file(i)}") not in marked]
        for folder in pool.image_folders
    ]
    kept = _resume(task, len(names))
    chosen = _choices(task, pool.path / "data" / "train", names, len(kept))
    appender = durable.Appender(task.checkpoint / DONE)
    try:
        for class_, rows in enumerate(chosen, start=len(kept)):
            heed_stop()
            kept.append([names[class_][row] for row in rows])
            appender.append({"class": class_, "kept": kept[class_], "owner": owner_of(task.checkpoint)})
            task.emit({"kind": "progress", "done": len(kept), "total": len(names), "unit": "classes"})
    finally:
        appender.close()
    left = sorted({name for found in names for name in found} - {name for found in kept for name in found})
    count = sum(map(len, kept))
    content = {"by": task.settings.by, "kept": count, "left_out": left, "marked": sorted(marked)}
    durable.write_json(task.out / SELECTION, content)
    return {"kept": count, "left_out": len(left) + len(marked)}


class Missing(NamedTuple):
    """The images that a selection doesn't keep: those marked as bad, and those its method left out."""

    marked: frozenset[str] = frozenset()
    left_out: frozenset[str] = frozenset()


def missing(folder: Path | None) -> Missing:
    """What the selection in `folder` doesn't keep; nothing without a selection."""
    if folder is None:
        return Missing()
    found = records.read(folder / SELECTION, {"left_out": list, "marked": list}, records.LISTS_BYTES)
    return Missing(frozenset(found["marked"]), frozenset(found["left_out"])) if found else Missing()


def _choices(task: Task[SelectSettings], train: Path, names: list[list[str]], first: int) -> Iterator[list[int]]:
    """The rows to keep of each class from `first` on."""
    settings = task.settings
    choose: Selection = plugs.find("selection", settings.by)
    look = None if settings.by in BLIND else _Features(task, train)
    for class_ in range(first, len(names)):
        total = len(names[class_])
        empty = torch.zeros(0, 0)
        drawn, shots = look(class_, names[class_]) if look else (empty, empty)
        texts, scale = (look.texts, look.scale) if look else (empty, 1.0)
        count = math.ceil(settings.keep * total)
        found = choose(Request(class_, total, count, task.seed, drawn, shots, texts, scale))
        yield sorted(row for row in set(found) if 0 <= row < total)


class _Features:
    """Unit CLIP features, float32 on the CPU: of a class's drawn images (n, d), of its shots (K, d), of all prompts."""

    def __init__(self, task: Task[SelectSettings], train: Path) -> None:
        self._task, self._train = task, train
        self._clip = load_clip(task.backbone)
        texts = self._clip.encode_text(self._clip.tokens(task.few.prompts))
        self.texts = texts.detach().float().cpu()
        self.scale = float(self._clip.model.logit_scale.exp())

    def __call__(self, class_: int, names: list[str]) -> tuple[Tensor, Tensor]:
        shots = self._task.few
        read = image_reader(shots)
        real = [read(ref) for ref in shots.train if ref.label == class_]

        def drawn() -> Iterator[Image.Image]:
            for name in names:
                path = self._train / name
                with handling(str(path)), Image.open(path) as image:
                    yield image.convert("RGB")

        return self._of(drawn()), self._of(iter(real))

    def _of(self, images: Iterator[Image.Image]) -> Tensor:
        parts: list[Tensor] = []
        batch: list[Tensor] = []
        with torch.no_grad():
            for image in images:
                batch.append(fit(image, self._clip.resolution))
                if len(batch) == BATCH:
                    heed_stop()
                    parts.append(self._encode(batch))
                    batch = []
            if batch:
                parts.append(self._encode(batch))
        return torch.cat(parts) if parts else torch.zeros(0, self.texts.shape[1])

    def _encode(self, batch: list[Tensor]) -> Tensor:
        features = self._clip.encode_image(self._clip.normalise(torch.stack(batch))).float().cpu()
        if not features.isfinite().all():
            raise not_finite("the feature of an image", "", self._task.settings)
        return features


def _resume(task: Task[SelectSettings], classes: int) -> list[list[str]]:
    """What an earlier attempt chose, class after class, as far as it is this job's."""
    owner = owner_of(task.checkpoint)
    found: list[list[str]] = []
    for line in read_lines(task.checkpoint / DONE):
        if line.get("owner") == owner and line.get("class") == len(found) and len(found) < classes:
            found.append([str(name) for name in line["kept"]])
    return found
