"""The stages, a row each: what it is told, what it reads, what it makes, and where its function is.

A new stage is a row here and its own file. Nothing else asks for a stage by name to know one of these. No torch here.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from datadream.methods import plugs
from datadream.models.presets import Part
from datadream.stages.settings import (
    BLIND,
    AdaptSettings,
    ClassifySettings,
    GenerateSettings,
    RehearseSettings,
    SelectSettings,
    Settings,
)

Kind = Literal["set", "adapter", "synthetic", "shard", "selection", "classifier", "rehearsal"]
Stage = str  # a key of TABLE
BACKWARD = 2  # a backward pass costs about two forward ones


@dataclass(frozen=True)
class Amount:
    """What a job's work hangs on besides its settings: classes, shots a class, images of val and test, synthetic images
    drawn or used, and whether it trains; `steps` where they are known from a finished one.
    """

    classes: int = 0
    shots: int = 0
    val: int = 0
    test: int = 0
    images: int = 0
    trains: bool = True
    steps: int | None = None


@dataclass(frozen=True)
class Row:
    """A stage. `inputs` are the kinds of artifact it may read, by role; `model` the part of a backbone it runs.

    `function` is called with a `Task`. `work(settings, amount)` counts image passes forward through the model. A stage
    that `draws` makes images, which take room and may be divided into shards.
    """

    settings: type[Settings]
    inputs: Mapping[str, Kind]
    makes: Kind
    function: str
    model: Part | None = None
    work: Callable[[Any, Amount], float] = lambda settings, amount: 0.0
    draws: bool = False


def _adapt(settings: AdaptSettings, amount: Amount) -> float:
    return float(sum(settings.steps_of(amount.shots, amount.classes)) * settings.batch_size * (1 + BACKWARD))


def _generate(settings: GenerateSettings, amount: Amount) -> float:
    return float(amount.images * settings.num_inference_steps * (2 if settings.guidance_scale > 1 else 1))


def _select(settings: SelectSettings, amount: Amount) -> float:
    return float(amount.images if settings.by not in BLIND else 0)


def _classify(settings: ClassifySettings, amount: Amount) -> float:
    steps = settings.total_steps(amount.classes) if amount.steps is None else amount.steps
    evaluated = amount.val if settings.evaluate == "val" else amount.test
    return float((steps * settings.batch_size * (1 + BACKWARD) if amount.trains else 0) + evaluated)


TABLE: dict[Stage, Row] = {
    "adapt": Row(
        AdaptSettings, {"set": "set"}, "adapter", "datadream.stages.adapt:adapt", model="diffusion", work=_adapt
    ),
    "generate": Row(
        GenerateSettings,
        {"adapter": "adapter", "set": "set"},
        "synthetic",
        "datadream.stages.generate:generate",
        model="diffusion",
        work=_generate,
        draws=True,
    ),
    "select": Row(
        SelectSettings,
        {"set": "set", "synthetic": "synthetic"},
        "selection",
        "datadream.stages.select:select",
        model="clip",
        work=_select,
    ),
    "classify": Row(
        ClassifySettings,
        {"set": "set", "synthetic": "synthetic", "selection": "selection"},
        "classifier",
        "datadream.stages.classify:classify",
        model="clip",
        work=_classify,
    ),
    "rehearse": Row(RehearseSettings, {}, "rehearsal", "datadream.stages.rehearse:rehearse"),
}
MAKER: dict[Kind, Stage] = {row.makes: stage for stage, row in TABLE.items()}
ROLES: dict[str, Kind] = {role: kind for row in TABLE.values() for role, kind in row.inputs.items()} | {
    "shard": "shard"
}
METHOD: tuple[Stage, ...] = tuple(stage for stage in TABLE if stage != "rehearse")  # what a recipe is made of, in order


def name_of(settings: Settings) -> Stage:
    """The stage that these settings are for."""
    return next(stage for stage, row in TABLE.items() if row.settings is type(settings))


def function_of(stage: Stage) -> Callable[[Any], Any]:
    """The stage's function; imports it and the methods it chooses among, and with them torch where they need it."""
    plugs.preload(TABLE[stage].settings.model_fields)
    module, _, name = TABLE[stage].function.partition(":")
    return cast(Callable[[Any], Any], getattr(importlib.import_module(module), name))
