"""What a run is, apart from its seed and the draw of its shots: the one key that rows, pairs and replacements go by.

A record (`runs/<id>.json`) holds all of it under `what`. One written before it did is completed from the specs of its
jobs and from its set.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import ValidationError

from datadream.canonical import digest, short_id
from datadream.errors import UserError
from datadream.home.artifacts import read_manifest
from datadream.home.frames import Frame, read_frame
from datadream.home.layout import Home
from datadream.home.spec import JobSpec
from datadream.home.state import read_dict
from datadream.models.presets import ModelRef
from datadream.recipes.recipe import label, value_text
from datadream.stages.table import TABLE
from datadream.text import ID_LENGTH

# Of a job's spec: what changes with the seed, or stands elsewhere in the key. All else, known here or not, counts.
APART = (
    *("stage", "settings", "model", "seed", "inputs", "repeat", "shard", "classes", "prompts", "excluded"),
    "folders",  # what files are called
)
MODELS = {stage: row.model or "" for stage, row in TABLE.items()}
UNTOLD = (UserError, KeyError, TypeError, ValueError, AttributeError)  # what a damaged or old record may lead to
Record = Mapping[str, Any]
What = dict[str, Any]


@dataclass(frozen=True)
class Traits:
    """In words, for rows that would look alike: the values a recipe resolved to, the models used, the set."""

    overrides: str = ""
    recipe: Mapping[str, str] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)
    set: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As the registry keeps it."""
        return asdict(self)

    @property
    def id(self) -> str:
        """Equal for equal words."""
        return short_id(self.to_json())


@dataclass(frozen=True)
class RunFacts:
    """A run's record, understood.

    `key` is equal for runs that differ in seed and in the draw of their shots only. `place` is what rivals share
    besides their shots: images, classes, prompts, CLIP, split. `draw` stands for the shots and the images left out, ""
    for a run that depends on neither; `left_out` counts those images, and `images` the synthetic ones that were used.
    """

    id: str
    created: str
    method: str
    data: str
    shots: int
    seed: int
    source: str
    backbone: str
    split: str
    set_id: str
    classifier_id: str
    key: str
    place: str
    draw: str
    settings: str
    images: int
    left_out: int
    traits: Traits

    @property
    def shots_drawn(self) -> str:
        """What stands for the shots alone; "" for a run that saw none."""
        return self.draw.partition("-")[0]


def what_of(home: Home, set_id: str, jobs: Mapping[str, JobSpec]) -> What:
    """The part of a record that says what is run: by these jobs, on a set that is kept in `home`."""
    return _what(read_frame(home, set_id), {stage: spec.model_dump(mode="json") for stage, spec in jobs.items()})


def facts(home: Home, record: Record) -> RunFacts:
    """What `record` is of.

    Raises one of UNTOLD when that can't be told: it is damaged, or old and its set or jobs are gone.
    """
    jobs, recipe = record["jobs"], record["recipe"]
    what = record.get("what") or what_on_disk(home, record)
    stages: dict[str, dict[str, Any]] = what["stages"]
    values = {stage: _values(stage, recipe[stage]) for stage in stages}
    left_out = what["left_out"]
    key = {
        "method": record["method"],
        "data": record["data"],
        "shots": record["shots"],
        "frame": what["frame"],
        "left_out": bool(left_out["count"]),
        "stages": stages_key(stages, recipe),
    }
    split = values["classify"]["evaluate"]
    overrides = label({name: value for name, value in overridden(recipe).items() if name.partition(".")[0] in values})
    count = int(left_out["count"])
    images = recipe["generate"]["images_per_class"] * what["classes"] - count if "generate" in stages else 0
    if "select" in jobs:  # what it left out is known once it is made
        with suppress(UserError):
            origin = read_manifest(home, TABLE["select"].makes, str(jobs["select"]))["origin"]
            images = origin.get("kept", images)
    return RunFacts(
        id=str(record["id"]),
        created=str(record["created"]),
        method=str(record["method"]),
        data=str(record["data"]),
        shots=int(record["shots"]),
        seed=int(record["seed"]),
        source=str(record["source"]),
        backbone=str(record["backbone"]),
        split=str(split),
        set_id=str(record["set"]),
        classifier_id=str(jobs["classify"]),
        key=short_id(key),
        place=short_id([what["frame"], _identity(stages["classify"].get("model")), split]),
        draw=_draw(record["data"], stages, what["draw"], left_out),
        settings=settings_text(overrides, count),
        images=int(images),
        left_out=count,
        traits=Traits(
            overrides,
            {f"{stage}.{name}": value_text(value) for stage, part in values.items() for name, value in part.items()},
            {MODELS[stage]: _named(part["model"]) for stage, part in stages.items() if part.get("model")},
            {**what["set"], "frame": what["frame"]},
        ),
    )


def settings_text(overrides: str, left_out: int) -> str:
    """`generate.guidance_scale=3.0 without 2 marked`, "" for a recipe as shipped."""
    return f"{overrides} without {left_out:,} marked".strip() if left_out else overrides


def what_on_disk(home: Home, record: Record) -> What:
    """The same for a record that doesn't say, from the specs of its jobs and its set."""
    frame = read_frame(home, str(record["set"]))
    return _what(frame, {stage: _spec(home, stage, str(job)) for stage, job in record["jobs"].items()})


def _what(frame: Frame, specs: Mapping[str, Mapping[str, Any]]) -> What:
    excluded = [name for spec in specs.values() for name in spec.get("excluded") or ()]
    return {
        "frame": frame.id,
        "draw": frame.draw,
        "classes": frame.classes,
        "set": dict(frame.traits),
        "left_out": {"count": len(excluded), "images": digest(excluded)[:ID_LENGTH] if excluded else ""},
        "stages": {
            stage: {"model": spec.get("model"), **{name: spec[name] for name in spec if name not in APART}}
            for stage, spec in specs.items()
        },
    }


def stages_key(parts: Mapping[str, Mapping[str, Any]], recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Of each stage all that counts: values, model by its contents, and whatever else its spec says."""
    return {
        stage: {
            "settings": _values(stage, recipe[stage]),
            "model": _identity(part.get("model")),
            "rest": _counting(part),
        }
        for stage, part in parts.items()
    }


def _spec(home: Home, stage: str, job_id: str) -> dict[str, Any]:
    """A job's spec, from its folder or from what it made."""
    found = read_dict(home.files(job_id).spec)
    if found is None:
        kind = TABLE[stage].makes
        found = read_manifest(home, kind, job_id).get("spec")
    if not isinstance(found, dict):
        raise UserError(f"the spec of {stage} job {job_id} is missing", at=home.job(job_id), hint="run it again")
    return found


def _values(stage: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as their stage reads them: 2 and 2.0 are one, and what isn't named has its default."""
    try:
        return TABLE[stage].settings.model_validate(settings).model_dump(mode="json")
    except ValidationError:  # of another version
        return {name: float(value) if type(value) is int else value for name, value in settings.items()}


def overridden(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recorded recipe's overrides by `section.key`, with the values that were used, however they were typed."""
    found = {}
    for name, typed in (recipe.get("overrides") or {}).items():
        section, _, key = name.partition(".")
        if recipe.get(section):
            found[name] = _values(section, recipe[section]).get(key, typed)
    return found


def _identity(model: Any) -> Any:
    try:
        return ModelRef.model_validate(model).identity
    except ValidationError:
        return {name: value for name, value in model.items() if name != "location"} if isinstance(model, dict) else None


def _named(model: Any) -> str:
    """`3fa2c1d0 runA/final`, or `ORG/NAME@1a2b3c4d` of a hub model."""
    if not isinstance(model, dict):
        return ""
    location = str(model.get("location", ""))
    if found := model.get("digest"):
        return f"{str(found)[:ID_LENGTH]} {'/'.join(location.rstrip('/').split('/')[-2:])}"
    revision = model.get("revision")
    return f"{location}@{str(revision)[:ID_LENGTH]}" if revision else location


def _counting(part: Mapping[str, Any]) -> dict[str, Any]:
    """What else a spec says, but for what says nothing."""
    return {name: value for name, value in part.items() if name not in APART and value not in (None, "", [], {}, False)}


def _draw(data: str, stages: Mapping[str, Any], shots: str, left_out: Mapping[str, Any]) -> str:
    seen = "adapt" in stages or "real" in data.split("+")
    return "-".join([shots if seen else "", str(left_out["images"])]) if left_out["count"] else shots if seen else ""
