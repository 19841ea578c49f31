"""Two runs side by side: their classes, whether their answers differ by more than chance, and their settings."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datadream.errors import UserError
from datadream.home.evidence import check_run
from datadream.home.facts import UNTOLD, facts
from datadream.home.layout import Home
from datadream.home.runs import read_record
from datadream.home.sets import load_set
from datadream.records import Unreadable
from datadream.report.collect import Answered, answers_of, read_scores
from datadream.report.stats import Difference, mcnemar, paired_difference
from datadream.text import ID_LENGTH

IGNORED = ("id", "jobs", "created", "digest", "recipe.about", "recipe.overrides", "recipe.file", "settings", "what")


@dataclass(frozen=True)
class ClassPair:
    """A class and what each run got right of it: correct and total."""

    name: str
    a: tuple[int, int]
    b: tuple[int, int]

    @property
    def difference(self) -> float:
        """Share of b minus share of a, -1..1; 0 for a class without images."""
        return _share(self.b) - _share(self.a)


@dataclass(frozen=True)
class TwoRuns:
    """`p` (exact McNemar) and `difference` (b minus a) are None where the runs were evaluated on different images.

    Both are about these two classifiers on other images of the same kind; one seed each tests nothing about a method.
    """

    a: Mapping[str, Any]
    b: Mapping[str, Any]
    classes: tuple[ClassPair, ...]
    accuracy: tuple[float, float]
    n_test: tuple[int, int]
    p: float | None
    difference: Difference | None
    settings: tuple[tuple[str, str, str], ...]
    why: str = ""


def config_diff(
    a: Mapping[str, Any], b: Mapping[str, Any], ignore: Collection[str] = IGNORED
) -> tuple[tuple[str, str, str], ...]:
    """(key, of a, of b) for keys whose values differ, sorted; "" where one lacks it.

    `ignore` names keys or their parents.
    """
    flat = [_flat(record) for record in (a, b)]
    keys = sorted({*flat[0], *flat[1]})
    return tuple(
        (key, flat[0].get(key, ""), flat[1].get(key, ""))
        for key in keys
        if flat[0].get(key) != flat[1].get(key)
        and not any(key == name or key.startswith(f"{name}.") for name in ignore)
    )


def differing(home: Home, run_id: str, others: Sequence[str]) -> str:
    """What sets a run apart from others that look the same: its own values of what differs, as `steps=80`.

    "" where nothing is recorded that does; a record that can't be read has no part in it.
    """
    records = []
    for path in (home.run(run_id), *map(home.run, others)):
        try:
            records.append(read_record(path))
        except Unreadable:
            if not records:
                return ""
    found: dict[str, str] = {}
    for other in records[1:]:
        found |= {key: own for key, own, _ in config_diff(records[0], other)}
    words = [
        f"{key.removeprefix('recipe.')}={value[:ID_LENGTH] if key == 'set' else value}" for key, value in found.items()
    ]
    if not words and others:
        words = [f"classifier={records[0]['jobs']['classify'][:ID_LENGTH]}"]  # made again, or of another model
    return " ".join(words)


def two_runs(home: Home, a: str, b: str) -> TwoRuns:
    """Read both. Raises UserError when one is gone or has no number yet."""
    one, other = _record(home, a), _record(home, b)
    scores = [_scores(home, record) for record in (one, other)]
    one_right, other_right = _paired(home, one, other)
    names = [_class_names(home, record) for record in (one, other)]
    same = one_right.images == other_right.images
    right_a, right_b = one_right.correct, other_right.correct
    pairs: tuple[ClassPair, ...] = ()
    if names[0] == names[1]:
        pairs = tuple(
            ClassPair(name, (x[0], x[1]), (y[0], y[1]))
            for name, x, y in zip(names[0], scores[0]["per_class"], scores[1]["per_class"], strict=False)
        )
    return TwoRuns(
        a=one,
        b=other,
        classes=pairs,
        accuracy=(int(right_a.sum()) / len(right_a), int(right_b.sum()) / len(right_b)),
        n_test=(len(right_a), len(right_b)),
        p=mcnemar(right_a, right_b) if same else None,
        difference=paired_difference([right_b], [right_a]) if same else None,
        settings=config_diff({**one, "models": _models(home, one)}, {**other, "models": _models(home, other)}),
        why="" if same else "they were evaluated on different images and can't be paired",
    )


def _paired(home: Home, one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[Answered, Answered]:
    """The answers of both in one order: by the images' bytes and classes, or labels where classes were renamed."""
    try:
        found = answers_of(home, one), answers_of(home, other)
        if found[0].images != found[1].images:
            found = answers_of(home, one, "label"), answers_of(home, other, "label")
    except UserError:
        raise
    except UNTOLD as error:
        raise UserError("the predictions of a run can't be read", hint="run it again") from error
    return found


def _models(home: Home, record: Mapping[str, Any]) -> dict[str, str]:
    """The models a run used, by their contents and places."""
    try:
        return dict(facts(home, record).traits.models)
    except UNTOLD:
        return {}


def _record(home: Home, run_id: str) -> dict[str, Any]:
    path = home.run(run_id)
    found = read_record(path) if path.exists() else None
    if found is None or not home.has("classifier", found["jobs"]["classify"]):
        raise UserError(f"run {run_id[:8]} no longer exists or has no result yet", hint="choose another")
    check_run(home, found)
    return found


def _share(counts: tuple[int, int]) -> float:
    return counts[0] / counts[1] if counts[1] else 0.0


def _scores(home: Home, record: Mapping[str, Any]) -> dict[str, Any]:
    return read_scores(home.artifact("classifier", record["jobs"]["classify"]))


def _class_names(home: Home, record: Mapping[str, Any]) -> list[str]:
    return [class_.name for class_ in load_set(home, record["set"]).classes]


def _flat(value: Any, prefix: str = "") -> dict[str, str]:
    if not isinstance(value, Mapping):
        return {prefix: " ".join(map(str, value)) if isinstance(value, list) else str(value)}
    found: dict[str, str] = {}
    for key, entry in value.items():
        found |= _flat(entry, f"{prefix}.{key}" if prefix else str(key))
    return found
