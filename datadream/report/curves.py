"""From a table's rows to curves: accuracy over shots, and over synthetic images a class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from datadream.report.rows import Row

IMAGES = "generate.images_per_class="


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
    """A curve for each method, mix, shots and other settings, over the `images_per_class` that were asked for.

    Rows that keep their recipe's own number aren't drawn: it isn't recorded beside their number.
    """
    known = [row for row in table if images_per_class(row.settings) is not None]
    return _curves(
        known, lambda row: images_per_class(row.settings) or 0, lambda row: _without(row.settings), shots=True
    )


def images_per_class(settings: str) -> int | None:
    """The override of that name, None without one."""
    for part in settings.split():
        if part.startswith(IMAGES) and part.removeprefix(IMAGES).isdigit():
            return int(part.removeprefix(IMAGES))
    return None


def _without(settings: str) -> str:
    return " ".join(part for part in settings.split() if not part.startswith(IMAGES))


def _curves(
    table: Sequence[Row], x: Callable[[Row], int], settings: Callable[[Row], str], shots: bool = False
) -> list[Curve]:
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in table:
        key = (row.method, row.data, settings(row), *row.place, *((row.shots,) if shots else ()))
        groups.setdefault(key, []).append(row)
    places = {row.place for row in table}
    letters: dict[str, str] = {}
    for row in table:
        letters.setdefault(settings(row), f"({len(letters) + 1})")
    found = []
    for (method, data, own, *rest), rows in groups.items():
        name = [method, data]
        if len({key[2] for key in groups if key[:2] == (method, data)}) > 1:
            name.append(letters[own])
        if len(places) > 1:
            name.append(" ".join(map(str, rest[:3])))
        if shots and len({row.shots for row in table}) > 1:
            name.append(f"{rest[3]} shots")
        points = [Point(x(row), 100 * row.mean, 100 * row.std, len(row.seeds)) for row in sorted(rows, key=x)]
        found.append(Curve(" ".join(name), tuple(points)))
    return found
