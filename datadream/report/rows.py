"""A table's rows: runs that differ in nothing but their seed and the draw of their shots. The one place that groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from datadream.home.facts import RunFacts, Traits
from datadream.report.names import Names, name_rows
from datadream.report.stats import Interval, mean_std, wilson
from datadream.text import counted

METHODS = ("zero-shot", "real-only", "name-only", "datadream-dset", "datadream-cls")
DATA = ("none", "real", "synth", "real+synth")
STAGES = ("adapt", "generate", "classify")  # whose seconds the registry keeps


@dataclass(frozen=True)
class Run:
    """What was run, how many images of its split it got right, and what it cost. `steps` and `image_passes` are of the
    classifier; `replaced`: another classifier stood in its place before.
    """

    what: RunFacts
    correct: int
    total: int
    stage_seconds: Mapping[str, float]
    steps: int
    image_passes: int
    replaced: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.correct <= self.total or not self.total:
            raise ValueError(f"{self.correct} correct of {self.total} images")


@dataclass(frozen=True)
class Row:
    """Runs that share a key; lists are by seed. `std` is over seeds (n - 1), 0 for one; seconds are summed over seeds.

    `images`, `steps` and `image_passes` are of one seed (the mean, should seeds differ). `interval` is the 95 % Wilson
    interval of the mean accuracy on `n_test` images: about the images alone, the seeds and shots as they are.

    `settings` tells rows of one method apart, `source_note` and `backbone_note` those of one source or backbone name.
    `version` counts the draws of one seed that a newer draw has taken the place of: 0 for the rows of newest draws.
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
    key: str
    version: int
    place: str
    draws: list[str]
    set_ids: list[str]
    correct: list[int]
    left_out: list[int]
    traits: Traits
    source_note: str = ""
    backbone_note: str = ""
    replaced: int = 0

    @property
    def id(self) -> str:
        """Of no other row of a table."""
        return f"{self.key}-{self.version}" if self.version else self.key

    @property
    def rivals(self) -> tuple[str, int, int]:
        """What rows share that are ranked against each other: images, classes, prompts, CLIP, split, and shots."""
        return self.place, self.shots, self.version

    @property
    def shown_place(self) -> tuple[str, str, str, str, str, int]:
        """The words for a place: source and backbone with what tells them apart, split, number of images."""
        return self.source, self.source_note, self.backbone, self.backbone_note, self.split, self.n_test

    @property
    def differs(self) -> str:
        """What sets its source and backbone apart from others of the same names; "" when nothing does."""
        return "; ".join(filter(None, [self.source_note, self.backbone_note]))


@dataclass(frozen=True)
class Grouped:
    """Rows in order, and in words which runs are not in them."""

    rows: list[Row]
    notes: list[str] = field(default_factory=list)


def rows(runs: Iterable[Run]) -> Grouped:
    """Grouped and ordered: source, split, shots, method, settings, data.

    Of two runs with equal key, seed and draw the later counts. Another draw of the same seed has a row of its own. A
    run that was judged on another number of images than its place has is left out.
    """
    newest, notes = _newest(runs)
    groups: dict[tuple[str, int], list[Run]] = {}
    for run, version in _versions(newest):
        groups.setdefault((run.what.key, version), []).append(run)
    names = name_rows([(key, version, [run.what for run in group]) for (key, version), group in groups.items()])
    found = [
        _row(sorted(group, key=lambda run: run.what.seed), key, version, names[key, version])
        for (key, version), group in groups.items()
    ]
    return Grouped(sorted(found, key=_order), notes)


def _versions(runs: Sequence[Run]) -> list[tuple[Run, int]]:
    """0 for runs on the draw of their seed that came up last; draws before it, if there are any, count from 1.

    A draw has the same version in all rows of its place and number of shots, so that rivals stay on common shots.
    """
    draws: dict[tuple[str, int, int], list[str]] = {}
    for run in runs:
        what = run.what
        seen = draws.setdefault((what.place, what.shots, what.seed), [])
        if what.shots_drawn and what.shots_drawn not in seen:
            seen.insert(0, what.shots_drawn)
    found = []
    taken: dict[tuple[str, int], set[int]] = {}
    for run in reversed(runs):
        what = run.what
        order = draws[what.place, what.shots, what.seed]
        version = order.index(what.shots_drawn) if what.shots_drawn else 0
        used = taken.setdefault((what.key, what.seed), set())
        while version in used:  # the same shots with other images left out
            version += 1
        used.add(version)
        found.append((run, version))
    return found


def _newest(runs: Iterable[Run]) -> tuple[list[Run], list[str]]:
    """One run for each key, seed and draw, oldest first; and what is to be said of the others."""
    slots: dict[tuple[str, int, str], Run] = {}
    for run in sorted(runs, key=lambda run: (run.what.created, run.what.id)):
        slot = run.what.key, run.what.seed, run.what.draw
        before = slots.get(slot)
        again = before is not None and (before.replaced or before.what.classifier_id != run.what.classifier_id)
        slots.pop(slot, None)
        slots[slot] = replace(run, replaced=run.replaced or again)
    sizes: dict[str, Counter[int]] = {}
    for run in slots.values():
        sizes.setdefault(run.what.place, Counter())[run.total] += 1
    whole = {place: max(found, key=lambda total: (found[total], total)) for place, found in sizes.items()}
    kept = [run for run in slots.values() if run.total == whole[run.what.place]]
    notes = []
    if cut := [run for run in slots.values() if run.total != whole[run.what.place]]:
        listed = ", ".join(f"{run.what.id} ({run.total:,} of {whole[run.what.place]:,})" for run in cut)
        notes.append(f"Excluded, not evaluated on all images: {listed}.")
    if count := sum(run.replaced for run in kept):
        notes.append(f"{counted(count, 'result')} of repeated runs: the latest counts.")
    return kept, notes


def unequal_passes(table: Sequence[Row]) -> list[Row]:
    """Trained rows whose image passes differ from the most common number of their place: no equal compute."""
    usual = usual_passes(table)
    return [row for row in table if row.data != "none" and row.image_passes != usual[row.place]]


def usual_passes(table: Sequence[Row]) -> dict[str, int]:
    """The most common number of image passes of the trained rows of each place; of equally common ones the largest."""
    counts: dict[str, Counter[int]] = {}
    for row in table:
        if row.data != "none":
            counts.setdefault(row.place, Counter())[row.image_passes] += 1
    return {place: max(found, key=lambda passes: (found[passes], passes)) for place, found in counts.items()}


def _row(runs: list[Run], key: str, version: int, names: Names) -> Row:
    whats = [run.what for run in runs]
    first, last = whats[0], max(whats, key=lambda what: (what.created, what.id))
    n = runs[0].total
    accuracy = [run.correct / run.total for run in runs]
    mean, std = mean_std(accuracy)
    stages = {
        stage: round(sum(run.stage_seconds.get(stage, 0.0) for run in runs), 2)
        for stage in STAGES
        if any(stage in run.stage_seconds for run in runs)
    }
    return Row(
        method=first.method,
        data=first.data,
        shots=first.shots,
        seeds=[what.seed for what in whats],
        accuracy=accuracy,
        mean=mean,
        std=std,
        n_test=n,
        seconds=round(sum(sum(run.stage_seconds.values()) for run in runs), 2),
        interval=wilson(mean * n, n),
        images=_mean(what.images for what in whats),
        stage_seconds=stages,
        steps=_mean(run.steps for run in runs),
        image_passes=_mean(run.image_passes for run in runs),
        run_ids=[what.id for what in whats],
        source=names.source,
        backbone=names.backbone,
        split=first.split,
        settings=names.settings,
        key=key,
        version=version,
        place=first.place,
        draws=[what.draw for what in whats],
        set_ids=[what.set_id for what in whats],
        correct=[run.correct for run in runs],
        left_out=[what.left_out for what in whats],
        traits=last.traits,
        source_note=names.source_note,
        backbone_note=names.backbone_note,
        replaced=sum(run.replaced for run in runs),
    )


def _mean(values: Iterable[int]) -> int:
    found = list(values)
    return round(sum(found) / len(found))


def method_order(method: str, settings: str) -> tuple[int, str, str]:
    """Built-in methods in the order of the story, then others by name."""
    return METHODS.index(method) if method in METHODS else len(METHODS), method, settings


def _order(row: Row) -> tuple[object, ...]:
    where = row.source, row.source_note, row.backbone, row.backbone_note, row.split, row.shots
    return *where, *method_order(row.method, row.settings), DATA.index(row.data), row.id
