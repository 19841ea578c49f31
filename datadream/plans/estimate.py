"""How long a plan may take and how much disk, judged by what this home made before; else unknown.

A job's work is counted in image passes through its model, so that jobs of other sizes can be compared: seconds a pass
are the median over past jobs of the same stage and model, on the same kind of device, that are at least a tenth and at
most ten times as large. What waits in the queue before the plan isn't counted.
"""

from __future__ import annotations

import functools
import heapq
import json
import os
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datadream import durable, records
from datadream.errors import UserError
from datadream.home import queue, state
from datadream.home.artifacts import read_manifest
from datadream.home.layout import Home
from datadream.home.spec import JobSpec
from datadream.models.presets import ModelRef
from datadream.plans.ask import Plan
from datadream.plans.enqueue import bytes_needed
from datadream.stages.table import TABLE, Amount, Stage
from datadream.text import counted
from datadream.text import size as size_text

LISTED_MAX = 5000  # entries of a kind's folder that are looked at
READ_MAX = 60  # newest manifests of a kind that are read
TIMES = 10  # how much smaller or larger a past job may be


@dataclass(frozen=True)
class Size:
    """What a set holds: classes, shots a class, and the images in val and test."""

    classes: int
    shots: int
    val: int
    test: int


@dataclass(frozen=True)
class Past:
    """A finished artifact: what made it, how much work that was, and what it takes."""

    stage: str
    model: str
    shape: str
    on_cpu: bool
    work: float
    seconds: float
    bytes: int
    images: int


@dataclass(frozen=True)
class Estimate:
    """`seconds` until the last job ends, None while one is `unknown`; `known` what the others take.

    `bytes` is a bound from above where `at_most`; `unsized` jobs, of which nothing like it was made, aren't in it.
    `room` is what must be free before the plan may be submitted.
    """

    stages: dict[str, int]
    seconds: float | None
    known: float
    unknown: int
    slots: int
    bytes: int
    at_most: bool
    unsized: int
    room: int

    def time_text(self) -> str:
        """A line for people."""
        jobs = sum(self.stages.values())
        if not jobs:
            return "none: all results already exist"
        where = f"on {counted(self.slots, 'slot')}"
        if self.seconds is not None:
            return f"about {_duration(self.seconds)} {where}, from past jobs of this home"
        if self.unknown == jobs:
            return "unknown: no similar past jobs in this home"
        return f"unknown for {self.unknown} of {jobs} jobs; others about {_duration(self.known)} {where}"

    def disk_text(self) -> str:
        """A line for people."""
        if not sum(self.stages.values()):
            return "none"
        if self.unsized == sum(self.stages.values()):
            return "unknown: no similar past jobs in this home"
        text = f"{'at most' if self.at_most else 'about'} {size_text(self.bytes)}"
        return text + (f", excluding {counted(self.unsized, 'job')} of unknown size" if self.unsized else "")


def estimate(home: Home, plan: Plan) -> Estimate:
    """What `plan` may take. Reads at most READ_MAX manifests of each kind."""
    sizes = {entry.id: _size_of(entry.shots) for entry in plan.sets}
    of_set = {spec.id: run.set.id for run in plan.runs for spec in run.jobs.values()}
    settings = queue.read_settings(home)
    slots = queue.slots(settings)
    local = plan.request.launcher == "local"
    pasts = [past for stage in {spec.stage for spec in plan.missing} for past in _pasts(home, stage)]
    wholes = {part: whole for whole, parts in plan.shards.items() for part in parts}
    asked = []
    for spec in plan.missing:
        asked.append((spec, sizes[of_set[wholes.get(spec.id, spec.id)]]))
    times: dict[str, float | None] = {}
    total, at_most, unsized = 0, False, 0
    for spec, size in asked:
        alike = [past for past in pasts if past.stage == spec.stage and past.model == _model(spec.model)]
        work = _work(spec, size, {})
        near = [past for past in alike if past.work and work / TIMES <= past.work <= work * TIMES]
        near = [past for past in near if not local or past.on_cpu == slots[0].startswith("cpu")]
        times[spec.id] = statistics.median(past.seconds / past.work for past in near) * work if near else None
        shaped = [past for past in alike if past.shape == _shape(spec)]
        count = _images(spec, size.classes) or 1
        if shaped:
            total += round(statistics.median(past.bytes / (past.images or 1) for past in shaped) * count)
        elif TABLE[spec.stage].draws and spec.shard is None:
            total, at_most = total + bytes_needed(spec), True
        elif spec.shard is None:
            unsized += 1
    unknown = sum(value is None for value in times.values())
    shards = {spec.id: [part for part in plan.shards.get(spec.id, ()) if part in times] for spec, _ in asked}
    for whole, parts in shards.items():
        if parts:  # the whole only gathers what its parts drew
            times[whole] = 0.0 if times[whole] is not None else None
    known = _last_end([spec for spec, _ in asked], times, shards, len(slots))
    return Estimate(
        stages=dict(Counter(spec.stage for spec in plan.missing)),
        seconds=None if unknown else known,
        known=known,
        unknown=unknown,
        slots=len(slots),
        bytes=total,
        at_most=at_most,
        unsized=unsized,
        room=sum(bytes_needed(spec) for spec in plan.missing),
    )


def _last_end(
    specs: Sequence[JobSpec], times: Mapping[str, float | None], shards: Mapping[str, Sequence[str]], slots: int
) -> float:
    """When the last job ends if each takes the first free slot once its inputs are there."""
    free = [0.0] * slots
    ends: dict[str, float] = {}
    for spec in specs:
        ready = max(
            (ends.get(parent, 0.0) for parent in (*spec.inputs.values(), *shards.get(spec.id, ()))), default=0.0
        )
        ends[spec.id] = max(heapq.heappop(free), ready) + (times[spec.id] or 0.0)
        heapq.heappush(free, ends[spec.id])
    return max(ends.values(), default=0.0)


def _work(spec: JobSpec, size: Size, origin: Mapping[str, Any]) -> float:
    """Image passes forward through the model; a training step counts BACKWARD more."""
    steps = int(origin["steps"]) if "steps" in origin else None
    trains = spec.data != "none"
    amount = Amount(size.classes, size.shots, size.val, size.test, _images(spec, size.classes), trains, steps)
    return TABLE[spec.stage].work(spec.parsed(), amount)


def _images(spec: JobSpec, classes: int) -> int:
    """Synthetic images it draws, or chooses among."""
    count = spec.settings.get("images_per_class") if TABLE[spec.stage].draws else spec.images_per_class
    whole = classes * int(count or 0)
    return whole if spec.shard is None else -(-whole // spec.shard[1])


def _shape(spec: JobSpec) -> str:
    """What an artifact's size hangs on, besides its model and its images."""
    names = ("per", "rank", "targets", "text_encoder")
    parts = {name: spec.settings[name] for name in names if name in spec.settings}
    return json.dumps([parts, spec.stage != "classify" or spec.data != "none", spec.shard is None], sort_keys=True)


def _model(model: ModelRef | None) -> str:
    return json.dumps(model.identity if model else None, sort_keys=True)


def _size_of(shots: Any) -> Size:
    return Size(len(shots.classes), shots.shots, len(shots.val), len(shots.test))


def _pasts(home: Home, stage: Stage) -> list[Past]:
    """The newest artifacts of a stage that can be read."""
    folder = home.path / "artifacts" / TABLE[stage].makes
    entries = []
    try:
        with os.scandir(folder) as listing:
            for entry in listing:
                if state.is_id(entry.name):
                    entries.append((durable.changed_at(Path(entry.path)), entry.name))
                if len(entries) == LISTED_MAX:
                    break
    except OSError:
        return []
    found = [_past(stage, folder / name, mtime, home) for mtime, name in heapq.nlargest(READ_MAX, entries)]
    return [past for past in found if past is not None]


@functools.lru_cache(maxsize=1024)
def _past(stage: Stage, folder: Path, mtime: int, home: Home) -> Past | None:
    """An artifact as an example; None when it can't serve as one."""
    try:
        manifest = read_manifest(home, TABLE[stage].makes, folder.name)
        spec, origin = JobSpec.model_validate(manifest["spec"]), manifest["origin"]
        size = _set_size(home, spec.inputs["set"]) if "set" in spec.inputs else Size(len(spec.classes), 0, 0, 0)
        return Past(
            stage=spec.stage,
            model=_model(spec.model),
            shape=_shape(spec),
            on_cpu=origin.get("device", "cpu") == "cpu",
            work=_work(spec, size, origin),
            seconds=float(origin["seconds"]),
            bytes=sum(int(entry["size"]) for entry in manifest["files"].values()),
            images=_images(spec, size.classes),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, UserError):
        return None


@functools.lru_cache(maxsize=256)
def _set_size(home: Home, set_id: str) -> Size:
    shape: records.Shape = {"classes": list, "shots": int, "val": list, "test": list}
    found = records.read(home.artifact("set", set_id) / "set.json", shape, records.LISTS_BYTES)
    if found is None:
        raise UserError(f"no set {set_id}", at=home.path)
    return Size(len(found["classes"]), found["shots"], len(found["val"]), len(found["test"]))


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} min"
    return f"{seconds / 3600:.1f} h"
