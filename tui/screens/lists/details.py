"""Parts of the details of a row: names and values, bars of accuracy by class, a confusion map as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from datadream.text import cell, shown
from tui.drawing import glyphs

BAR = 20
CLASSES_SHOWN = 12  # in a pane; the best and worst of more


def facts(row: Mapping[str, Any], names: Sequence[str], **more: Any) -> RenderableType:
    """Names and values, those that have one; long values go on in the next line."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), expand=True)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(ratio=1, overflow="fold")
    for name, value in [*((name, row.get(name)) for name in names), *more.items()]:
        said = "\n".join(shown(line) for line in value.split("\n")) if isinstance(value, str) else cell(name, value)
        if value not in (None, "", []):
            table.add_row(
                name, Text(cell(name, value) if name in ("created", "submitted", "started", "ended") else said)
            )
    return table


def class_bars(names: Sequence[str], per_class: Sequence[Sequence[int]], most: int = 0) -> RenderableType:
    """A bar a class, worst first; of more than `most` classes the worst and best ones."""
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True, max_width=24, overflow="ellipsis")
    for _ in range(3):
        table.add_column(justify="right", no_wrap=True)
    order = sorted(range(len(per_class)), key=lambda i: (_part(per_class[i]), i))
    half = most // 2
    chosen: list[int | None] = [*order]
    if most and len(order) > most:
        chosen = [*order[:half], None, *order[-half:]]
    for i in chosen:
        if i is None:
            table.add_row(Text(f"{glyphs.ELLIPSIS} {len(order) - 2 * half} more", "dim"))
            continue
        correct, total = per_class[i]
        part = _part(per_class[i])
        name = names[i] if i < len(names) else f"class {i}"
        table.add_row(Text(shown(name)), glyphs.bar(part, BAR), f"{100 * part:.1f}%", Text(f"{correct}/{total}", "dim"))
    return table


def _part(counts: Sequence[int]) -> float:
    return counts[0] / counts[1] if counts[1] else 0.0
