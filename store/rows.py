"""From folders to the registry's rows. Each reads one thing; ValueError or Unreadable when it can't."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from datadream import records
from datadream.errors import UserError
from datadream.home import outlook, state
from datadream.home.causes import Why
from datadream.home.events import metrics
from datadream.home.experiments import read_experiment
from datadream.home.facts import UNTOLD, facts
from datadream.home.labels import read_labels
from datadream.home.layout import Home
from datadream.home.lines import Tail
from datadream.home.marks import read_marks
from datadream.home.runs import read_record
from datadream.home.sets import load_set, read_name, source_label
from datadream.home.whole import read_manifest, what_is_wrong
from store.tables import (
    AdapterRow,
    Artifact,
    ClassifierRow,
    Experiment,
    ExperimentRun,
    Job,
    JobInput,
    Lineage,
    Note,
    Run,
    SetName,
    ShotSetRow,
    SyntheticRow,
    Tag,
    Trait,
    Transition,
)

Row = Any


def artifact_rows(home: Home, kind: str, artifact_id: str) -> list[Row]:
    """An artifact's own rows and its lineage."""
    folder = home.path / "artifacts" / kind / artifact_id
    manifest = read_manifest(folder)
    if manifest is None:
        raise records.Unreadable(folder / "manifest.json", "is gone")
    if wrong := what_is_wrong(manifest, kind, artifact_id):
        raise ValueError(f"its manifest {wrong}")
    spec, files, origin = manifest["spec"], manifest["files"], manifest["origin"]
    rows: list[Row] = [
        Artifact(
            id=artifact_id,
            kind=kind,
            created=str(origin.get("created", "")),
            bytes=sum(entry["size"] for entry in files.values()),
            files=len(files),
            content=str(manifest.get("content", "")),
            seed=spec.get("seed"),
            model=_model(spec),
            seconds=origin.get("seconds"),
            device=str(origin.get("device", "")),
            version=str(origin.get("version", "")),
            job=str(origin.get("job", "")),
            spec=spec,
        )
    ]
    inputs = {str(role): str(parent) for role, parent in (spec.get("inputs") or {}).items()}
    rows += [Lineage(child=artifact_id, role=role, parent=parent) for role, parent in sorted(inputs.items())]
    make = {"set": _set, "adapter": _adapter, "synthetic": _synthetic, "classifier": _classifier}.get(kind)
    try:
        return rows + ([make(home, artifact_id, spec, origin, inputs)] if make else [])
    except records.Unreadable:
        raise
    except UserError as error:
        raise ValueError(error.message) from error


def _set(home: Home, artifact_id: str, spec: dict[str, Any], origin: dict[str, Any], inputs: dict[str, str]) -> Row:
    shots = load_set(home, artifact_id)
    return ShotSetRow(
        id=artifact_id,
        source=source_label(shots),
        shots=shots.shots,
        seed=shots.seed,
        split_seed=shots.split_seed,
        num_classes=len(shots.classes),
        train=len(shots.train),
        val=len(shots.val),
        test=len(shots.test),
    )


def _adapter(home: Home, artifact_id: str, spec: dict[str, Any], origin: dict[str, Any], inputs: dict[str, str]) -> Row:
    settings = _part(spec, "settings")
    return AdapterRow(
        id=artifact_id,
        set_id=inputs["set"],
        per=str(settings["per"]),
        rank=int(settings["rank"]),
        steps=settings.get("steps"),
    )


def _synthetic(
    home: Home, artifact_id: str, spec: dict[str, Any], origin: dict[str, Any], inputs: dict[str, str]
) -> Row:
    settings = _part(spec, "settings")
    return SyntheticRow(
        id=artifact_id,
        adapter_id=inputs.get("adapter"),
        images_per_class=int(settings["images_per_class"]),
        num_classes=len(spec["classes"]),
        guidance_scale=float(settings["guidance_scale"]),
        num_inference_steps=int(settings["num_inference_steps"]),
    )


def _classifier(
    home: Home, artifact_id: str, spec: dict[str, Any], origin: dict[str, Any], inputs: dict[str, str]
) -> Row:
    from datadream.home.evidence import check_classifier

    scores = check_classifier(home, artifact_id).scores
    return ClassifierRow(
        id=artifact_id,
        set_id=inputs["set"],
        synthetic_id=inputs.get("synthetic"),
        data=str(spec["data"]),
        split=str(scores["split"]),
        correct=int(scores["correct"]),
        total=int(scores["n"]),
        steps=int(origin.get("steps", 0)),
        image_passes=int(origin.get("image_passes", 0)),
    )


def run_rows(home: Home, run_id: str) -> list[Row]:
    """A run's record, and in words what is run; its accuracy is filled in from its classifier.

    A run of which can't be told what was run is listed, but takes no part in a comparison.
    """
    from datadream.home.evidence import check_links, check_record

    record = read_record(home.run(run_id))
    try:
        check_record(record, run_id)
        if home.has("classifier", str(record["jobs"]["classify"])):
            check_links(home, record)
    except records.Unreadable:
        raise
    except UserError as error:
        raise ValueError(error.message) from error
    jobs = record["jobs"]
    row = Run(
        id=run_id,
        method=record["method"],
        settings=record["settings"],
        data=record["data"],
        source=record["source"],
        shots=record["shots"],
        seed=record["seed"],
        split_seed=record["split_seed"],
        backbone=record["backbone"],
        created=record["created"],
        set_id=record["set"],
        classifier_id=jobs["classify"],
        synthetic_id=jobs.get("generate"),
        adapter_id=jobs.get("adapt"),
    )
    try:
        found = facts(home, {**record, "id": run_id})
    except UNTOLD:
        return [row]
    row.row_key, row.place, row.draw = found.key, found.place, found.draw
    row.settings, row.images, row.left_out = found.settings, found.images, found.left_out
    row.traits = found.traits.id
    return [row, Trait(id=row.traits, content=found.traits.to_json())]


def job_rows(home: Home, job_id: str, held: Why | None = None) -> list[Row]:
    """A job's rows, its own first, but for its metrics; `held` is why nothing starts at all, looked up when None."""
    try:
        spec, status = state.look(home, job_id, held)
        if status.state == "queued" and not status.reason:
            status = state.because(status, outlook.no_room(home, spec.kind, spec.model))
    except UserError as error:
        raise ValueError(error.message) from error
    rows: list[Row] = [
        Job(**{name: getattr(status, name) for name in Job.model_fields if name != "bad_lines"}),
        *(JobInput(job=job_id, role=role, parent=parent) for role, parent in sorted(spec.inputs.items())),
        *(JobInput(job=job_id, role="shard", parent=shard) for shard in state.read_request(home, job_id).shards),
    ]
    seen = set()
    for line in state.history(home.job(job_id)):
        if line["seq"] not in seen:
            seen.add(line["seq"])
            words = {name: line[name] for name in ("at", "state", "reason", "attempt")}
            rows.append(Transition(job=job_id, seq=line["seq"], **words))
    return rows


def metric_points(home: Home, job_id: str, offset: int) -> tuple[dict[tuple[str, int], float], int, int]:
    """The next points told since `offset` bytes, how many lines there were unreadable, and the new offset."""
    tail = Tail(home.files(job_id).events, offset)
    points: dict[tuple[str, int], float] = {}
    events, bad = tail.records_and_bad()
    for event in events:
        step, values = metrics(event) or (0, {})
        points |= {(name, step): value for name, value in values.items() if math.isfinite(value)}
    return points, bad, tail.offset


def name_rows(home: Home, path: Path) -> list[Row]:
    """A user's name for a set."""
    found = read_name(path)
    return [SetName(name=found["name"], set_id=found["id"])] if found is not None else []


def label_rows(home: Home, path: Path) -> list[Row]:
    """Tags and a note."""
    labels = read_labels(home, path.stem)
    rows: list[Row] = [Tag(subject=path.stem, label=word) for word in sorted(set(labels.tags))]
    return rows + ([Note(subject=path.stem, text=labels.note, updated=labels.updated)] if labels.note else [])


def experiment_rows(home: Home, path: Path) -> list[Row]:
    """A named grid of runs."""
    found = read_experiment(home, path.stem)
    if found is None:
        return []
    rows: list[Row] = [Experiment(id=found.id, name=found.name, created=found.created)]
    return rows + [ExperimentRun(experiment=found.id, run=run) for run in found.runs]


def mark_rows(home: Home, path: Path) -> list[Row]:
    """None: marks are read where they lie. But damaged ones are a problem to be listed."""
    read_marks(home, path.stem)
    return []


def _model(spec: dict[str, Any]) -> str:
    model = spec.get("model")
    return str(model.get("location", "")) if isinstance(model, dict) else ""


def _read(path: Path, shape: records.Shape | None = None) -> dict[str, Any]:
    """The record. Raises Unreadable, also when there is none."""
    found = records.read(path, shape)
    if found is None:
        raise records.Unreadable(path, "is gone")
    return found


def _part(value: dict[str, Any], name: str) -> dict[str, Any]:
    part = value.get(name)
    if not isinstance(part, dict):
        raise ValueError(f"has no {name}")
    return part
