"""Is a run's number what its artifacts say? Its record by its id, its classifier by its hashes, its answers by the set.

Read where a number is shown, and where it enters the registry. What was looked at once in a process is looked at again
only when its file has changed.
"""

from __future__ import annotations

import csv
import functools
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datadream import durable
from datadream.canonical import Stamp, digest, short_id, stamp
from datadream.data.shots import ShotSet
from datadream.errors import UserError
from datadream.home.artifacts import check_file, read_manifest
from datadream.home.layout import Home
from datadream.home.sets import load_set
from datadream.stages.table import MAKER, METHOD, TABLE

PREDICTIONS, SCORES, MANIFEST = "predictions.csv", "scores.json", "manifest.json"
LOGITS = "logits.safetensors"
FILES = (PREDICTIONS, SCORES)
CACHED_SETS = 16
MARKED = re.compile(r" ?without [\d,]+ marked")
AGAIN = "remove that folder, then run the same command again"
RECORD = "run the same command again to rewrite it"


@dataclass(frozen=True)
class Answers:
    """What a classifier said of each image of a part of its set: `correct[i]` is of image `keys[i]`."""

    keys: tuple[str, ...]
    correct: tuple[bool, ...]
    scores: Mapping[str, Any]


def sealed(record: dict[str, Any]) -> dict[str, Any]:
    """A run's record with a digest over all it says."""
    return {**record, "digest": digest(record)}


def _reads(stage: str, spec: Mapping[str, Any], jobs: Mapping[str, str]) -> bool:
    """Whether a stage read what the record's other jobs made, and nothing else."""
    made = {role: MAKER[kind] for role, kind in TABLE[stage].inputs.items() if kind in MAKER}
    return all(spec["inputs"].get(role) == jobs.get(maker) for role, maker in made.items())


def _labels(overrides: Mapping[str, Any]) -> tuple[str, ...]:
    """A recipe's overrides as the label of any version has them, lists in two ways."""
    plain = {key: ",".join(map(str, value)) if isinstance(value, list) else value for key, value in overrides.items()}
    return tuple(" ".join(f"{key}={value}" for key, value in sorted(form.items())) for form in (overrides, plain))


def check_record(record: Any, run_id: str) -> None:
    """Raise UserError unless the record is the one that was written for the run: by its id, and by its digest.

    The first version wrote no digest. An id binds method, overrides, data and classifier; these bind the rest.
    """
    try:
        recipe, jobs = record["recipe"], record["jobs"]
        labels = _labels(recipe["overrides"])
        # some versions hash the label too, some leave it out
        ids = [short_id([recipe["name"], label, record["data"], jobs["classify"]]) for label in (*labels, "")]
        wrong = record["id"] != run_id or run_id not in ids or record["method"] != recipe["name"]
        wrong = wrong or not any(_is_settings(record["settings"], label) for label in labels)
        if "digest" in record:
            wrong = wrong or record["digest"] != digest({key: record[key] for key in record if key != "digest"})
    except (KeyError, TypeError, ValueError, AttributeError):
        wrong = True
    if wrong:
        raise UserError(f"the record of run {run_id} was changed: its content does not match its id", hint=RECORD)


def check_run(home: Home, record: dict[str, Any]) -> Answers:
    """The answers of the run with this record, after a look that they are what its artifacts gave.

    Raises UserError saying what doesn't verify.
    """
    check_record(record, str(record.get("id")))
    check_links(home, record)
    return check_classifier(home, record["jobs"]["classify"])


def check_links(home: Home, record: dict[str, Any]) -> None:
    """Raise UserError unless a record says of its set, its inputs and its settings what the artifacts' specs say."""
    jobs = record["jobs"]
    spec: dict[str, Any] = read_manifest(home, "classifier", jobs["classify"])["spec"]
    chain = {"classify": spec}
    for stage in METHOD:
        if stage in jobs and stage not in chain and home.has(TABLE[stage].makes, jobs[stage]):
            chain[stage] = read_manifest(home, TABLE[stage].makes, jobs[stage])["spec"]
    shots = _set(home, spec["inputs"]["set"])
    left_out = sum(len(found.get("excluded") or ()) for found in chain.values())
    tails = {f" without {left_out} marked", f" without {left_out:,} marked"} if left_out else {""}
    settings = [f"{label}{tail}".strip() for label in _labels(record["recipe"]["overrides"]) for tail in tails]
    facts = (shots.shots, shots.seed, shots.split_seed)
    fits = (
        (record.get("set"), record.get("data")) == (spec["inputs"]["set"], spec["data"])
        and tuple(record.get(name) for name in ("shots", "seed", "split_seed")) == facts
        and record["settings"] in settings
        and all(_reads(stage, found, jobs) for stage, found in chain.items())
        and all(record["recipe"].get(stage) == found["settings"] for stage, found in chain.items())
    )
    if not fits:
        what = f"the record of run {record['id']} names inputs or settings that its jobs did not have"
        raise UserError(what, hint=RECORD)


def check_classifier(home: Home, classifier_id: str) -> Answers:
    """The answers of a classifier, after a look that its files are what they were and that its scores count them.

    Right is what the few-shot set says, not the file. Raises UserError saying what doesn't verify.
    """
    folder = home.artifact("classifier", classifier_id)
    manifest = read_manifest(home, "classifier", classifier_id)
    spec: dict[str, Any] = manifest["spec"]
    for name in FILES:
        if name not in manifest["files"]:
            raise UserError(f"classifier {classifier_id} has no {name}", at=folder, hint=AGAIN)
        check_file(home, "classifier", classifier_id, name, manifest["files"][name])
    shots = _set(home, spec["inputs"]["set"])
    try:
        scores = json.loads(durable.read_bytes(folder / SCORES))
        refs = shots.part(spec["settings"]["evaluate"])
        said = [(row["key"], int(row["prediction"])) for row in _rows(folder)]
        counted = (scores["split"], scores["correct"], scores["n"])
    except (KeyError, TypeError, ValueError, RecursionError, csv.Error) as error:
        what = f"the predictions of classifier {classifier_id} can't be read"
        raise UserError(what, at=folder, hint=AGAIN) from error
    keys = tuple(key for key, _ in said)
    if keys != tuple(ref.key for ref in refs):
        what = "was evaluated on images that are not in its set"
        raise UserError(f"classifier {classifier_id} {what}", at=folder, hint=AGAIN)
    correct = tuple(prediction == ref.label for (_, prediction), ref in zip(said, refs, strict=True))
    if counted != (spec["settings"]["evaluate"], sum(correct), len(keys)):
        what = f"records {counted[1]} of {counted[2]} correct, but its predictions give {sum(correct)} of {len(keys)}"
        raise UserError(f"classifier {classifier_id} {what}", at=folder, hint=AGAIN)
    return Answers(keys, correct, scores)


def check_logits(home: Home, classifier_id: str) -> None:
    """Raise UserError unless each answer is a class of the highest logit. Logits are rounded, which keeps that true."""
    from safetensors.numpy import load_file

    folder = home.artifact("classifier", classifier_id)
    logits = load_file(folder / LOGITS)["logits"]
    said = [int(row["prediction"]) for row in _rows(folder)]
    if len(said) != len(logits) or any(row[answer] != row.max() for row, answer in zip(logits, said, strict=True)):
        raise UserError(f"the predictions of classifier {classifier_id} do not match its logits", hint=AGAIN)


def _rows(folder: Path) -> Iterator[dict[str, str]]:
    yield from csv.DictReader(io.StringIO(durable.read_bytes(folder / PREDICTIONS).decode("utf-8"), newline=""))


def mark(home: Home, run_id: str, classifier_id: str, set_id: str) -> int:
    """A number that tells without reading whether a run's evidence is as it was: its record, its classifier's answers
    and its set. 0 where one of them changed a moment ago.
    """
    folder = home.artifact("classifier", classifier_id)
    paths = [home.run(run_id), *(folder / name for name in (MANIFEST, *FILES))]
    paths += [home.artifact("set", set_id) / name for name in (MANIFEST, "set.json")]
    found: list[list[int]] = []
    for path in paths:
        try:
            found.append(list(stamp(path)))
        except OSError:
            found.append([])
    if any(durable.is_racy(max(times[-2:])) for times in found if times):
        return 0
    return int(digest(found)[:15], 16)


def _set(home: Home, set_id: str) -> ShotSet:
    """A set, checked once while its file is the same."""
    path = home.artifact("set", set_id) / "set.json"
    try:
        return _read_set(home, set_id, stamp(path))
    except OSError as error:
        raise UserError(
            f"set {set_id}, on which it was evaluated, is missing", at=path, hint="make that set again"
        ) from error


@functools.lru_cache(maxsize=CACHED_SETS)
def _read_set(home: Home, set_id: str, found: Stamp) -> ShotSet:
    del found  # part of the key
    return load_set(home, set_id)


def _is_settings(settings: str, label: str) -> bool:
    """Whether `Run.settings` may be that for a recipe of this label."""
    rest = settings.removeprefix(label)
    return settings.startswith(label) and (not rest or MARKED.fullmatch(rest) is not None)
