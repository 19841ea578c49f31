"""A run: one number of a table, and the record that ties its jobs to a method."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from datadream import durable, records
from datadream.canonical import short_id
from datadream.errors import UserError
from datadream.home.artifacts import read_manifest
from datadream.home.evidence import check_record, sealed
from datadream.home.facts import settings_text, stages_key, what_of, what_on_disk
from datadream.home.layout import Home
from datadream.home.sets import NamedSet, source_label
from datadream.home.spec import JobSpec
from datadream.home.state import is_id
from datadream.models.presets import Backbone
from datadream.recipes.recipe import DATA, SECTIONS, Data, Recipe
from datadream.stages.table import TABLE

RECORD: records.Shape = {
    **dict.fromkeys(("id", "method", "settings", "data", "set", "source", "backbone", "created"), str),
    **dict.fromkeys(("shots", "seed", "split_seed"), int),
    **dict.fromkeys(("recipe", "jobs"), dict),
}
# Of a record, what a run can't have in two ways; its labels may stem from another request for the same run.
BOUND = ("id", "method", "data", "set", "shots", "seed", "split_seed", "jobs")


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
        return settings_text(self.recipe.label, sum(len(spec.excluded) for spec in self.jobs.values()))


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
    durable.write_json(path, sealed({**content, "what": what_of(home, run.set.id, run.jobs)}))


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


def is_like(home: Home, record: Mapping[str, Any], run: Run) -> bool:
    """Whether a planned run would differ from the recorded one by its set only: the same method, values and models."""
    what = record.get("what") or what_on_disk(home, record)
    planned = {stage: spec.model_dump(mode="json") for stage, spec in run.jobs.items()}
    return (record["method"], record["data"]) == (run.recipe.name, run.data) and stages_key(
        what["stages"], record["recipe"]
    ) == stages_key(planned, run.recipe.model_dump(mode="json"))


def stage_origin(home: Home, stage: str, artifact_id: str) -> dict[str, Any]:
    """What an artifact's manifest says of its making: seconds, device, code version, steps."""
    origin: dict[str, Any] = read_manifest(home, TABLE[stage].makes, artifact_id)["origin"]
    return origin
