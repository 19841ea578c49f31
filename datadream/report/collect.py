"""From a home's records to what a table is made of: which images each run got right, and what it cost."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from datadream.canonical import digest
from datadream.errors import UserError
from datadream.jobs.artifacts import read_manifest
from datadream.jobs.evidence import check_run
from datadream.jobs.home import Home
from datadream.jobs.plan import read_records, stage_origin
from datadream.report.rows import Run
from datadream.text import shown

Notices = Callable[[str], None]


def to_stderr(text: str) -> None:
    """A line for who is at the terminal."""
    sys.stderr.write(f"{shown(text)}\n")


def collect(home: Home, only: Collection[str] | None = None, notices: Notices = to_stderr) -> list[Run]:
    """Every recorded run (or those with ids in `only`), oldest first. One whose number doesn't verify is left out, and
    `notices` hears a sentence that names it.

    Runs of one method whose resolved settings differ (another version of a recipe) get different `settings_id`s.
    """
    records = [record for record in read_records(home) if only is None or record["id"] in only]
    variants: dict[tuple[str, str, str], list[str]] = {}
    for record in records:
        known = variants.setdefault(_method(record), [])
        content = _content(record)
        if content not in known:
            known.append(content)
    runs = []
    for record in records:
        try:
            runs.append(_run(home, record, variants[_method(record)]))
        except UserError as error:
            notices(f"the run {record['id'][:8]} ({record['method']} {record['data']}) is left out: {error}")
    return runs


def _method(record: dict[str, Any]) -> tuple[str, str, str]:
    return record["method"], record["settings"], record["backbone"]


def _content(record: dict[str, Any]) -> str:
    return digest({key: record["recipe"][key] for key in ("adapt", "generate", "classify")})[:8]


def _run(home: Home, record: dict[str, Any], variants: list[str]) -> Run:
    jobs: dict[str, str] = record["jobs"]
    answers = check_run(home, record)
    keys, correct, scores = answers.keys, answers.correct, answers.scores
    origins = {stage: stage_origin(home, stage, artifact_id) for stage, artifact_id in jobs.items()}
    seconds = {stage: float(origin["seconds"]) for stage, origin in origins.items()}
    generate = record["recipe"]["generate"] if "generate" in jobs else None
    settings = record["settings"]
    if len(variants) > 1:
        settings = f"{settings} @{_content(record)}".strip()
    return Run(
        method=record["method"],
        data=record["data"],
        shots=record["shots"],
        seed=record["seed"],
        source=record["source"],
        backbone=record["backbone"],
        split=scores["split"],
        keys=keys,
        correct=correct,
        seconds=round(sum(seconds.values()), 2),
        images=generate["images_per_class"] * len(scores["per_class"]) - _left_out(home, record) if generate else 0,
        stage_seconds=seconds,
        steps=origins["classify"].get("steps", 0),
        image_passes=origins["classify"].get("image_passes", 0),
        run_id=record["id"],
        settings_id=settings,
    )


def _left_out(home: Home, record: dict[str, Any]) -> int:
    """How many synthetic images the classifier didn't see because they were marked as bad."""
    if " marked" not in record["settings"]:
        return 0
    return len(read_manifest(home, "classifier", record["jobs"]["classify"])["spec"].get("excluded", ()))


def read_predictions(path: Path) -> tuple[tuple[str, ...], tuple[bool, ...]]:
    """Image keys of a `predictions.csv`, and whether each was right."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise UserError(
            "a classifier's predictions are gone", at=path, hint="remove its folder and run again"
        ) from error
    return tuple(row["key"] for row in rows), tuple(row["label"] == row["prediction"] for row in rows)
