"""The accuracy table turned as one likes: what is a row, what is a column; what a cell lacks; which are the best."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datadream.errors import UserError
from datadream.jobs.home import Home
from datadream.jobs.state import read_dict
from datadream.report.collect import read_predictions
from datadream.report.rows import DATA, METHODS, Row
from datadream.report.stats import mean_std, paired_difference, wilson
from datadream.report.tables import setting_marks, top1

DIMENSIONS = ("method", "data", "shots", "source", "backbone", "split")
ROWS, COLUMNS = ("method", "data"), ("shots",)
BEST, ALIKE = "*", "≈"
RUNS_MAX = 200  # whose predictions are read for the marks
NEVER = "– never run"
NAMED_SEEDS = 3

Key = tuple[Any, ...]
Answered = tuple[tuple[str, ...], tuple[bool, ...]]  # image keys, and whether each was right


@dataclass(frozen=True)
class Cell:
    """What stands where a row meets a column. `row` is None where nothing was run; `lacks` are seeds others have.

    `mark` is BEST, ALIKE (no difference from the best shown) or "".
    """

    row: Row | None
    lacks: tuple[int, ...]
    mark: str = ""

    @property
    def number(self) -> str:
        """`87.1 ± 1.2`, or `87.1 [84.0, 89.9]` of one seed: as `datadream compare` shows it."""
        return NEVER if self.row is None else top1(self.row)

    @property
    def missing(self) -> str:
        """`lacks seed 5`, "" when nothing is."""
        if self.row is None or not self.lacks:
            return ""
        return f"lacks seed{'s' * (len(self.lacks) > 1)} {','.join(map(str, self.lacks))}"

    @property
    def text(self) -> str:
        """Everything in a line: `87.1 ± 1.2 * n=2 · lacks seed 5`."""
        return self._line(self.missing)

    @property
    def brief(self) -> str:
        """The same, where many seeds are only counted: `87.1 ± 1.2 n=1 · lacks 9 seeds`."""
        return self._line(f"lacks {len(self.lacks)} seeds" if len(self.lacks) > NAMED_SEEDS else self.missing)

    def _line(self, missing: str) -> str:
        if self.row is None:
            return NEVER
        said = " ".join(filter(None, [self.number, self.mark, f"n={len(self.row.seeds)}"]))
        return f"{said} · {missing}" if missing else said


@dataclass(frozen=True)
class Pivot:
    """`cells[i][j]` is of `row_keys[i]` and `column_keys[j]`, whose values are of the dimensions in `rows`, `columns`.

    A method's value is the pair of its name and settings. `shared` holds the dimensions that have one value only.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    row_keys: tuple[Key, ...]
    column_keys: tuple[Key, ...]
    cells: tuple[tuple[Cell, ...], ...]
    shared: Mapping[str, Any]
    settings: Mapping[str, str]
    table: tuple[Row, ...]
    note: str = ""

    def row_label(self, at: int) -> str:
        """`datadream-cls (a) real+synth`."""
        return self._label(self.rows, self.row_keys[at])

    def column_label(self, at: int) -> str:
        """`4 shots`."""
        return self._label(self.columns, self.column_keys[at]) or "top-1 %"

    def values(self, row: int, column: int) -> dict[str, Any]:
        """What a cell is of, also of one that was never run: each dimension's value."""
        return {
            **self.shared,
            **dict(zip(self.rows, self.row_keys[row], strict=True)),
            **dict(zip(self.columns, self.column_keys[column], strict=True)),
        }

    def notes(self) -> list[str]:
        """What a reader must know: what all numbers share, what ±, [ ], the marks and the letters mean."""
        shared = ", ".join(self._named(name, value) for name, value in self.shared.items())
        images = sorted({row.n_test for row in self.table})
        of = f"top-1 % over {' or '.join(f'{n:,}' for n in images)} images" if images else "top-1 %"
        found = [f"{of}: {shared}." if shared else f"{of}."]
        if any(len(row.seeds) > 1 for row in self.table):
            found.append("± is the standard deviation over n seeds.")
        if any(len(row.seeds) == 1 for row in self.table):
            found.append("In [ ] stands the 95 % Wilson interval of one seed.")
        marks = {cell.mark for line in self.cells for cell in line}
        if BEST in marks:
            found.append(f"{BEST} is the best of the same source, backbone, split and shots.")
        if ALIKE in marks:
            found.append(
                f"{ALIKE}: no difference from the best shown (95 % paired bootstrap over the same images and seeds)."
            )
        if self.note:
            found.append(self.note)
        return found + [f"{mark} {settings}." for settings, mark in self.settings.items()]

    def _label(self, names: Sequence[str], key: Key) -> str:
        return " ".join(self._named(name, value) for name, value in zip(names, key, strict=True))

    def _named(self, name: str, value: Any) -> str:
        if name == "method":
            return " ".join(filter(None, [value[0], self.settings.get(value[1], "")]))
        if name == "shots":
            return f"{value} shot{'s' * (value != 1)}"
        return f"backbone {value}" if name == "backbone" else str(value)


def parse_pivot(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """`method+data,shots` as rows and columns. Raises UserError for a dimension that is none, or one named twice."""
    parts = text.split(",")
    if len(parts) != 2:
        raise UserError(f"--pivot needs rows and columns, not {text!r}", hint="write --pivot method+data,shots")
    rows, columns = (tuple(name.strip() for name in part.split("+") if name.strip()) for part in parts)
    for name in (*rows, *columns):
        if name not in DIMENSIONS:
            raise UserError(f"--pivot doesn't know {name!r}", hint=f"use any of {', '.join(DIMENSIONS)}")
        if (*rows, *columns).count(name) > 1:
            raise UserError(f"--pivot names {name!r} twice", hint="a dimension is of the rows or of the columns")
    if not rows:
        raise UserError("--pivot needs something for rows", hint="write --pivot method+data,shots")
    return rows, columns


def rows_of(found: Iterable[Mapping[str, Any]]) -> list[Row]:
    """The groups of the registry's `comparison` as rows, without what only folders know (cost).

    Raises UserError when runs that would share a row were judged on different numbers of images.
    """
    rows = []
    for group in found:
        if len(set(group["total"])) > 1:
            raise UserError(
                f"runs of {group['method']} on {group['source']!r} were judged on different images",
                hint="compare one set at a time, with the filter set=ID",
            )
        shares = [correct / total for correct, total in zip(group["correct"], group["total"], strict=True)]
        mean, std = mean_std(shares)
        n = group["total"][0]
        rows.append(
            Row(
                method=group["method"],
                data=group["data"],
                shots=group["shots"],
                seeds=group["seeds"],
                accuracy=shares,
                mean=mean,
                std=std,
                n_test=n,
                seconds=0.0,
                interval=wilson(mean * n, n),
                images=0,
                stage_seconds={},
                steps=0,
                image_passes=0,
                run_ids=group["ids"],
                source=group["source"],
                backbone=group["backbone"],
                split=group["split"],
                settings=group["settings"],
            )
        )
    return rows


def pivot(
    table: Sequence[Row],
    rows: Sequence[str] = ROWS,
    columns: Sequence[str] = COLUMNS,
    marks: Mapping[str, str] | None = None,
    note: str = "",
) -> Pivot:
    """`table` by `rows` and `columns`. Nothing is averaged over: a dimension that varies and isn't named is a column.

    `marks` are of the rows by their first run's id (see `verdicts`); without them the best alone are marked.
    """
    values = {name: {_value(row, name) for row in table} for name in DIMENSIONS}
    rest = [name for name in DIMENSIONS if name not in (*rows, *columns)]
    columns = (*columns, *(name for name in rest if len(values[name]) > 1))
    shared = {name: next(iter(values[name])) for name in rest if len(values[name]) == 1}
    marks = best(table) if marks is None else marks

    def keys(names: Sequence[str]) -> list[Key]:
        found = {tuple(_value(row, name) for name in names) for row in table}
        return sorted(found, key=lambda key: [_order(name, value) for name, value in zip(names, key, strict=True)])

    row_keys, column_keys = keys(rows), keys(columns)
    placed: dict[tuple[Key, Key], Row] = {}
    seeds_of_row: dict[Key, set[int]] = {}
    seeds_of_column: dict[Key, set[int]] = {}
    for row in table:
        at = tuple(_value(row, name) for name in rows), tuple(_value(row, name) for name in columns)
        placed[at] = row
        seeds_of_row.setdefault(at[0], set()).update(row.seeds)
        seeds_of_column.setdefault(at[1], set()).update(row.seeds)

    def cell(i: Key, j: Key) -> Cell:
        row = placed.get((i, j))
        wanted = seeds_of_row[i] | seeds_of_column[j]
        lacks = tuple(sorted(wanted - set(row.seeds if row else ())))
        return Cell(row, lacks, marks.get(row.run_ids[0], "") if row else "")

    ordered = sorted(table, key=lambda row: [_order(name, _value(row, name)) for name in DIMENSIONS])
    return Pivot(
        rows=tuple(rows),
        columns=tuple(columns),
        row_keys=tuple(row_keys),
        column_keys=tuple(column_keys),
        cells=tuple(tuple(cell(i, j) for j in column_keys) for i in row_keys),
        shared=shared,
        settings=setting_marks(ordered),
        table=tuple(ordered),
        note=note,
    )


def rivals(row: Row) -> Key:
    """What rows must share to be ranked: source, backbone, split, number of images and shots."""
    return *row.place, row.n_test, row.shots


def best(table: Sequence[Row]) -> dict[str, str]:
    """BEST by first run id, for the rows with the highest mean among their rivals; none where there is no rival."""
    groups: dict[Key, list[Row]] = {}
    for row in table:
        groups.setdefault(rivals(row), []).append(row)
    return {
        row.run_ids[0]: BEST
        for group in groups.values()
        for row in group
        if len(group) > 1 and row.mean == max(other.mean for other in group)
    }


def answers(home: Home, run_ids: Iterable[str]) -> dict[str, Answered]:
    """Image keys and whether each was right, by run; runs that are gone or can't be read are left out."""
    found: dict[str, Answered] = {}
    for run_id in run_ids:
        record = read_dict(home.run(run_id)) or {}
        jobs = record.get("jobs")
        if isinstance(jobs, Mapping) and "classify" in jobs:
            path = home.artifact("classifier", str(jobs["classify"])) / "predictions.csv"
            try:
                found[run_id] = read_predictions(path)
            except (UserError, KeyError, ValueError):
                continue
    return found


def verdicts(table: Sequence[Row], by_id: Mapping[str, Answered]) -> dict[str, str]:
    """BEST, and ALIKE for rows whose paired difference from the best has an interval that holds 0, by first run id.

    Over common seeds and the same images; a row that shares none with the best, or whose answers aren't given, has no
    mark.
    """
    marks = best(table)
    tops: dict[Key, Row] = {}
    for row in table:
        if row.run_ids[0] in marks:
            tops.setdefault(rivals(row), row)
    for row in table:
        top = tops.get(rivals(row))
        if top is None or row.run_ids[0] in marks:
            continue
        theirs = dict(zip(top.seeds, top.run_ids, strict=True))
        pairs = [
            (by_id[run_id], by_id[theirs[seed]])
            for seed, run_id in zip(row.seeds, row.run_ids, strict=True)
            if seed in theirs and run_id in by_id and theirs[seed] in by_id
        ]
        pairs = [(a, b) for a, b in pairs if a[0] == b[0] == pairs[0][0][0]]
        if pairs:
            found = paired_difference([a[1] for a, _ in pairs], [b[1] for _, b in pairs])
            if found.interval.holds(0):
                marks[row.run_ids[0]] = ALIKE
    return marks


def wanted_runs(table: Sequence[Row], most: int = RUNS_MAX) -> tuple[list[str], int]:
    """Ids of the runs `verdicts` needs, whole groups of rivals only, at most `most`; and how many rows go without."""
    groups: dict[Key, list[Row]] = {}
    for row in table:
        groups.setdefault(rivals(row), []).append(row)
    ids: list[str] = []
    left = 0
    for group in groups.values():
        need = [run_id for row in group for run_id in row.run_ids] if len(group) > 1 else []
        if len(ids) + len(need) > most:
            left += len(group)
        else:
            ids += need
    return ids, left


def _value(row: Row, name: str) -> Any:
    return (row.method, row.settings) if name == "method" else getattr(row, name)


def _order(name: str, value: Any) -> Any:
    if name == "method":
        method, settings = value
        return METHODS.index(method) if method in METHODS else len(METHODS), method, settings
    return DATA.index(value) if name == "data" and value in DATA else value
