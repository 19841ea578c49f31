"""From folders to the registry's rows. Each function reads one thing and raises ValueError when it can't."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from datadream import durable
from datadream.canonical import short_id
from datadream.errors import UserError
from datadream.jobs import state
from datadream.jobs.artifacts import what_is_wrong
from datadream.jobs.events import Tail, metrics
from datadream.jobs.facts import UNTOLD, facts
from datadream.jobs.home import Home
from datadream.jobs.labels import read_labels
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
    manifest = _read(folder / "manifest.json")
    spec, files, origin = _part(manifest, "spec"), _part(manifest, "files"), _part(manifest, "origin")
    if wrong := what_is_wrong(manifest, kind, artifact_id):
        raise ValueError(f"its manifest {wrong}")
    rows: list[Row] = [
        Artifact(
            id=artifact_id,
            kind=kind,
            created=str(origin.get("created", "")),
            bytes=sum(int(entry["size"]) for entry in files.values()),
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
    except UserError as error:
        raise ValueError(error.message) from error


def _set(home: Home, artifact_id: str, spec: dict[str, Any], origin: dict[str, Any], inputs: dict[str, str]) -> Row:
    from datadream.jobs.sets import load_set, source_label

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
    from datadream.jobs.evidence import check_classifier

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
    from datadream.jobs.evidence import check_links, check_record

    record = _read(home.run(run_id))
    try:
        check_record(record, run_id)
        if home.has("classifier", str(record["jobs"]["classify"])):
            check_links(home, record)
    except UserError as error:
        raise ValueError(error.message) from error
    jobs = _part(record, "jobs")
    row = Run(
        id=run_id,
        method=str(record["method"]),
        settings=str(record["settings"]),
        data=str(record["data"]),
        source=str(record["source"]),
        shots=int(record["shots"]),
        seed=int(record["seed"]),
        split_seed=int(record["split_seed"]),
        backbone=str(record["backbone"]),
        created=str(record["created"]),
        set_id=str(record["set"]),
        classifier_id=str(jobs["classify"]),
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


def job_rows(home: Home, job_id: str) -> tuple[list[Row], bool]:
    """A job's rows but its metrics, and whether it is over."""
    try:
        spec, status = state.read_spec(home, job_id), state.derive(home, job_id)
    except UserError as error:
        raise ValueError(error.message) from error
    rows: list[Row] = [
        Job(**{name: getattr(status, name) for name in Job.model_fields if name != "bad_lines"}),
        *(JobInput(job=job_id, role=role, parent=parent) for role, parent in sorted(spec.inputs.items())),
    ]
    seen = set()
    for line in state.history(home.job(job_id)):
        if line["seq"] not in seen:
            seen.add(line["seq"])
            words = {name: str(line.get(name, "")) for name in ("at", "state", "reason")}
            rows.append(Transition(job=job_id, seq=line["seq"], attempt=int(line.get("attempt", 0)), **words))
    return rows, status.final


def metric_points(home: Home, job_id: str, offset: int) -> tuple[dict[tuple[str, int], float], int, int]:
    """Points told since `offset` bytes, how many lines there were unreadable, and the new offset."""
    tail = Tail(home.job(job_id) / "events.jsonl", offset)
    points: dict[tuple[str, int], float] = {}
    records, bad = tail.records_and_bad()
    for event in records:
        step, values = metrics(event) or (0, {})
        points |= {(name, step): value for name, value in values.items() if math.isfinite(value)}
    return points, bad, tail.offset


def name_rows(home: Home, path: Path) -> list[Row]:
    """A user's name for a set."""
    found = _read(path)
    if path.stem != short_id(str(found["name"])):
        raise ValueError("it is called by another name than it holds")
    return [SetName(name=str(found["name"]), set_id=str(found["id"]))]


def label_rows(home: Home, path: Path) -> list[Row]:
    """Tags and a note."""
    _read(path)
    labels = read_labels(home, path.stem)
    rows: list[Row] = [Tag(subject=path.stem, label=word) for word in sorted(set(labels.tags))]
    return rows + ([Note(subject=path.stem, text=labels.note, updated=labels.updated)] if labels.note else [])


def experiment_rows(home: Home, path: Path) -> list[Row]:
    """A named grid of runs."""
    found = _read(path)
    if not isinstance(found["runs"], list):
        raise ValueError("its runs are no list")
    rows: list[Row] = [Experiment(id=path.stem, name=str(found["name"]), created=str(found["created"]))]
    return rows + [ExperimentRun(experiment=path.stem, run=run) for run in dict.fromkeys(map(str, found["runs"]))]


def _model(spec: dict[str, Any]) -> str:
    model = spec.get("model")
    return str(model.get("location", "")) if isinstance(model, dict) else ""


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(durable.read_bytes(path))
    except OSError as error:
        raise ValueError(error.strerror or "can't be read") from error
    if not isinstance(found, dict):
        raise ValueError("is no JSON object")
    return found


def _part(value: dict[str, Any], name: str) -> dict[str, Any]:
    part = value.get(name)
    if not isinstance(part, dict):
        raise ValueError(f"has no {name}")
    return part
