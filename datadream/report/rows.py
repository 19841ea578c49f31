"""A table's rows: runs of one method over its seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from datadream.errors import UserError
from datadream.report.stats import Interval, mean_std, wilson

METHODS = ("zero-shot", "real-only", "name-only", "datadream-dset", "datadream-cls")
DATA = ("none", "real", "synth", "real+synth")


@dataclass(frozen=True)
class Run:
    """One classifier's answers on the images of a split, and what it cost.

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

    @property
    def accuracy(self) -> float:
        """Exact top-1, 0..1."""
        return sum(self.correct) / len(self.correct)


@dataclass(frozen=True)
class Row:
    """Runs that differ in seed only. `std` is over seeds (n - 1), 0 for one; `seconds` are summed over seeds.

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
    """Trained rows whose image passes differ from the most common number: no equal compute."""
    counts = [row.image_passes for row in table if row.data != "none"]
    usual = max(set(counts), key=lambda count: (counts.count(count), count)) if counts else 0
    return [row for row in table if row.data != "none" and row.image_passes != usual]


def _row(runs: list[Run]) -> Row:
    first = runs[0]
    if any(run.keys != first.keys for run in runs):
        raise UserError(
            f"runs of {first.method} on {first.source!r} were judged on different images",
            hint="compare one set at a time with --set",
        )
    accuracy = [run.accuracy for run in runs]
    mean, std = mean_std(accuracy)
    stages = {stage: round(sum(run.stage_seconds[stage] for run in runs), 2) for stage in first.stage_seconds}
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
        images=first.images,
        stage_seconds=stages,
        steps=first.steps,
        image_passes=first.image_passes,
        run_ids=[run.run_id for run in runs],
        source=first.source,
        backbone=first.backbone,
        split=first.split,
        settings=first.settings_id,
    )


def _order(key: tuple[str, str, str, int, str, str, str]) -> tuple[object, ...]:
    source, backbone, split, shots, method, settings, data = key
    place = METHODS.index(method) if method in METHODS else len(METHODS)
    return source, backbone, split, shots, place, method, settings, DATA.index(data)
