"""From folders to the registry's rows. Each function reads one thing and raises ValueError when it can't."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from datadream import durable
from datadream.canonical import short_id
from datadream.errors import UserError
from datadream.jobs import state
from datadream.jobs.home import Home
from datadream.jobs.labels import read_labels
from datadream.jobs.lines import Tail
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
    Transition,
)

NOT_METRICS = {"step", "seq", "attempt", "seconds", "next"}
Row = Any
LONG = 1 << 62


def artifact_rows(home: Home, kind: str, artifact_id: str) -> list[Row]:
    """An artifact's own rows and its lineage."""
    folder = home.path / "artifacts" / kind / artifact_id
    manifest = _read(folder / "manifest.json")
    spec, files, origin = _part(manifest, "spec"), _part(manifest, "files"), _part(manifest, "origin")
    if manifest.get("id") != artifact_id or manifest.get("kind") != kind:
        raise ValueError("its manifest is another's")
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
    return rows + ([make(folder, artifact_id, spec, origin, inputs)] if make else [])


def _set(folder: Path, artifact_id: str, spec: dict[str, Any], origin: dict[str, Any], inputs: dict[str, str]) -> Row:
    from datadream.data.shots import ShotSet
    from datadream.jobs.sets import source_label

    try:
        shots = ShotSet.parse(durable.read_bytes(folder / "set.json"))
    except UserError as error:
        raise ValueError(str(error)) from error
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


def _adapter(
    folder: Path, artifact_id: str, spec: dict[str, Any], origin: dict[str, Any], inputs: dict[str, str]
) -> Row:
    settings = _part(spec, "settings")
    return AdapterRow(
        id=artifact_id,
        set_id=inputs["set"],
        per=str(settings["per"]),
        rank=int(settings["rank"]),
        steps=settings.get("steps"),
    )


def _synthetic(
    folder: Path, artifact_id: str, spec: dict[str, Any], origin: dict[str, Any], inputs: dict[str, str]
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
    folder: Path, artifact_id: str, spec: dict[str, Any], origin: dict[str, Any], inputs: dict[str, str]
) -> Row:
    scores = _read(folder / "scores.json")
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
    """A run's record; its accuracy is filled in from its classifier."""
    record = _read(home.run(run_id))
    jobs = _part(record, "jobs")
    return [
        Run(
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
    ]


def job_rows(home: Home, job_id: str, held: str | None = None) -> list[Row]:
    """A job's rows, its own first, but for its metrics; `held` is why nothing starts at all, looked up when None."""
    try:
        spec, status = state.look(home, job_id, held)
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
    return rows


def metric_points(home: Home, job_id: str, offset: int) -> tuple[dict[tuple[str, int], float], int, int]:
    """The next points told since `offset` bytes, how many lines there were unreadable, and the new offset."""
    tail = Tail(home.job(job_id) / "events.jsonl", offset)
    points: dict[tuple[str, int], float] = {}
    records, bad = tail.records_and_bad()
    for event in records:
        step = event.get("step")
        if event.get("kind") != "metric" or not isinstance(step, int) or not 0 <= step < LONG:
            continue
        for name, value in event.items():
            if name not in NOT_METRICS and isinstance(value, int | float) and not isinstance(value, bool):
                points[name, step] = float(value)
    return points, bad, tail.offset


def name_rows(home: Home, path: Path) -> list[Row]:
    """A user's name for a set."""
    found = _read(path)
    if path.stem != short_id(str(found["name"])):
        raise ValueError("it is called by another name than it holds")
    return [SetName(name=str(found["name"]), set_id=str(found["id"]))]


def label_rows(home: Home, path: Path) -> list[Row]:
    """Tags and a note."""
    _read(path, durable.RECORD_BYTES)
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


def _read(path: Path, limit: int = durable.MOST_BYTES) -> dict[str, Any]:
    try:
        found = json.loads(durable.read_bytes(path, limit))
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
