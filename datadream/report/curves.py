"""From a table's rows to curves: accuracy over shots, and over synthetic images a class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from datadream.report.rows import Row
from datadream.text import counted

IMAGES = "generate.images_per_class"


@dataclass(frozen=True)
class Point:
    """Accuracies in percent at `x`; `seeds` is how many."""

    x: float
    mean: float
    std: float
    seeds: int


@dataclass(frozen=True)
class Curve:
    """One method with its settings, on one source, backbone and split; points in order of x."""

    name: str
    points: tuple[Point, ...]


def over_shots(table: Sequence[Row]) -> list[Curve]:
    """A curve for each method, mix and settings."""
    return _curves(table, lambda row: row.shots, lambda row: row.settings)


def over_images(table: Sequence[Row]) -> list[Curve]:
    """A curve for each method, mix, shots and other settings, over the images a class that were drawn."""
    known = [row for row in table if images_per_class(row) is not None]
    return _curves(known, lambda row: images_per_class(row) or 0, _other_values, shots=True)


def images_per_class(row: Row) -> int | None:
    """What its recipe resolved to; None for a row without synthetic images."""
    found = row.traits.recipe.get(IMAGES, "")
    return int(found) if found.isdigit() else None


def _other_values(row: Row) -> str:
    values = [f"{name}={value}" for name, value in sorted(row.traits.recipe.items()) if name != IMAGES]
    return " ".join([*values, f"version {row.version}", "without marked" if any(row.left_out) else ""])


def _place(row: Row) -> str:
    notes = f"({row.differs})" if row.differs else ""
    return " ".join(filter(None, [row.source, row.backbone, row.split, notes]))


def _curves(
    table: Sequence[Row], x: Callable[[Row], int], settings: Callable[[Row], str], shots: bool = False
) -> list[Curve]:
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in table:
        key = (row.method, row.data, settings(row), row.place, _place(row), *((row.shots,) if shots else ()))
        groups.setdefault(key, []).append(row)
    places = {_place(row) for row in table}
    letters: dict[str, str] = {}
    for row in table:
        letters.setdefault(settings(row), f"({len(letters) + 1})")
    found = []
    for (method, data, own, _, place, *_), rows in groups.items():
        name = [method, data]
        if len({key[2] for key in groups if key[:2] == (method, data)}) > 1:
            name.append(letters[own])
        if len(places) > 1:
            name.append(place)
        if shots and len({row.shots for row in table}) > 1:
            name.append(counted(rows[0].shots, "shot"))
        points = [Point(x(row), 100 * row.mean, 100 * row.std, len(row.seeds)) for row in sorted(rows, key=x)]
        found.append(Curve(" ".join(name), tuple(points)))
    return found
