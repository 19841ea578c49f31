"""From a recipe, a set and a mix of data to the jobs that make its number, and the record that ties them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from datadream import durable, records
from datadream.canonical import short_id
from datadream.data.image_folders import image_folders
from datadream.data.prompts import ClassInfo
from datadream.errors import UserError
from datadream.jobs.artifacts import read_manifest
from datadream.jobs.evidence import check_record, sealed
from datadream.jobs.facts import settings_text, what_of
from datadream.jobs.home import Home
from datadream.jobs.sets import NamedSet, source_label
from datadream.jobs.spec import JobSpec
from datadream.jobs.state import is_id
from datadream.methods import plugs
from datadream.models import corrections
from datadream.models.presets import Backbone
from datadream.recipes.recipe import DATA, SECTIONS, Data, Recipe
from datadream.stages.settings import Settings
from datadream.text import counted

RECORD: records.Shape = {
    **dict.fromkeys(("id", "method", "settings", "data", "set", "source", "backbone", "created"), str),
    **dict.fromkeys(("shots", "seed", "split_seed"), int),
    **dict.fromkeys(("recipe", "jobs"), dict),
}


@dataclass(frozen=True)
class Run:
    """One number of a table: a method on a set with a mix of data. `jobs` maps stage to spec, inputs first."""

    recipe: Recipe
    set: NamedSet
    backbone: Backbone
    data: Data
    jobs: dict[str, JobSpec]

    @property
    def id(self) -> str:
        """Hash of method, mix and the classifier job, which hashes everything before it: of what is run, however it was
        asked for. (The empty text keeps the ids of older records of recipes as shipped.)
        """
        return short_id([self.recipe.name, "", self.data, self.jobs["classify"].id])

    @property
    def settings(self) -> str:
        """What sets it apart from the recipe as shipped: overrides, and images left out."""
        return settings_text(self.recipe.label, len(self.jobs["classify"].excluded))


# Of a record, what a run can't have in two ways; its labels may stem from another request for the same run.
BOUND = ("id", "method", "data", "set", "shots", "seed", "split_seed", "jobs")
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
    synthetic: JobSpec | None = None
    images = None
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
    jobs["classify"] = JobSpec(
        stage="classify",
        settings=_dump(recipe.classify),
        inputs={"set": set_.id, **({"synthetic": synthetic.id} if synthetic else {})},
        seed=shots.seed,
        model=backbone.clip,
        data=data,
        images_per_class=images,
        repeat=repeat,
        excluded=excluded(synthetic) if synthetic else (),
        corrected=corrections.of_classifying(backbone.clip, data),
        plugs=plugs.used(_dump(recipe.classify)),
    )
    if recipe.classify.evaluate == "val" and not shots.val:
        raise UserError(f"the set {set_.name!r} has no validation images", hint="omit classify.evaluate=val")
    return Run(recipe, set_, backbone, data, jobs)


def plan_all(
    recipes: Sequence[Recipe],
    sets: Sequence[NamedSet],
    backbone: Backbone,
    asked: Sequence[Data] | None,
    repeat: int = 0,
    excluded: Excluded = leave_none_out,
) -> list[Run]:
    """Every run of the grid. `asked` limits methods with synthetic images to those mixes; others have one anyway."""
    runs = []
    for set_ in sets:
        for recipe in recipes:
            mixes = [data for data in recipe.data if asked is None or data in asked or "synth" not in data]
            if not mixes:
                raise UserError(f"{recipe.name} has none of these data", hint=f"use any of {', '.join(recipe.data)}")
            runs += [plan(recipe, set_, backbone, data, repeat, excluded) for data in mixes]
    return runs


def titles_of(runs: Sequence[Run]) -> dict[str, str]:
    """A line for each job: the first method that needs it, what it does, for which set."""
    titles: dict[str, str] = {}
    for run in runs:
        where = f"{counted(run.set.shots.shots, 'shot')}, seed {run.set.shots.seed}"
        for stage, spec in run.jobs.items():
            detail = f" {run.data}" if stage == "classify" else ""
            detail += f", {len(spec.excluded)} marked excluded" if spec.excluded else ""
            titles.setdefault(spec.id, f"{run.recipe.name}: {stage}{detail} ({where})")
    return titles


def shards_of(spec: JobSpec, count: int) -> list[JobSpec]:
    """`count` jobs that together draw the images of the generate job `spec`."""
    content = spec.model_dump(mode="json")
    return [JobSpec.model_validate({**content, "shard": (i, count)}) for i in range(count)]


def record(home: Home, run: Run) -> None:
    """Write down what `run` is made of; a table is a question to these records, once their classifiers are there."""
    path = home.run(run.id)
    content = {
        "id": run.id,
        "method": run.recipe.name,
        "settings": run.settings,
        "data": run.data,
        "set": run.set.id,
        "source": source_label(run.set.shots),
        "shots": run.set.shots.shots,
        "seed": run.set.shots.seed,
        "split_seed": run.set.shots.split_seed,
        "backbone": run.backbone.name,
        "recipe": run.recipe.model_dump(mode="json"),
        "jobs": {stage: spec.id for stage, spec in run.jobs.items()},
        "created": datetime.now(UTC).isoformat(timespec="microseconds"),
    }
    with suppress(UserError):  # it is missing or damaged, and here is what it must hold
        old = read_record(path)
        check_record(old, run.id)
        if all(old.get(name) == content[name] for name in BOUND):
            return
    durable.make_dir(path.parent)
    durable.write_json(path, sealed({**content, "what": what_of(home, run)}))


def read_record(path: Path) -> dict[str, Any]:
    """A run's record. Raises Unreadable for anything else, a record under another's name among it."""
    found = records.read(path, RECORD)
    if found is None:
        raise records.Unreadable(path, "is gone")
    try:
        recipe, jobs = found["recipe"], found["jobs"]
        parts = [name for name in SECTIONS if recipe.get(name) is not None]
        records.check(recipe, {**dict.fromkeys(parts, dict), "classify": dict})
        records.check(jobs, dict.fromkeys({"classify", *jobs}, str))
        if found["data"] not in DATA or set(jobs) - set(parts):
            raise ValueError("names an unknown data value or stage")
        if found["id"] != path.stem:
            raise ValueError("is named by another id than it holds")
        if not all(map(is_id, (found["set"], *jobs.values()))):
            raise ValueError("refers to something by an invalid id")
    except ValueError as error:
        raise records.Unreadable(path, str(error)) from error
    return found


def read_records(home: Home, unreadable: list[records.Unreadable] | None = None) -> list[dict[str, Any]]:
    """Every run's record whose classifier is there, whole or not (`evidence.check_run` tells), oldest first.

    One that can't be read is left out, and added to `unreadable` where that is given.
    """
    found, bad = [], [] if unreadable is None else unreadable
    for path in records.entries(home.path / "runs"):
        try:
            entry = read_record(path)
        except records.Unreadable as error:
            bad.append(error)
            continue
        if home.artifact("classifier", entry["jobs"]["classify"]).exists():
            found.append(entry)
    return sorted(found, key=lambda entry: (entry["created"], entry["id"]))


def stage_origin(home: Home, stage: str, artifact_id: str) -> dict[str, Any]:
    """What an artifact's manifest says of its making: seconds, device, code version, steps."""
    kinds: dict[str, Any] = {"adapt": "adapter", "generate": "synthetic", "classify": "classifier"}
    origin: dict[str, Any] = read_manifest(home, kinds[stage], artifact_id)["origin"]
    return origin


def _other_folders(classes: Sequence[ClassInfo]) -> tuple[str, ...]:
    """The folders of a synthetic set's images; () where the classes' own will do."""
    own = tuple(class_.folder for class_ in classes)
    found = image_folders(own)
    return () if found == own else found


def _dump(settings: Settings) -> dict[str, Any]:
    return settings.model_dump(mode="json")
