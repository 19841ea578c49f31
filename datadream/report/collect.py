"""From a home's records, or from the registry's rows, to the runs that a table is made of, and to their answers."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datadream.errors import UserError
from datadream.home.evidence import check_run
from datadream.home.facts import UNTOLD, RunFacts, Traits, facts
from datadream.home.frames import places
from datadream.home.layout import Home
from datadream.home.runs import read_record, read_records, stage_origin
from datadream.records import Unreadable, read
from datadream.report.rows import STAGES, Run

NAMED = 5  # runs left out that are named, each with its reason


@dataclass(frozen=True)
class Answered:
    """Whether each image was right, in an order that is the same for all parts of equal `images`."""

    images: str
    correct: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Collected:
    """Runs with a number, oldest first, and in words those that had to be left out."""

    runs: list[Run]
    notes: list[str]


def collect(
    home: Home, only: Collection[str] | None = None, split: str | None = None, doubtful: Collection[str] = ()
) -> Collected:
    """Every recorded run of a home (or those with ids in `only`, of that split), from its folders.

    One whose number its evidence doesn't bear out is left out, and named in the notes; so is one in `doubtful`, which
    would be in `only` if its record could be believed.
    """
    runs: list[Run] = []
    bad: list[Unreadable] = []
    damaged = []
    for record in read_records(home, bad):
        meant = only is None or record["id"] in only
        if not meant and record["id"] not in doubtful:
            continue
        try:
            run = _run(home, record)
        except UserError as error:
            damaged.append(refused(record["id"], f"{record['method']} {record['data']}", str(error)))
            continue
        except UNTOLD as error:
            bad.append(Unreadable(home.run(record["id"]), f"refers to unreadable data: {error}"))
            continue
        if meant and (split is None or run.what.split == split):
            runs.append(run)
    return Collected(runs, _left_out(damaged, len({error.path for error in bad})))


def collected(
    found: Iterable[Mapping[str, Any]], bad: Iterable[tuple[str, str, str]] = (), lacking: int = 0
) -> Collected:
    """The same of what the registry's `comparison` found, `refused` named and `untold` counted."""
    return Collected([_indexed(row) for row in found], _left_out([refused(*each) for each in bad], lacking))


def refused(run_id: str, name: str, why: str) -> str:
    """What is to be said of a run whose evidence is no good; `name` is its method and data, as far as known."""
    return f"Excluded: run {run_id[:8]}{f' ({name})' if name else ''}: {why}"


def _left_out(named: list[str], lacking: int) -> list[str]:
    return [*named[:NAMED], *untold(lacking + len(named[NAMED:]))]


def untold(count: int) -> list[str]:
    """What is to be said of runs that have a number and can't be read."""
    if not count:
        return []
    what = "1 run whose record, set or results" if count == 1 else f"{count:,} runs whose records, sets or results"
    return [f"Excluded: {what} can't be read; see `datadream registry check`."]


def _run(home: Home, record: dict[str, Any]) -> Run:
    jobs: dict[str, str] = record["jobs"]
    checked = check_run(home, record)
    origins = {stage: stage_origin(home, stage, artifact_id) for stage, artifact_id in jobs.items()}
    return Run(
        what=facts(home, record),
        correct=sum(checked.correct),
        total=len(checked.correct),
        stage_seconds={stage: float(origin["seconds"]) for stage, origin in origins.items()},
        steps=origins["classify"].get("steps", 0),
        image_passes=origins["classify"].get("image_passes", 0),
    )


def _indexed(row: Mapping[str, Any]) -> Run:
    same = ("id", "created", "method", "data", "shots", "seed", "source", "backbone", "split", "set_id")
    more = ("classifier_id", "place", "draw", "settings", "images", "left_out")
    seconds = {stage: row[f"{stage}_seconds"] for stage in STAGES}
    return Run(
        what=RunFacts(
            **{name: row[name] for name in (*same, *more)}, key=row["row_key"], traits=Traits(**row["traits"])
        ),
        correct=row["correct"],
        total=row["total"],
        stage_seconds={stage: float(found) for stage, found in seconds.items() if found is not None},
        steps=row["steps"],
        image_passes=row["image_passes"],
        replaced=row["replaced"],
    )


def answers(home: Home, run_ids: Iterable[str]) -> dict[str, Answered]:
    """The answers of runs by id; runs that are gone or can't be read are left out."""
    found = {}
    for run_id in run_ids:
        try:
            found[run_id] = answers_of(home, read_record(home.run(run_id)))
        except UNTOLD:
            continue
    return found


def answers_of(home: Home, record: Mapping[str, Any], by: str = "class") -> Answered:
    """Of one record, its images told apart as `places` says. Raises one of UNTOLD when they can't be read or don't
    verify.
    """
    checked = check_run(home, dict(record))
    place = places(home, str(record["set"]), str(record["recipe"]["classify"]["evaluate"]), by)
    order = [place.of[key] for key in checked.keys]
    if len(set(order)) != len(place.of):
        raise UserError("a classifier's predictions do not cover all images of its set", hint="run it again")
    right = np.zeros(len(order), dtype=np.bool_)
    right[order] = checked.correct
    return Answered(place.images, right)


def read_scores(folder: Path) -> dict[str, Any]:
    """A classifier's `scores.json`: the split, and correct and total of each class. Raises Unreadable."""
    path = folder / "scores.json"
    scores = read(path, {"split": str, "n": int, "correct": int, "per_class": list})
    if scores is None:
        raise Unreadable(path, "is gone", hint="remove its folder and run again")
    for entry in scores["per_class"]:
        if not (isinstance(entry, list) and len(entry) == 2 and all(type(count) is int for count in entry)):
            raise Unreadable(path, "has a class without both counts", hint="remove its folder and run again")
    return scores
