"""Which rows are the best and which can't be told from them, and real+synth against real-only: on common ground only.

Rivals share images, classes, prompts, CLIP, split and shots. What they are judged on are the seeds that every one of
them has, with the same shots: a row's further seeds never move a mark.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from datadream.report.collect import Answered
from datadream.report.rows import Row
from datadream.report.stats import Difference, paired_difference
from datadream.text import counted

BEST, ALIKE = "*", "≈"
RUNS_MAX = 200  # whose predictions are read for the marks, where not all are
Rivals = tuple[str, int, int]
Answers = Mapping[str, Answered]  # by run id


@dataclass(frozen=True)
class Ground:
    """Rivals, and the seeds on which they can be compared. `best` are the rows with the most images right on these."""

    rows: tuple[Row, ...]
    seeds: tuple[int, ...]

    @property
    def best(self) -> tuple[Row, ...]:
        """None without a rival or a common seed."""
        if len(self.rows) < 2 or not self.seeds:
            return ()
        right = [sum(row.correct[row.seeds.index(seed)] for seed in self.seeds) for row in self.rows]
        return tuple(row for row, count in zip(self.rows, right, strict=True) if count == max(right))

    def lacking(self) -> list[tuple[Row, list[int]]]:
        """Rows, and the seeds that others have and they lack, or have with other shots only."""
        found = []
        for row in self.rows:
            wanted = {seed for other in self.rows for seed in other.seeds if seed not in _shared(row, other)}
            if wanted:
                found.append((row, sorted(wanted)))
        return found


@dataclass(frozen=True)
class Comparison:
    """A row of real and synthetic images minus a row of real-only, over their common seeds."""

    row: Row
    baseline: Row
    seeds: tuple[int, ...]
    difference: Difference

    def text(self, letters: Mapping[str, str] | None = None) -> str:
        """In words; `letters` stand for settings, sets and models that are explained elsewhere."""
        row, found = self.row, self.difference
        return (
            f"real+synth − {called(self.baseline, letters)}, {called(row, letters)}, {where(row, letters)}: "
            f"{interval_text(found)} points ({about(found, row.split, self.seeds)}): {verdict(found)}"
        )


@dataclass(frozen=True)
class Judged:
    """`marks` by row id; `grounds` of all rivals; `untested` counts rows without a verdict for want of answers."""

    marks: Mapping[str, str] = field(default_factory=dict)
    grounds: tuple[Ground, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    untested: int = 0


def grounds(table: Iterable[Row]) -> list[Ground]:
    """The rivals of a table, in its order, each group with its common seeds."""
    groups: dict[Rivals, list[Row]] = {}
    for row in table:
        groups.setdefault(row.rivals, []).append(row)
    return [Ground(tuple(group), common_seeds(group)) for group in groups.values()]


def best(table: Iterable[Row]) -> Judged:
    """What can be said without any answers: BEST marks, and the grounds."""
    found = grounds(table)
    return Judged({row.id: BEST for ground in found for row in ground.best}, tuple(found))


def judge(table: Sequence[Row], answers: Answers) -> Judged:
    """BEST for the highest of its rivals; ALIKE for those whose paired difference from it has an interval that holds 0.

    On one common seed nothing is tested, so there is no ALIKE. `answers` are of the runs of `table`.
    """
    found = grounds(table)
    marks = {}
    untested = 0
    for ground in found:
        tops = ground.best
        marks.update({row.id: BEST for row in tops})
        if len(ground.seeds) < 2:
            continue
        for row in ground.rows:
            if tops and row not in tops:
                difference = _difference(row, tops[0], ground.seeds, answers)
                if difference is None:
                    untested += 1
                elif not difference.significant:
                    marks[row.id] = ALIKE
    return Judged(marks, tuple(found), tuple(comparisons(table, answers)), untested)


def comparisons(table: Sequence[Row], answers: Answers) -> list[Comparison]:
    """Each row of real+synth against one of real-only of its rivals, over their common seeds.

    Of several real-only rows the one that was trained with the same settings serves, else the recipe as shipped, else
    the one with the most common seeds. None where they share no seed.
    """
    real: dict[Rivals, list[Row]] = {}
    for row in table:
        if row.method == "real-only":
            real.setdefault(row.rivals, []).append(row)
    found = []
    for row in table:
        if row.data != "real+synth" or row.method == "real-only":
            continue
        common = {base.id: common_seeds([row, base]) for base in real.get(row.rivals, [])}
        usable = [base for base in real.get(row.rivals, []) if common[base.id]]
        if not usable:
            continue
        base = min(
            usable, key=lambda base: (_training(base) != _training(row), bool(base.settings), -len(common[base.id]))
        )
        difference = _difference(row, base, common[base.id], answers)
        if difference is not None:
            found.append(Comparison(row, base, common[base.id], difference))
    return found


def wanted_runs(table: Sequence[Row], most: int = RUNS_MAX) -> tuple[list[str], list[Row]]:
    """Ids of the runs that `judge` needs, whole groups of rivals only, at most `most`; and the rows that go without."""
    ids: list[str] = []
    without: list[Row] = []
    for ground in grounds(table):
        need = [run_id for row in ground.rows for run_id in row.run_ids] if len(ground.rows) > 1 else []
        if len(ids) + len(need) > most:
            without += ground.rows
        else:
            ids += need
    return ids, without


def verdict(found: Difference) -> str:
    """What a difference shows, as little as it is."""
    if found.significant is None:
        return "one seed, nothing is tested"
    return "the interval excludes 0" if found.significant else "the interval includes 0, not significantly different"


def about(found: Difference, split: str, seeds: Sequence[int]) -> str:
    """What an interval is about: images and seeds, or images alone."""
    images = f"95 % interval over {found.images:,} {split} images"
    if found.seeds == 1:
        return f"{images}, for seed {seeds[0]} and these shots only"
    return f"{images} and {found.seeds} seeds"


def interval_text(found: Difference) -> str:
    """`+0.7 [−1.1, +2.4]`, in points."""
    return f"{points(found.mean)} [{points(found.interval.low)}, {points(found.interval.high)}]"


def points(share: float) -> str:
    """`+0.7`, `−0.4` or `0.0`: a share in percent, signed."""
    text = f"{100 * share:+.1f}"
    return "0.0" if text[1:] == "0.0" else text.replace("-", "−")


def called(row: Row, letters: Mapping[str, str] | None = None) -> str:
    """`datadream-cls (a)`, or with its settings whole."""
    letter = (letters or {}).get(row.settings, f"({row.settings})")
    return f"{row.method} {letter}" if row.settings else row.method


def where(row: Row, letters: Mapping[str, str] | None = None) -> str:
    """`digits, 4 shots`, with what tells its source and models from others of the same names."""
    notes = [(letters or {}).get(note, f"({note})") for note in (row.source_note, row.backbone_note) if note]
    return f"{' '.join([row.source, *notes])}, {counted(row.shots, 'shot')}"


def common_seeds(rows: Sequence[Row]) -> tuple[int, ...]:
    """Seeds that all have, with the same shots."""
    shared = set(rows[0].seeds)
    for row in rows[1:]:
        shared &= set(row.seeds)
    found = []
    for seed in sorted(shared):
        shots = {_shots(row, seed) for row in rows} - {""}
        if len(shots) < 2:
            found.append(seed)
    return tuple(found)


def _shared(row: Row, other: Row) -> set[int]:
    return set(common_seeds([row, other]))


def _shots(row: Row, seed: int) -> str:
    """What stands for the shots a row saw, without the images left out; "" when it doesn't depend on any."""
    return row.draws[row.seeds.index(seed)].partition("-")[0]


def _training(row: Row) -> list[tuple[str, str]]:
    return sorted((name, value) for name, value in row.traits.recipe.items() if name.startswith("classify."))


def _difference(row: Row, other: Row, seeds: Sequence[int], answers: Answers) -> Difference | None:
    """`row` minus `other`; None when answers are missing or aren't of the same images."""
    pairs = []
    for seed in seeds:
        one, two = (answers.get(each.run_ids[each.seeds.index(seed)]) for each in (row, other))
        if one is None or two is None or one.images != two.images:
            return None
        pairs.append((one.correct, two.correct))
    return paired_difference([a for a, _ in pairs], [b for _, b in pairs])
