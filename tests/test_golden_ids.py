"""What was computed by 40ef959 is found again: no move of code may change the id of a set, a job or a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from datadream.data.shots import make_shot_set
from datadream.data.source import open_source
from datadream.home.sets import NamedSet
from datadream.models.presets import Backbone
from datadream.plans.grid import plan
from datadream.recipes.recipe import load_recipe

KEPT: dict[str, dict[str, str]] = json.loads((Path(__file__).parent / "data" / "ids-40ef959.json").read_text())
OVERRIDES = ("generate.guidance_scale=3", "classify.steps=7")


@pytest.mark.parametrize(("shots", "seed"), [(1, 1), (4, 1), (4, 5)])
def test_ids_are_those_of_40ef959(shots: int, seed: int, mini: Backbone) -> None:
    drawn = make_shot_set(open_source("digits"), shots, seed, check="used")
    found = {f"set {shots} {seed}": {"set": drawn.id}}
    for name in ("zero-shot", "real-only", "name-only", "datadream-dset", "datadream-cls"):
        for overrides in ((), OVERRIDES):
            recipe = load_recipe(name, mini, overrides)
            for data in recipe.data:
                run = plan(recipe, NamedSet("x", drawn.id, drawn), mini, data)
                ids = {stage: spec.id for stage, spec in run.jobs.items()}
                # the id of a run held its overrides as they were typed; it does no longer
                ids |= {} if overrides else {"run": run.id}
                found[f"{name} {data} {shots} {seed} {' '.join(overrides)}".strip()] = ids
    assert found == {key: KEPT[key] for key in found}
