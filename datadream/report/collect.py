"""From a home's records to what a table is made of: which images each run got right, and what it cost."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection
from pathlib import Path
from typing import Any

from datadream import durable
from datadream.canonical import digest
from datadream.errors import UserError
from datadream.jobs.artifacts import read_manifest
from datadream.jobs.home import Home
from datadream.jobs.plan import read_records, stage_origin
from datadream.records import Unreadable, read
from datadream.report.rows import Run


def collect(home: Home, only: Collection[str] | None = None, unreadable: list[Unreadable] | None = None) -> list[Run]:
    """Every recorded run (or those with ids in `only`), oldest first.

    Runs of one method whose resolved settings differ (another version of a recipe) get different `settings_id`s.
    One whose record, scores or predictions can't be read is left out, and added to `unreadable`.
    """
    bad = [] if unreadable is None else unreadable
    records = [record for record in read_records(home, bad) if only is None or record["id"] in only]
    variants: dict[tuple[str, str, str], list[str]] = {}
    for record in records:
        known = variants.setdefault(_method(record), [])
        content = _content(record)
        if content not in known:
            known.append(content)
    found = [_readable(home, record, variants[_method(record)], bad) for record in records]
    return [run for run in found if run is not None]


def _readable(home: Home, record: dict[str, Any], variants: list[str], bad: list[Unreadable]) -> Run | None:
    """The run, or None when something it is read from holds what it can't."""
    try:
        return _run(home, record, variants)
    except Unreadable as error:
        bad.append(error)
    except UserError as error:
        bad.append(Unreadable(Path(error.at or home.run(record["id"])), error.message))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        bad.append(Unreadable(home.run(record["id"]), f"leads to what can't be read: {error}"))
    return None


def _method(record: dict[str, Any]) -> tuple[str, str, str]:
    return record["method"], record["settings"], record["backbone"]


def _content(record: dict[str, Any]) -> str:
    return digest({key: record["recipe"][key] for key in ("adapt", "generate", "classify")})[:8]


def _run(home: Home, record: dict[str, Any], variants: list[str]) -> Run:
    jobs: dict[str, str] = record["jobs"]
    folder = home.artifact("classifier", jobs["classify"])
    keys, correct = read_predictions(folder / "predictions.csv")
    scores = read_scores(folder)
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


def read_scores(folder: Path) -> dict[str, Any]:
    """A classifier's `scores.json`: the split, and correct and total of each class. Raises Unreadable."""
    path = folder / "scores.json"
    scores = read(path, {"split": str, "n": int, "correct": int, "per_class": list})
    if scores is None:
        raise Unreadable(path, "is gone", hint="remove its folder and run again")
    for entry in scores["per_class"]:
        if not (isinstance(entry, list) and len(entry) == 2 and all(type(count) is int for count in entry)):
            raise Unreadable(path, "has a class without its two counts", hint="remove its folder and run again")
    return scores


def read_predictions(path: Path) -> tuple[tuple[str, ...], tuple[bool, ...]]:
    """Image keys of a `predictions.csv`, and whether each was right. Raises Unreadable for any other file."""
    again = "remove its folder and run again"
    try:
        rows = list(csv.DictReader(io.StringIO(durable.read_bytes(path).decode("utf-8"), newline="")))
    except FileNotFoundError as error:
        raise Unreadable(path, "is gone", again) from error
    except OSError as error:
        raise Unreadable(path, f"can't be opened: {error.strerror}", hint=again) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise Unreadable(path, "is not a table of predictions", hint=again) from error
    cells = [(row.get("key"), row.get("label"), row.get("prediction")) for row in rows]
    if not cells or not all(all(line) for line in cells) or len({key for key, _, _ in cells}) < len(cells):
        raise Unreadable(path, "is not a table of predictions, one a line of an image", hint=again)
    return tuple(str(key) for key, _, _ in cells), tuple(label == prediction for _, label, prediction in cells)
