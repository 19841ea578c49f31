"""The request that runs the same once more: with other seeds, from a record alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from datadream.errors import UserError
from datadream.home.facts import MODELS, overridden, what_on_disk
from datadream.home.layout import Home
from datadream.home.sets import load_set
from datadream.models.presets import Backbone, ModelRef, load_backbone, names
from datadream.plans.request import Request
from datadream.recipes.recipe import Recipe, built_in_names, load_recipe, values_of

SAMPLER = "random16"  # what `run --source` draws with
Record = Mapping[str, Any]


@dataclass(frozen=True)
class Wanted:
    """What is to be run: seeds with their sets where these are known (by id), and what differs from a record.

    Where not every seed has a set, sets are drawn from the source of the record `like`, with `shots`.
    """

    seeds: tuple[int, ...]
    shots: int
    sets: Mapping[int, str] = field(default_factory=dict)
    data: str = ""
    split: str = ""
    like: Record | None = None
    models: Record | None = None  # a record whose models are to be used


def request(home: Home, record: Record, wanted: Wanted) -> Request:
    """What runs the method of `record` once more, with its values and models.

    Values that have since changed in the recipe are set as they were; with other models only what was overridden is
    kept, since the rest may not fit them. Raises UserError when that can't be asked for.
    """
    what = record.get("what") or what_on_disk(home, record)
    recipe = record["recipe"]
    other = wanted.models if wanted.models is not None else record
    stages = what["stages"] if other is record else (other.get("what") or what_on_disk(home, other))["stages"]
    backbone, options = _models(str(other["backbone"]), stages)
    method = _recipe(recipe)
    overrides = _overrides(recipe, load_recipe(method, backbone)) if other is record else overridden(recipe)
    if wanted.split and wanted.split != recipe["classify"]["evaluate"]:
        overrides["classify.evaluate"] = wanted.split
    data = wanted.data or str(record["data"])
    images: dict[str, Any]
    if all(seed in wanted.sets for seed in wanted.seeds):
        images = {"sets": tuple(wanted.sets[seed] for seed in wanted.seeds)}
    else:
        source = _source(home, str((wanted.like if wanted.like is not None else record)["set"]))
        images = {"source": source, "shots": (wanted.shots,), "seeds": wanted.seeds}
    return Request(
        recipes=(method,),
        data=(data,) if "synth" in data else (),
        overrides=tuple(f"{name}={_typed(value)}" for name, value in sorted(overrides.items())),
        without_marked=bool(what["left_out"]["count"]),
        **images,
        **options,
    )


def _recipe(recipe: Mapping[str, Any]) -> str:
    """What `datadream run` calls it: a built-in name, or its file."""
    name, file = str(recipe["name"]), str(recipe.get("file") or "")
    if file or name in built_in_names():
        return file or name
    raise UserError(f"the file of recipe {name!r} is not recorded", hint="run your recipe file with those seeds")


def _models(backbone: str, stages: Mapping[str, Any]) -> tuple[Backbone, dict[str, Any]]:
    """The preset, and the options that ask for it and for the models that aren't its own."""
    preset = backbone.partition("+")[0]  # `load_backbone` adds the name of each model that replaces one
    if preset not in names():
        raise UserError(f"unknown backbone {preset!r}", hint=f"one of {', '.join(names())}")
    shipped = _shipped(preset)
    options: dict[str, Any] = {"backbone": preset}
    for part, own in (("clip", shipped.clip), ("diffusion", shipped.diffusion)):
        used = [stage["model"] for name, stage in stages.items() if MODELS[name] == part and stage.get("model")]
        if used and ModelRef.model_validate(used[0]).identity != own.identity:
            options[part] = str(used[0]["location"])
    return shipped, options


@lru_cache(maxsize=8)
def _shipped(preset: str) -> Backbone:
    return load_backbone(preset)


def _overrides(recipe: Record, now: Recipe) -> dict[str, Any]:
    """Every value that isn't the recipe's own today."""
    found = {}
    for name, value in values_of(now).items():
        section, _, key = name.partition(".")
        before = (recipe.get(section) or {}).get(key, value)
        if before == value:
            continue
        if before is None:
            raise UserError(f"{name} was not set, and overrides can't unset it", hint="restore the recipe as it was")
        found[name] = before
    return found


def _typed(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _source(home: Home, set_id: str) -> str:
    """What `--source` is for a set like this one."""
    shots = load_set(home, set_id)
    if shots.split_seed or shots.sampler != SAMPLER:
        raise UserError(
            f"set {set_id[:8]} was split with seed {shots.split_seed} and drawn by {shots.sampler}",
            hint="make such sets for the other seeds with `datadream set make`, then run with --set",
        )
    return str(shots.source.get("path") or shots.source["kind"])
