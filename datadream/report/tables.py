"""Rows as a terminal table, JSON, CSV, Markdown and LaTeX, and paired comparisons in words."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from operator import attrgetter
from string import ascii_lowercase
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from datadream.report.rows import Row, Run, unequal_passes, usual_passes
from datadream.report.stats import Difference, paired_difference
from datadream.text import csv_cell, json_text, latex, markdown, shown

HEADERS = ("method", "data", "shots", "top-1 %", "seeds", "images", "seconds")
STAGES = ("adapt", "generate", "classify")
STABLE = ("method", "data", "shots", "seeds", "accuracy", "mean", "std", "n_test", "seconds")  # keys of every row
RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹"


def render(rows: Sequence[Row], format_: str) -> str:
    """`rows` as json, csv, md or latex."""
    return {"json": _json, "csv": _csv, "md": _markdown, "latex": _latex}[format_](rows)


def rich_table(rows: Sequence[Row]) -> Table:
    """For the terminal, whole at 80 columns; the best of each number of shots is bold."""
    caption = Text("\n".join(map(shown, notes(rows))))
    table = Table(box=SIMPLE_HEAD, caption=caption, caption_justify="left", pad_edge=False, padding=0)
    for header in HEADERS:
        left = header in ("method", "data")
        # Folded, never cut: two methods may differ in their last letters only.
        table.add_column(header, justify="left" if left else "right", no_wrap=not left, overflow="fold")
    best = _best(rows)
    previous: Row | None = None
    for row, line in zip(rows, cells(rows), strict=True):
        if previous is not None and _rivals(previous) != _rivals(row):
            table.add_section()
        previous = row
        table.add_row(*(escape(shown(cell)) for cell in line), style="bold" if id(row) in best else "")
    return table


def notes(rows: Sequence[Row]) -> list[str]:
    """What a reader must know: data, number of test images, what ± and [ ] mean, unequal compute."""
    found = []
    for (source, backbone, split, n), mark in _places(rows).items():
        found.append(f"{mark} {source}, backbone {backbone}: top-1 over all {n:,} {split} images.".lstrip())
    if any(len(row.seeds) > 1 for row in rows):
        found.append("± is the standard deviation over seeds.")
    if any(len(row.seeds) == 1 for row in rows):
        found.append("In [ ] stands the 95 % Wilson interval of one seed.")
    found.append("seconds are of adapting + generating + training, those a method has, summed over seeds.")
    found += [f"{mark} {settings}." for settings, mark in setting_marks(rows).items()]
    passes = sorted(set(usual_passes(rows).values()))
    odd = unequal_passes(rows)
    if odd:
        named = ", ".join(f"{row.method} {row.data} {row.shots} shots: {row.image_passes:,}" for row in odd)
        found.append(f"Unequal compute, image passes differ from the other rows': {named}.")
    elif len(passes) == 1:
        found.append(f"Every classifier was trained on the same {passes[0]:,} image passes.")
    elif passes:
        found.append("Classifiers of one set and backbone were trained on the same number of image passes.")
    return found


@dataclass(frozen=True)
class Comparison:
    """A method with real and synthetic images minus real-only, on the same images and seeds.

    `settings` are of the method, `baseline` of the real-only runs it is compared with.
    """

    method: str
    settings: str
    baseline: str
    source: str
    backbone: str
    split: str
    shots: int
    seeds: int
    n_test: int
    difference: Difference

    def __str__(self) -> str:
        interval = self.difference.interval
        verdict = "holds 0: no difference shown" if interval.holds(0) else "leaves out 0"
        method = f"{self.method} ({self.settings})" if self.settings else self.method
        baseline = f"real-only ({self.baseline})" if self.baseline else "real-only"
        return (
            f"real+synth − {baseline}, {method}, {self.source}, {_count(self.shots, 'shot')}: "
            f"{_points(self.difference.mean)} points [{_points(interval.low)}, {_points(interval.high)}] "
            f"(95 % paired bootstrap over {self.n_test:,} {self.split} images, {_count(self.seeds, 'seed')}); "
            f"the interval {verdict}"
        )


def comparisons(runs: Sequence[Run]) -> list[Comparison]:
    """Each method's real+synth against real-only of the same source, backbone, split and shots, over common seeds.

    One variant of real-only serves all seeds of a comparison: the one with the same settings if there is one, else
    the recipe as shipped, else the latest. Runs judged on different images are left out.
    """
    real: dict[tuple[object, ...], dict[str, dict[int, Run]]] = {}
    mixed: dict[tuple[tuple[object, ...], str, str], dict[int, Run]] = {}
    for run in runs:
        where = (*run.place, run.shots)
        if run.method == "real-only":
            variants = real.setdefault(where, {})
            variants[run.settings_id] = {**variants.pop(run.settings_id, {}), run.seed: run}  # the latest stands last
        elif run.data == "real+synth":
            mixed.setdefault((where, run.method, run.settings_id), {})[run.seed] = run
    found = [_compare(by_seed, real.get(where, {})) for (where, *_), by_seed in mixed.items()]
    place = attrgetter("source", "backbone", "split", "shots")
    return sorted((entry for entry in found if entry is not None), key=place)


def _compare(by_seed: dict[int, Run], variants: dict[str, dict[int, Run]]) -> Comparison | None:
    first = next(iter(by_seed.values()))
    for settings in dict.fromkeys([first.settings_id, "", *reversed(variants)]):
        base = variants.get(settings, {})
        seeds = [
            seed for seed in sorted(by_seed) if seed in base and base[seed].keys == by_seed[seed].keys == first.keys
        ]
        if seeds:
            break
    else:
        return None
    difference = paired_difference([by_seed[seed].correct for seed in seeds], [base[seed].correct for seed in seeds])
    return Comparison(
        method=first.method,
        settings=first.settings_id,
        baseline=settings,
        source=first.source,
        backbone=first.backbone,
        split=first.split,
        shots=first.shots,
        seeds=len(seeds),
        n_test=len(first.keys),
        difference=difference,
    )


def _points(share: float) -> str:
    """`+0.7`, `−0.4` or `0.0`: a share in percent, signed."""
    text = f"{100 * share:+.1f}"
    return "0.0" if text[1:] == "0.0" else text.replace("-", "−")


def _count(number: int, word: str) -> str:
    return f"{number:,} {word}{'s' * (number != 1)}"


def top1(row: Row) -> str:
    """`89.2 ± 1.3` over seeds, or `89.2 [86.7, 91.3]` for one."""
    if len(row.seeds) > 1:
        return f"{100 * row.mean:.1f} ± {100 * row.std:.1f}"
    return f"{100 * row.mean:.1f} [{100 * row.interval.low:.1f}, {100 * row.interval.high:.1f}]"


def setting_marks(rows: Sequence[Row]) -> dict[str, str]:
    """A letter for every set of overrides that occurs: (a), (b)."""
    settings = dict.fromkeys(row.settings for row in rows if row.settings)
    return {setting: f"({ascii_lowercase[i % 26] * (i // 26 + 1)})" for i, setting in enumerate(settings)}


def _places(rows: Sequence[Row]) -> dict[tuple[str, str, str, int], str]:
    """A raised number for every source, backbone, split and count of images, when there are several."""
    found = dict.fromkeys((*row.place, row.n_test) for row in rows)
    digits = str.maketrans("0123456789", RAISED)
    return {place: str(i).translate(digits) if len(found) > 1 else "" for i, place in enumerate(found, 1)}


def cells(rows: Sequence[Row]) -> list[list[str]]:
    """The text of every row under HEADERS; the marks beside a method are explained in `notes`."""
    marks, places = setting_marks(rows), _places(rows)
    return [
        [
            " ".join(filter(None, [row.method, places[*row.place, row.n_test], marks.get(row.settings, "")])),
            row.data,
            str(row.shots),
            top1(row),
            str(len(row.seeds)),
            f"{row.images:,}" if row.images else "",
            "+".join(f"{row.stage_seconds[stage]:.0f}" for stage in STAGES if stage in row.stage_seconds),
        ]
        for row in rows
    ]


def _rivals(row: Row) -> tuple[object, ...]:
    return *row.place, row.n_test, row.shots


def _best(rows: Sequence[Row]) -> set[int]:
    """Identities of the rows with the highest mean of their place and number of shots."""
    highest: dict[tuple[object, ...], float] = {}
    for row in rows:
        highest[_rivals(row)] = max(row.mean, highest.get(_rivals(row), 0.0))
    return {id(row) for row in rows if row.mean == highest[_rivals(row)]}


def _plain(row: Row) -> dict[str, Any]:
    """The nine keys that stay stable, then the rest."""
    content = asdict(row)
    content["interval"] = [row.interval.low, row.interval.high]
    return content


def _json(rows: Sequence[Row]) -> str:
    return json_text([_plain(row) for row in rows], indent=2)


def _csv(rows: Sequence[Row]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    flat = [_flat(row) for row in rows]
    writer.writerow(flat[0] if flat else STABLE)
    writer.writerows(map(csv_cell, entry.values()) for entry in flat)
    return out.getvalue().rstrip("\n")


def _flat(row: Row) -> dict[str, Any]:
    """One cell a value: lists joined by spaces, the interval and the stages a column each (empty: no such stage)."""
    content = _plain(row)
    content["interval_low"], content["interval_high"] = content.pop("interval")
    stages = content.pop("stage_seconds")
    content |= {f"{stage}_seconds": stages.get(stage, "") for stage in STAGES}
    return {key: " ".join(map(str, value)) if isinstance(value, list) else value for key, value in content.items()}


def _markdown(rows: Sequence[Row]) -> str:
    lines = ["| " + " | ".join(HEADERS) + " |", "|---|---|" + "--:|" * (len(HEADERS) - 2)]
    best = _best(rows)
    for row, plain in zip(rows, cells(rows), strict=True):
        line = [markdown(cell) for cell in plain]
        if id(row) in best:
            line[3] = f"**{line[3]}**"
        lines.append("| " + " | ".join(line) + " |")
    return "\n".join([*lines, "", *(f"- {markdown(note)}" for note in notes(rows))])


def _latex(rows: Sequence[Row]) -> str:
    """A `table` that needs the package booktabs; the notes are its caption."""

    best = _best(rows)
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{latex(' '.join(notes(rows)))}}}"]
    lines += [r"\begin{tabular}{llrrrrr}", r"\toprule", " & ".join(map(latex, HEADERS)) + r" \\"]
    previous = None
    for row, plain in zip(rows, cells(rows), strict=True):
        if previous != _rivals(row):
            lines.append(r"\midrule")
        previous = _rivals(row)
        line = [latex(cell) for cell in plain]
        if id(row) in best:
            line[3] = rf"\textbf{{{line[3]}}}"
        lines.append(" & ".join(line) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"])
