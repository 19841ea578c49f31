"""What a stage is given: one object, the same for all, so that a stage is a function of it alone."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from datadream.data.prompts import ClassInfo
from datadream.data.shots import ShotSet
from datadream.models.presets import ModelRef
from datadream.stages.emit import Emit, silent
from datadream.stages.settings import Settings

S = TypeVar("S", bound=Settings)
Result = dict[str, float | int]  # what a stage tells of its work, for the artifact's manifest


@dataclass(frozen=True)
class Input:
    """A finished artifact that a stage reads: its id, its folder, and the folders of its images, one a class."""

    id: str
    path: Path
    image_folders: tuple[str, ...] = ()


@dataclass(frozen=True)
class Task(Generic[S]):
    """One run of a stage.

    It reads `inputs` (by role) and `shots`, writes its artifact into `out`, and keeps in `checkpoint` what it needs to
    go on after a stop. `known` are the sha256 of files that are in `out` already, by name. `classes`, `prompts`,
    `folders` and `shard` are of the images to draw; `data`, `images_per_class` and `excluded` (images by
    `<class folder>/<file>`) of those to train on.
    """

    settings: S
    out: Path
    checkpoint: Path
    emit: Emit = silent
    seed: int = 1
    model: ModelRef | None = None
    shots: ShotSet | None = None
    inputs: Mapping[str, Input] = field(default_factory=dict)
    classes: tuple[ClassInfo, ...] = ()
    prompts: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    shard: tuple[int, int] | None = None
    known: Mapping[str, str] = field(default_factory=dict)
    data: str = "none"
    images_per_class: int = 0
    excluded: Collection[str] = ()

    @property
    def backbone(self) -> ModelRef:
        """The model, of a stage that has one."""
        assert self.model is not None
        return self.model

    @property
    def few(self) -> ShotSet:
        """The few-shot set, of a stage that has one."""
        assert self.shots is not None
        return self.shots

    def path(self, role: str) -> Path | None:
        """The folder of an input; None when the task has none in that role."""
        found = self.inputs.get(role)
        return found.path if found else None


AnyTask = Task[Any]
