"""The accuracy table turned as one likes: what is a row, what is a column; what a cell lacks; its mark."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from datadream.errors import UserError
from datadream.report import notes as said
from datadream.report.judge import Judged
from datadream.report.rows import DATA, Row, method_order
from datadream.report.tables import Compared, top1
from datadream.text import counted

DIMENSIONS = ("method", "data", "shots", "source", "backbone", "split")
ROWS, COLUMNS = ("method", "data"), ("shots",)
NEVER = "– never run"
NAMED_SEEDS = 3

NAMED = ("method", "source", "backbone")  # dimensions whose values are pairs: a name, and what tells it apart

Key = tuple[Any, ...]


@dataclass(frozen=True)
class Cell:
    """What stands where a row meets a column. `row` is None where nothing was run; `lacks` are seeds others have.

    `mark` is BEST, ALIKE (not significantly different from the best) or "".
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

    A method's value is the pair of its name and settings; a source's and a backbone's, of its name and what tells it
    apart. `shared` holds the dimensions that have one value only, `letters` what stands for such texts.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    row_keys: tuple[Key, ...]
    column_keys: tuple[Key, ...]
    cells: tuple[tuple[Cell, ...], ...]
    shared: Mapping[str, Any]
    letters: Mapping[str, str]
    compared: Compared
    note: str = ""

    @property
    def table(self) -> Sequence[Row]:
        """The rows that were turned."""
        return self.compared.rows

    @property
    def judged(self) -> Judged:
        """Their marks and comparisons."""
        return self.compared.judged

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
        return [
            f"{of}: {shared}." if shared else f"{of}.",
            *said.meaning(self.table),
            *said.marks(self.judged),
            *([self.note] if self.note else []),
            *self.compared.cautions,
        ]

    def _label(self, names: Sequence[str], key: Key) -> str:
        return " ".join(self._named(name, value) for name, value in zip(names, key, strict=True))

    def _named(self, name: str, value: Any) -> str:
        if name == "shots":
            return counted(value, "shot")
        if name not in NAMED:
            return str(value)
        text = " ".join(filter(None, [value[0], self.letters.get(value[1], "")]))
        return f"backbone {text}" if name == "backbone" else text


def parse_pivot(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """`method+data,shots` as rows and columns. Raises UserError for a dimension that is none, or one named twice."""
    parts = text.split(",")
    if len(parts) != 2:
        raise UserError(f"--pivot needs rows and columns, not {text!r}", hint="e.g. --pivot method+data,shots")
    rows, columns = (tuple(name.strip() for name in part.split("+") if name.strip()) for part in parts)
    for name in (*rows, *columns):
        if name not in DIMENSIONS:
            raise UserError(f"unknown --pivot name {name!r}", hint=f"use any of {', '.join(DIMENSIONS)}")
        if (*rows, *columns).count(name) > 1:
            raise UserError(f"--pivot names {name!r} twice", hint="use it for rows or columns, not both")
    if not rows:
        raise UserError("--pivot needs at least one name for rows", hint="e.g. --pivot method+data,shots")
    return rows, columns


def pivot(compared: Compared, rows: Sequence[str] = ROWS, columns: Sequence[str] = COLUMNS, note: str = "") -> Pivot:
    """`compared` by `rows` and `columns`; a dimension that varies and isn't named is a column, so nothing is averaged.

    A row without a generator stands under every backbone that has its CLIP.
    """
    everywhere = _by_clip(compared.rows)
    places = [
        (row, {name: backbone if name == "backbone" else _value(row, name) for name in DIMENSIONS})
        for row in compared.rows
        for backbone in everywhere.get(row.id, [_value(row, "backbone")])
    ]
    values = {name: {of[name] for _, of in places} for name in DIMENSIONS}
    rest = [name for name in DIMENSIONS if name not in (*rows, *columns)]
    columns = (*columns, *(name for name in rest if len(values[name]) > 1))
    shared = {name: next(iter(values[name])) for name in rest if len(values[name]) == 1}
    marks = compared.judged.marks

    placed: dict[tuple[Key, Key], Row] = {}
    seeds_of_row: dict[Key, set[int]] = {}
    seeds_of_column: dict[Key, set[int]] = {}
    for row, of in places:
        at = tuple(of[name] for name in rows), tuple(of[name] for name in columns)
        placed[at] = row
        seeds_of_row.setdefault(at[0], set()).update(row.seeds)
        seeds_of_column.setdefault(at[1], set()).update(row.seeds)
    row_keys, column_keys = _ordered(seeds_of_row, rows), _ordered(seeds_of_column, columns)

    def cell(i: Key, j: Key) -> Cell:
        row = placed.get((i, j))
        wanted = set() if row and row.version else seeds_of_row[i] | seeds_of_column[j]  # nothing more of an old draw
        lacks = tuple(sorted(wanted - set(row.seeds if row else ())))
        return Cell(row, lacks, marks.get(row.id, "") if row else "")

    ordered = sorted(compared.rows, key=lambda row: [_order(name, _value(row, name)) for name in DIMENSIONS])
    return Pivot(
        rows=tuple(rows),
        columns=tuple(columns),
        row_keys=row_keys,
        column_keys=column_keys,
        cells=tuple(tuple(cell(i, j) for j in column_keys) for i in row_keys),
        shared=shared,
        letters=said.texts(ordered),
        compared=replace(compared, rows=tuple(ordered)),
        note=note,
    )


def _ordered(found: Iterable[Key], names: Sequence[str]) -> tuple[Key, ...]:
    return tuple(sorted(found, key=lambda key: [_order(name, value) for name, value in zip(names, key, strict=True)]))


def _by_clip(table: Sequence[Row]) -> dict[str, list[tuple[str, str]]]:
    """Of each row without a generator, by its id: the backbones of rows that have one and the same CLIP."""
    by_clip: dict[str, list[tuple[str, str]]] = {}
    for row in table:
        if "diffusion" in row.traits.models:
            by_clip.setdefault(row.traits.models.get("clip", ""), []).append(_value(row, "backbone"))
    return {
        row.id: list(dict.fromkeys(by_clip[clip]))
        for row in table
        if "diffusion" not in row.traits.models and (clip := row.traits.models.get("clip", "")) in by_clip
    }


def _value(row: Row, name: str) -> Any:
    notes = {"method": "settings", "source": "source_note", "backbone": "backbone_note"}
    return (getattr(row, name), getattr(row, notes[name])) if name in notes else getattr(row, name)


def _order(name: str, value: Any) -> Any:
    if name == "method":
        return method_order(*value)
    return DATA.index(value) if name == "data" and value in DATA else value
