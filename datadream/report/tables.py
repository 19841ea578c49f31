"""Rows as a terminal table, JSON, CSV, Markdown and LaTeX, and paired comparisons in words."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from string import ascii_lowercase
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from datadream.report.rows import Row, Run, unequal_passes
from datadream.report.stats import Difference, paired_difference

HEADERS = ("method", "data", "shots", "top-1 %", "seeds", "images", "seconds")
STAGES = ("adapt", "generate", "classify")
LATEX = {"&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}"}
LATEX |= {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "±": r"$\pm$"}


def render(rows: Sequence[Row], format_: str) -> str:
    """`rows` as json, csv, md or latex."""
    return {"json": _json, "csv": _csv, "md": _markdown, "latex": _latex}[format_](rows)


def rich_table(rows: Sequence[Row]) -> Table:
    """For the terminal, whole at 80 columns; the best of each number of shots is bold."""
    table = Table(box=SIMPLE_HEAD, caption="\n".join(notes(rows)), caption_justify="left", pad_edge=False, padding=0)
    for header in HEADERS:
        left = header in ("method", "data")
        table.add_column(header, justify="left" if left else "right", no_wrap=not left)
    best = _best(rows)
    previous: int | None = None
    for row, line in zip(rows, cells(rows), strict=True):
        if previous not in (None, row.shots):
            table.add_section()
        previous = row.shots
        table.add_row(*(escape(cell) for cell in line), style="bold" if id(row) in best else "")
    return table


def notes(rows: Sequence[Row]) -> list[str]:
    """What a reader must know: data, number of test images, what ± and [ ] mean, unequal compute."""
    found = []
    for key in dict.fromkeys((row.source, row.backbone, row.split, row.n_test) for row in rows):
        source, backbone, split, n = key
        found.append(f"{source}, backbone {backbone}: top-1 over all {n} {split} images.")
    if any(len(row.seeds) > 1 for row in rows):
        found.append("± is the standard deviation over seeds.")
    if any(len(row.seeds) == 1 for row in rows):
        found.append("[ ] is the 95 % Wilson interval of one seed.")
    found.append("seconds are of adapting + generating + training, summed over seeds.")
    found += [f"({mark}) {settings}" for settings, mark in _marks(rows).items()]
    passes = [row.image_passes for row in rows if row.data != "none"]
    odd = unequal_passes(rows)
    if odd:
        named = ", ".join(f"{row.method} {row.data} {row.shots} shots: {row.image_passes:,}" for row in odd)
        found.append(f"Unequal compute, image passes differ from the other rows': {named}.")
    elif passes:
        found.append(f"Every classifier was trained on the same {passes[0]:,} image passes.")
    return found


@dataclass(frozen=True)
class Comparison:
    """A method with real and synthetic images against real-only, on the same images and seeds."""

    method: str
    settings: str
    shots: int
    seeds: int
    n_test: int
    difference: Difference

    def __str__(self) -> str:
        low, high = 100 * self.difference.interval.low, 100 * self.difference.interval.high
        seeds = f"{self.seeds} seed{'s' * (self.seeds != 1)}"
        verdict = "0 is inside, no difference shown" if self.difference.interval.holds(0) else "0 is outside"
        altered = f" (with {self.settings})" if self.settings else ""
        return (
            f"{self.method} real+synth - real-only, {self.shots} shots: {100 * self.difference.mean:+.1f} points "
            f"[{low:+.1f}, {high:+.1f}] over {seeds}; {verdict}{altered}"
        )


def comparisons(runs: Sequence[Run]) -> list[Comparison]:
    """Each method's real+synth against real-only of the same source, backbone, split, shots and seeds."""
    found = []

    def place(run: Run) -> tuple[str, str, str, int]:
        return run.source, run.backbone, run.split, run.shots

    real = {(place(run), run.seed): run for run in runs if run.method == "real-only" and not run.settings_id}
    real = real or {(place(run), run.seed): run for run in runs if run.method == "real-only"}
    groups: dict[tuple[tuple[str, str, str, int], str, str], dict[int, Run]] = {}
    for run in runs:
        other = real.get((place(run), run.seed))
        if run.data == "real+synth" and other is not None and other.keys == run.keys:
            groups.setdefault((place(run), run.method, run.settings_id), {})[run.seed] = run
    for (where, method, settings), by_seed in groups.items():
        chosen = [by_seed[seed] for seed in sorted(by_seed)]
        others = [real[where, run.seed] for run in chosen]
        difference = paired_difference([run.correct for run in chosen], [run.correct for run in others])
        found.append(Comparison(method, settings, where[3], len(chosen), len(chosen[0].keys), difference))
    return sorted(found, key=lambda entry: entry.shots)


def top1(row: Row) -> str:
    """`89.2 ± 1.3` over seeds, or `89.2 [86.7, 91.3]` for one."""
    if len(row.seeds) > 1:
        return f"{100 * row.mean:.1f} ± {100 * row.std:.1f}"
    return f"{100 * row.mean:.1f} [{100 * row.interval.low:.1f}, {100 * row.interval.high:.1f}]"


def _marks(rows: Sequence[Row]) -> dict[str, str]:
    """A letter for every set of overrides that occurs."""
    settings = dict.fromkeys(row.settings for row in rows if row.settings)
    return {setting: ascii_lowercase[i % 26] * (i // 26 + 1) for i, setting in enumerate(settings)}


def cells(rows: Sequence[Row]) -> list[list[str]]:
    """The text of every row under HEADERS."""
    marks = _marks(rows)
    return [
        [
            f"{row.method} ({marks[row.settings]})" if row.settings else row.method,
            row.data,
            str(row.shots),
            top1(row),
            str(len(row.seeds)),
            f"{row.images:,}" if row.images else "",
            "+".join(f"{row.stage_seconds[stage]:.0f}" for stage in STAGES if stage in row.stage_seconds),
        ]
        for row in rows
    ]


def _best(rows: Sequence[Row]) -> set[int]:
    """Identities of the rows with the highest mean of their number of shots."""
    groups: dict[tuple[str, str, str, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.source, row.backbone, row.split, row.shots), []).append(row)
    return {id(row) for group in groups.values() for row in group if row.mean == max(other.mean for other in group)}


def _plain(row: Row) -> dict[str, Any]:
    """The nine keys that stay stable, then the rest."""
    content = asdict(row)
    content["interval"] = [row.interval.low, row.interval.high]
    return content


def _json(rows: Sequence[Row]) -> str:
    return json.dumps([_plain(row) for row in rows], ensure_ascii=False, allow_nan=False, indent=2)


def _csv(rows: Sequence[Row]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    flat = [
        {
            key: " ".join(map(str, value)) if isinstance(value, list) else value
            for key, value in _plain(row).items()
            if key != "stage_seconds"
        }
        for row in rows
    ]
    writer.writerow(
        flat[0] if flat else ["method", "data", "shots", "seeds", "accuracy", "mean", "std", "n_test", "seconds"]
    )
    writer.writerows(entry.values() for entry in flat)
    return out.getvalue().rstrip("\n")


def _markdown(rows: Sequence[Row]) -> str:
    lines = ["| " + " | ".join(HEADERS) + " |", "|---|---|" + "--:|" * (len(HEADERS) - 2)]
    best = _best(rows)
    for row, plain in zip(rows, cells(rows), strict=True):
        line = [cell.replace("|", r"\|") for cell in plain]
        if id(row) in best:
            line[3] = f"**{line[3]}**"
        lines.append("| " + " | ".join(line) + " |")
    return "\n".join([*lines, "", *notes(rows)])


def _latex(rows: Sequence[Row]) -> str:
    def safe(text: str) -> str:
        return "".join(LATEX.get(character, character) for character in text)

    best = _best(rows)
    lines = [r"\begin{tabular}{llrrrrr}", r"\toprule", " & ".join(map(safe, HEADERS)) + r" \\", r"\midrule"]
    for row, plain in zip(rows, cells(rows), strict=True):
        line = [safe(cell) for cell in plain]
        if id(row) in best:
            line[3] = rf"\textbf{{{line[3]}}}"
        lines.append(" & ".join(line) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", *("% " + note for note in notes(rows))]
    return "\n".join(lines)
