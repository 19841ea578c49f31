"""A job's spec: everything its artifact depends on, and nothing else. Its hash is the id of both."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict

from datadream.canonical import short_id
from datadream.data.prompts import ClassInfo
from datadream.models.presets import ModelRef
from datadream.recipes.recipe import Data
from datadream.stages.settings import Settings
from datadream.stages.table import TABLE, Kind, Stage

SCHEMA = 1  # raised when the same spec would give another result
UNUSED = ("shard", "repeat", "excluded", "corrected", "folders", "plugs")  # left out of the hash when they aren't used


def id_of(content: Mapping[str, Any]) -> str:
    """The id of the spec with this `content`, as a spec.json or a manifest holds it, of whatever version.

    Raises KeyError, TypeError or ValueError for what is no spec.
    """
    found = dict(content)
    found["model"] = ModelRef.model_validate(found["model"]).identity if found["model"] else None
    for name in UNUSED:
        if not found.get(name):
            found.pop(name, None)
    return short_id(found)


class JobSpec(BaseModel):
    """One stage run. `inputs` maps a role (set, adapter, synthetic) to an artifact's id.

    `shard` (i, n) draws every n-th part of a synthetic set, from the i-th; `repeat` counts how often the same was
    asked for anew; `excluded` names the synthetic images (`<class folder>/<file>`, sorted) a selection leaves out,
    or a classifier of an older version;
    `corrected` names the mended faults (`datadream.models.corrections`) that change what this model gives here, so that
    a result from before keeps its id and is not taken for the right one; `folders` are the class folders of a synthetic
    set where their own names won't do; `plugs` are the methods of other packages that its settings name. All six are
    left out of the hash when they aren't used.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    schema_version: int = SCHEMA
    stage: Stage
    settings: dict[str, Any]
    inputs: dict[str, str]
    seed: int
    model: ModelRef | None = None
    classes: tuple[ClassInfo, ...] = ()
    prompts: tuple[str, ...] = ()
    data: Data | None = None
    images_per_class: int | None = None
    shard: tuple[int, int] | None = None
    repeat: int = 0
    excluded: tuple[str, ...] = ()
    corrected: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    plugs: tuple[str, ...] = ()

    @cached_property
    def id(self) -> str:
        """Hash of the canonical spec; where a model's folder lies does not matter, what is in it does."""
        return id_of(self.model_dump(mode="json"))

    @property
    def image_folders(self) -> tuple[str, ...]:
        """The folders of the images it draws, one a class."""
        return self.folders or tuple(class_.folder for class_ in self.classes)

    @property
    def kind(self) -> Kind:
        """What it makes."""
        return "shard" if self.shard else TABLE[self.stage].makes

    def parsed(self) -> Settings:
        """The settings as their own model."""
        return TABLE[self.stage].settings.model_validate(self.settings)

    def bytes_needed(self, resolution: int = 512) -> int:
        """An upper bound of the disk it takes: raw pixels for images, little for the rest."""
        if TABLE[self.stage].draws:
            return len(self.classes) * int(self.settings["images_per_class"]) * (resolution * resolution * 3 + 4096)
        return 0
