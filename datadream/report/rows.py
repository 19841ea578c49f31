"""A table's rows: runs of one method over its seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from datadream.errors import UserError
from datadream.report.stats import Interval, mean_std, wilson

METHODS = ("zero-shot", "real-only", "name-only", "datadream-dset", "datadream-cls")
DATA = ("none", "real", "synth", "real+synth")


@dataclass(frozen=True)
class Run:
    """One classifier's answers on the images of a split, and what it cost. `correct[i]` is of image `keys[i]`.

    `settings_id` is '' for a recipe as shipped; runs with different ones never share a row. `steps` and
    `image_passes` are of the classifier; `images` counts its synthetic images.
    """

    method: str
    data: str
    shots: int
    seed: int
    source: str
    backbone: str
    split: str
    keys: tuple[str, ...]
    correct: tuple[bool, ...]
    seconds: float
    images: int
    stage_seconds: dict[str, float]
    steps: int
    image_passes: int
    run_id: str
    settings_id: str

    def __post_init__(self) -> None:
        if len(self.keys) != len(self.correct) or not self.keys:
            raise ValueError(f"{len(self.correct)} answers on {len(self.keys)} images")

    @property
    def accuracy(self) -> float:
        """Exact top-1, 0..1."""
        return sum(self.correct) / len(self.correct)

    @property
    def place(self) -> tuple[str, str, str]:
        """What two runs must share to be compared: source, backbone, split."""
        return self.source, self.backbone, self.split


@dataclass(frozen=True)
class Row:
    """Runs that differ in seed only. `std` is over seeds (n - 1), 0 for one; seconds are summed over seeds.

    `images`, `steps` and `image_passes` are of one seed (the mean, should seeds differ).
    `interval` is the 95 % Wilson interval of the mean accuracy on `n_test` images: the uncertainty from the test
    images alone, beside `std`, which shows that from draws and training.
    """

    method: str
    data: str
    shots: int
    seeds: list[int]
    accuracy: list[float]
    mean: float
    std: float
    n_test: int
    seconds: float
    interval: Interval
    images: int
    stage_seconds: dict[str, float]
    steps: int
    image_passes: int
    run_ids: list[str]
    source: str
    backbone: str
    split: str
    settings: str

    @property
    def place(self) -> tuple[str, str, str]:
        """Source, backbone, split: numbers compare within one place only."""
        return self.source, self.backbone, self.split


def rows(runs: Sequence[Run]) -> list[Row]:
    """Grouped and ordered: source, split, shots, method, settings, data. Of two runs of one seed the later counts.

    Raises UserError when runs that would share a row were judged on different images.
    """
    groups: dict[tuple[str, str, str, int, str, str, str], dict[int, Run]] = {}
    for run in runs:
        key = (run.source, run.backbone, run.split, run.shots, run.method, run.settings_id, run.data)
        groups.setdefault(key, {})[run.seed] = run
    return [
        _row([seeds[seed] for seed in sorted(seeds)]) for _, seeds in sorted(groups.items(), key=lambda g: _order(g[0]))
    ]


def unequal_passes(table: Sequence[Row]) -> list[Row]:
    """Trained rows whose image passes differ from the most common number of their place: no equal compute."""
    usual = usual_passes(table)
    return [row for row in table if row.data != "none" and row.image_passes != usual[row.place]]


def usual_passes(table: Sequence[Row]) -> dict[tuple[str, str, str], int]:
    """The most common number of image passes of the trained rows of each place; of equally common ones the largest."""
    counts: dict[tuple[str, str, str], Counter[int]] = {}
    for row in table:
        if row.data != "none":
            counts.setdefault(row.place, Counter())[row.image_passes] += 1
    return {place: max(found, key=lambda passes: (found[passes], passes)) for place, found in counts.items()}


def _row(runs: list[Run]) -> Row:
    first = runs[0]
    if any(run.keys != first.keys for run in runs):
        raise UserError(
            f"runs of {first.method} on {first.source!r} were judged on different images",
            hint="compare one set at a time with --set",
        )
    accuracy = [run.accuracy for run in runs]
    mean, std = mean_std(accuracy)
    stages = {
        stage: round(sum(run.stage_seconds.get(stage, 0.0) for run in runs), 2)
        for stage in dict.fromkeys(stage for run in runs for stage in run.stage_seconds)
    }
    return Row(
        method=first.method,
        data=first.data,
        shots=first.shots,
        seeds=[run.seed for run in runs],
        accuracy=accuracy,
        mean=mean,
        std=std,
        n_test=len(first.keys),
        seconds=round(sum(run.seconds for run in runs), 2),
        interval=wilson(mean * len(first.keys), len(first.keys)),
        images=_mean(run.images for run in runs),
        stage_seconds=stages,
        steps=_mean(run.steps for run in runs),
        image_passes=_mean(run.image_passes for run in runs),
        run_ids=[run.run_id for run in runs],
        source=first.source,
        backbone=first.backbone,
        split=first.split,
        settings=first.settings_id,
    )


def _mean(values: Iterable[int]) -> int:
    found = list(values)
    return round(sum(found) / len(found))


def _order(key: tuple[str, str, str, int, str, str, str]) -> tuple[object, ...]:
    source, backbone, split, shots, method, settings, data = key
    place = METHODS.index(method) if method in METHODS else len(METHODS)
    return source, backbone, split, shots, place, method, settings, DATA.index(data)
