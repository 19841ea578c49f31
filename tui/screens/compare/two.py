"""Two runs: which to take; then their numbers, the test between them, their classes, the settings that differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from datadream.text import ID_LENGTH, counted, shown
from tui.drawing import glyphs

if TYPE_CHECKING:
    from datadream.report.rows import Row
    from datadream.report.runs_diff import TwoRuns

WIDE = 100
ABOUT = "of these two classifiers only, not of their methods"


def against_best(table: Sequence[Row], marks: Mapping[str, str], row: Row) -> tuple[str, str] | None:
    """Runs of the best of its rivals and of `row`, of one seed and its shots; of the next best where none is shared."""
    from datadream.report.judge import BEST, common_seeds

    others = [other for other in table if other.rivals == row.rivals and other is not row]
    others.sort(key=lambda other: (marks.get(other.id, "") != BEST, -other.mean))
    for other in others:
        for seed in common_seeds([other, row]):
            return other.run_ids[other.seeds.index(seed)], row.run_ids[row.seeds.index(seed)]
    return None


def side_by_side(found: TwoRuns, width: int) -> RenderableType:
    """Everything, for a place of `width` cells."""
    return Group(
        _numbers(found),
        Text(),
        Text("Accuracy by class: largest difference first", "bold underline"),
        _classes(found, 20 if width >= WIDE else 8),
        Text(),
        Text("Settings that differ", "bold underline"),
        _settings(found),
    )


def _numbers(found: TwoRuns) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, justify="right")
    table.add_column(overflow="fold")
    for sign, record, accuracy, n in zip("AB", (found.a, found.b), found.accuracy, found.n_test, strict=True):
        table.add_row(
            Text(shown(f"{sign} {str(record['id'])[:ID_LENGTH]}"), "bold"), f"{100 * accuracy:.1f}%", _name(record, n)
        )
    lines: list[RenderableType] = [table]
    if found.difference is None or found.p is None:
        lines.append(Text(shown(found.why), "yellow"))
    else:
        from datadream.report.judge import interval_text

        images = f"95 % over {counted(found.difference.images, 'image')}"
        text = f"B {glyphs.DASH} A: {interval_text(found.difference)} points ({images}); McNemar p = {found.p:.3g}"
        lines.append(Text(text))
    return Group(*lines)


def _name(record: Mapping[str, Any], n: int) -> Text:
    text = f"{record['method']} {record['data']}, {counted(record['shots'], 'shot')}, seed {record['seed']}"
    text += f", {record['source']}"
    return Text(shown(f"{text}, {counted(n, 'image')}"))


def _classes(found: TwoRuns, width: int) -> RenderableType:
    if not found.classes:
        return Text("the classes differ", "dim")
    table = Table(box=None, padding=(0, 1, 0, 0), show_header=True)
    table.add_column("class", max_width=20, overflow="ellipsis", no_wrap=True)
    for name in ("A", "", "B", "", f"B {glyphs.DASH} A"):
        table.add_column(name, justify="right", no_wrap=True)
    order = sorted(found.classes, key=lambda pair: (-abs(pair.difference), pair.name))
    for pair in order:
        a, b = (counts[0] / counts[1] if counts[1] else 0.0 for counts in (pair.a, pair.b))
        sign = glyphs.UP if pair.difference > 0 else glyphs.DOWN if pair.difference < 0 else " "
        table.add_row(
            *(Text(shown(pair.name)), glyphs.bar(a, width), f"{100 * a:.1f}", glyphs.bar(b, width), f"{100 * b:.1f}"),
            f"{100 * pair.difference:+.1f} {sign}",
        )
    return table


def _settings(found: TwoRuns) -> RenderableType:
    if not found.settings:
        return Text("none", "dim")
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("key", "A", "B"):
        table.add_column(name, overflow="fold")
    for key, a, b in found.settings:
        table.add_row(*(Text(shown(text)) for text in (key, a, b)))
    return table
