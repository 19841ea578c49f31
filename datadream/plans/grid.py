"""From a recipe, a set and a mix of data to the jobs that make its number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from datadream.data.image_folders import image_folders
from datadream.data.prompts import ClassInfo
from datadream.errors import UserError
from datadream.home.runs import Run
from datadream.home.sets import NamedSet
from datadream.home.spec import JobSpec
from datadream.methods import plugs
from datadream.models import corrections
from datadream.models.presets import Backbone
from datadream.recipes.recipe import Data, Recipe
from datadream.stages.settings import BLIND, SelectSettings, Settings
from datadream.stages.table import TABLE
from datadream.text import counted

Excluded = Callable[[JobSpec], tuple[str, ...]]  # of a generate job: which of its images to leave out


def leave_none_out(synthetic: JobSpec) -> tuple[str, ...]:
    """The usual: every image serves."""
    del synthetic
    return ()


def plan(
    recipe: Recipe,
    set_: NamedSet,
    backbone: Backbone,
    data: Data,
    repeat: int = 0,
    excluded: Excluded = leave_none_out,
) -> Run:
    """The jobs of one run, anew when `repeat` isn't 0. The seed of every stage is the set's."""
    shots = set_.shots
    jobs: dict[str, JobSpec] = {}
    images = None
    read = {"set": set_.id}
    if "synth" in data:
        assert recipe.generate is not None
        inputs = {}
        if recipe.adapt is not None:
            jobs["adapt"] = JobSpec(
                stage="adapt",
                settings=_dump(recipe.adapt),
                inputs={"set": set_.id},
                seed=shots.seed,
                model=backbone.diffusion,
                repeat=repeat,
                corrected=corrections.of_adapting(backbone.diffusion),
            )
            inputs["adapter"] = jobs["adapt"].id
        if recipe.generate.start != "noise":
            inputs["set"] = set_.id
        # Not the set but its classes: the un-adapted generator's images then serve every number of shots.
        synthetic = jobs["generate"] = JobSpec(
            stage="generate",
            settings=_dump(recipe.generate),
            inputs=inputs,
            seed=shots.seed,
            model=backbone.diffusion,
            classes=shots.classes,
            prompts=shots.prompts,
            repeat=repeat,
            corrected=corrections.of_generating(backbone.diffusion, recipe.generate.scheduler),
            folders=_other_folders(shots.classes),
            plugs=plugs.used(_dump(recipe.generate)),
        )
        images = recipe.generate.images_per_class
        read["synthetic"] = synthetic.id
        marked = excluded(synthetic)
        if marked and recipe.select is None:
            recipe = recipe.model_copy(update={"select": SelectSettings(by="all", keep=1.0)})
        if recipe.select is not None:
            looks = recipe.select.by not in BLIND
            jobs["select"] = JobSpec(
                stage="select",
                settings=_dump(recipe.select),
                inputs={"synthetic": synthetic.id, **({"set": set_.id} if looks else {})},
                seed=shots.seed,
                model=backbone.clip if looks else None,
                images_per_class=images,
                repeat=repeat,
                excluded=marked,
                plugs=plugs.used(_dump(recipe.select)),
            )
            read["selection"] = jobs["select"].id
    jobs["classify"] = JobSpec(
        stage="classify",
        settings=_dump(recipe.classify),
        inputs=read,
        seed=shots.seed,
        model=backbone.clip,
        data=data,
        images_per_class=images,
        repeat=repeat,
        corrected=corrections.of_classifying(backbone.clip, data),
        plugs=plugs.used(_dump(recipe.classify)),
    )
    if recipe.classify.evaluate == "val" and not shots.val:
        raise UserError(f"the set {set_.name!r} has no validation images", hint="omit classify.evaluate=val")
    return Run(recipe, set_, backbone, data, jobs)


def runs_of(
    recipes: Sequence[Recipe],
    sets: Sequence[NamedSet],
    backbone: Backbone,
    asked: Sequence[Data] | None,
    excluded: Excluded = leave_none_out,
    taken: Callable[[Run], bool] | None = None,
) -> list[Run]:
    """Every run of the grid. `asked` limits methods with synthetic images to those mixes; others have one anyway.

    With `taken` all are made anew: they are of the first repeat at which none of them is taken.
    """
    repeat = 0 if taken is None else 1
    while True:
        runs = []
        for set_ in sets:
            for recipe in recipes:
                mixes = [data for data in recipe.data if asked is None or data in asked or "synth" not in data]
                if not mixes:
                    raise UserError(
                        f"{recipe.name} has none of these data", hint=f"use any of {', '.join(recipe.data)}"
                    )
                runs += [plan(recipe, set_, backbone, data, repeat, excluded) for data in mixes]
        if taken is None or not any(map(taken, runs)):
            return runs
        repeat += 1


def jobs_of(runs: Sequence[Run], shards: int = 1) -> tuple[list[JobSpec], dict[str, str], dict[str, tuple[str, ...]]]:
    """The jobs of `runs`, once each, inputs first; a line about each, and the parts of those that are split, by id."""
    specs: dict[str, JobSpec] = {}
    titles = titles_of(runs)
    parts: dict[str, tuple[str, ...]] = {}
    for spec in [spec for run in runs for spec in run.jobs.values()]:
        if spec.id in specs:
            continue
        if shards > 1 and TABLE[spec.stage].draws:
            split = shards_of(spec, shards)
            parts[spec.id] = tuple(part.id for part in split)
            specs |= {part.id: part for part in split}
            titles |= {part.id: f"{titles[spec.id]} {i + 1}/{shards}" for i, part in enumerate(split)}
        specs[spec.id] = spec
    return list(specs.values()), titles, parts


def titles_of(runs: Sequence[Run]) -> dict[str, str]:
    """A line for each job: the first method that needs it, what it does, for which set."""
    titles: dict[str, str] = {}
    for run in runs:
        where = f"{counted(run.set.shots.shots, 'shot')}, seed {run.set.shots.seed}"
        for stage, spec in run.jobs.items():
            detail = f" {run.data}" if spec.data else ""
            detail += f", {len(spec.excluded)} marked excluded" if spec.excluded else ""
            titles.setdefault(spec.id, f"{run.recipe.name}: {stage}{detail} ({where})")
    return titles


def shards_of(spec: JobSpec, count: int) -> list[JobSpec]:
    """`count` jobs that together draw the images of the generate job `spec`."""
    content = spec.model_dump(mode="json")
    return [JobSpec.model_validate({**content, "shard": (i, count)}) for i in range(count)]


def _other_folders(classes: Sequence[ClassInfo]) -> tuple[str, ...]:
    """The folders of a synthetic set's images; () where the classes' own will do."""
    own = tuple(class_.folder for class_ in classes)
    found = image_folders(own)
    return () if found == own else found


def _dump(settings: Settings) -> dict[str, Any]:
    return settings.model_dump(mode="json")
