"""Details of sets, adapters and synthetic sets: facts, class tables, a curve, and images in rows. All in the pool."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from datadream.errors import UserError
from datadream.text import counted, shown
from tui.drawing import glyphs
from tui.drawing.half_blocks import lines_of
from tui.screens.lists.details import facts
from tui.services import album as albums
from tui.services import images
from tui.services.images import Picture
from tui.widgets.table_columns import Row

if TYPE_CHECKING:
    from datadream.data.shots import ShotSet
    from tui.services.data import Data

SIDE = 10  # cells an image of a row is wide
CURVE_LINES = 8
CLASSES_SHOWN = 40
NAMES_SHOWN = 6
BESIDE = 90  # cells a curve and images need side by side


def set_details(data: Data, row: Row, width: int, dark: bool) -> RenderableType:
    """A few-shot set: facts, split and leaks, classes, and the first shot of each class."""
    from datadream.home.sets import warnings_of

    found = albums.load_shots(data, str(row["id"]))
    about = facts(
        row,
        ("id", "name", "source", "shots", "seed", "split_seed", "classes", "created", "tags"),
        sampler=found.sampler,
        folder=found.source.get("path", ""),
        split=f"{counted(len(found.train), 'shot')}, {len(found.val)} val, {len(found.test)} test images, "
        "in three disjoint parts",
        hashes=f"{len({ref.sha256 for ref in (*found.train, *found.val, *found.test)}):,} sha256",
        warnings="\n".join(warnings_of(data.home, str(row["id"]))) or "none",
    )
    by_folder = albums.shots_by_folder(found)
    first = [(class_.name, by_folder[class_.folder][0].picture) for class_ in found.classes]
    return Group(sheet(first, width, dark), about, Text(), class_table(found))


def class_table(shots: ShotSet) -> RenderableType:
    """Name, prompt, and how many images of each part."""
    counts = [Counter(ref.label for ref in part) for part in (shots.train, shots.val, shots.test)]
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("class", no_wrap=True, max_width=24, overflow="ellipsis")
    for name in ("shots", "val", "test"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("prompt", overflow="ellipsis", no_wrap=True)
    for label, class_ in enumerate(shots.classes[:CLASSES_SHOWN]):
        numbers = [str(count[label]) for count in counts]
        table.add_row(Text(shown(class_.name)), *numbers, Text(shown(shots.prompts[label])))
    more = len(shots.classes) - CLASSES_SHOWN
    return Group(table, Text(f"{glyphs.ELLIPSIS} {more} more, enter shows them", "dim")) if more > 0 else table


def adapter_details(data: Data, row: Row, width: int, dark: bool) -> RenderableType:
    """An adapter: from which shots, by which recipe, its curve, and the first shots."""
    from datadream.home.artifacts import read_manifest
    from store import queries

    registry, adapter_id = data.registry(), str(row["id"])
    manifest = read_manifest(data.home, "adapter", adapter_id)
    settings, origin = manifest["spec"]["settings"], manifest["origin"]
    runs = queries.lineage(registry, adapter_id)["runs"]
    about = facts(
        row,
        ("id", "per", "rank", "seed", "seconds", "device", "bytes", "created", "tags"),
        shots=_set_words(data, str(row["set"])),
        recipe=", ".join(dict.fromkeys(str(run["method"]) for run in runs)),
        settings=", ".join(
            f"{name} {_short(value)}" for name, value in settings.items() if name not in ("per", "rank")
        ),
        model=str((manifest["spec"].get("model") or {}).get("location", "")),
        used_by=_runs_words(runs),
    )
    points = queries.metrics(registry, str(origin["job"]))
    try:
        found = albums.load_shots(data, str(row["set"]))
    except UserError as error:
        return Group(curve(points, width), about, Text(shown(error.message), "dim"))
    by_folder = albums.shots_by_folder(found)
    first = [(class_.name, by_folder[class_.folder][0].picture) for class_ in found.classes]
    if width < BESIDE:
        return Group(curve(points, width), sheet(first, width, dark), about)
    grid = Table.grid(padding=(0, 2))
    grid.add_row(curve(points, width // 2), sheet(first, width // 2 - 2, dark))
    return Group(grid, about)


def synth_details(data: Data, row: Row, width: int, dark: bool) -> RenderableType:
    """A synthetic set: from which adapter and shots, how it was drawn, who used it, an image of each class."""
    from store import queries

    album = albums.read_synth(data, str(row["id"]))
    runs = queries.lineage(data.registry(), album.id)["runs"]
    marks = album.marks
    about = facts(
        row,
        ("id", "images_per_class", "num_classes", "guidance_scale", "num_inference_steps", "seed", "seconds", "bytes"),
        adapter=str(row["adapter"] or "none: generated from class names alone"),
        shots=_set_words(data, album.set_id) if album.set_id else album.no_shots,
        method=", ".join(dict.fromkeys(str(run["method"]) for run in runs)),
        used_by=_runs_words(runs),
        marked=f"{counted(len(marks.images), 'image')} and {counted(len(marks.classes), 'class')} as bad"
        if marks
        else "",
        created=row["created"],
        tags=row["tags"],
    )
    first = [(class_.name, Picture(album.folder, album.name(i, 0))) for i, class_ in enumerate(album.classes)]
    return Group(sheet(first, width, dark), about)


def sheet(pictures: Sequence[tuple[str, Picture]], width: int, dark: bool) -> Text:
    """One row of small images with their names, as many as fit."""
    high = SIDE // 2
    fit = max(1, (width + 1) // (SIDE + 1))
    text = Text(no_wrap=True, overflow="crop")
    blocks = []
    for name, picture in pictures[:fit]:
        lines = lines_of(images.THUMBS.load(picture, SIDE, SIDE), SIDE, high, dark)
        blocks.append((name, lines))
    for y in range(high):
        for _, lines in blocks:
            line = lines[y] if y < len(lines) else []
            for segment in line:
                text.append(segment.text, segment.style)
            text.append(" " * (SIDE + 1 - sum(segment.cell_length for segment in line)))
        text.append("\n")
    for name, _ in blocks:
        label = Text(shown(name))
        label.truncate(SIDE, overflow="ellipsis", pad=True)
        text.append_text(label).append(" ")
    if len(pictures) > fit:
        text.append(f"\n{glyphs.ELLIPSIS} {len(pictures) - fit} more classes", "dim")
    return text


def curve(metrics: dict[str, list[tuple[int, float]]], width: int) -> RenderableType:
    """The loss over steps; of several adapters one after another."""
    from tui.drawing.braille import MIN_WIDTH, Look, Series, draw

    points = metrics.get("loss", [])
    if len(points) < 2:
        return Text("no curve in the registry: the job's folder is gone, or it reported no metrics", "dim")
    series = Series("loss", [step for step, _ in points], [value for _, value in points])
    lines = draw([series], max(MIN_WIDTH, min(width, 100)), CURVE_LINES, Look(ascii=glyphs.ASCII))
    return Text("\n".join("".join(piece for piece, _ in line) for line in lines), no_wrap=True, overflow="crop")


def _set_words(data: Data, set_id: str) -> str:
    from store import queries

    rows = queries.rows_of(data.registry(), "set", [set_id])
    if not rows:
        return f"{set_id}, which no longer exists"
    few = f"{counted(rows[0]['shots'], 'shot')}, seed {rows[0]['seed']}"
    return f"{shown(str(rows[0]['name'] or ''))} {set_id[:8]}: {few}".strip()


def _runs_words(runs: Sequence[dict[str, Any]]) -> str:
    named = [f"{run['id'][:8]} {run['method']} {run['data']}" for run in runs[:NAMES_SHOWN]]
    more = [f"{len(runs) - NAMES_SHOWN} more"] if len(runs) > NAMES_SHOWN else []
    return ", ".join(named + more)


def _short(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
