"""Rows as a terminal table, JSON, CSV, Markdown and LaTeX, with their marks and real+synth against real-only."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from datadream.report import notes as said
from datadream.report.judge import BEST, Comparison, Judged
from datadream.report.rows import STAGES, Row, unequal_passes
from datadream.text import csv_cell, json_text, latex, markdown, shown

HEADERS = ("method", "data", "shots", "top-1 %", "n", "images", "seconds")
STABLE = ("method", "data", "shots", "seeds", "accuracy", "mean", "std", "n_test", "seconds")  # keys of every row
APART = ("traits", "place", "source_note", "backbone_note", "key", "version")  # of a row, said otherwise or not at all
RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹"


@dataclass(frozen=True)
class Compared:
    """All that a renderer shows: rows, their marks, and in words what else there is to know of these runs."""

    rows: Sequence[Row]
    judged: Judged = field(default_factory=Judged)
    warnings: Sequence[str] = ()
    commands: Mapping[str, str] = field(default_factory=dict)  # of rows without common ground, what gets it

    @property
    def against(self) -> list[str]:
        """Real+synth against real-only, in words."""
        return said.against(self.judged, said.texts(self.rows))

    @property
    def cautions(self) -> list[str]:
        """What a number must not be read without: what letters stand for, compute, what marks lack, what is left."""
        return [*said.letters(said.texts(self.rows)), *said.equal(self.rows), *self.warned]

    @property
    def warned(self) -> list[str]:
        """What isn't there when all is well: unequal compute, marks without common ground, runs left out."""
        ground = said.ground(self.judged, self.commands, said.texts(self.rows))
        return [*said.unequal(self.rows), *ground, *self.warnings]


def render(table: Compared, format_: str) -> str:
    """`table` as json, csv, md or latex."""
    return {"json": _json, "csv": _csv, "md": _markdown, "latex": _latex}[format_](table)


def rich_table(found: Compared) -> Table:
    """For the terminal, whole at 80 columns; the best of each number of shots is bold."""
    caption = Text("\n".join(map(shown, notes(found))))
    table = Table(box=SIMPLE_HEAD, caption=caption, caption_justify="left", pad_edge=False, padding=0)
    for header in HEADERS:
        left = header in ("method", "data")
        # Folded, never cut: two methods may differ in their last letters only.
        table.add_column(header, justify="left" if left else "right", no_wrap=not left, overflow="fold")
    previous: Row | None = None
    for row, line in zip(found.rows, cells(found), strict=True):
        if previous is not None and previous.rivals != row.rivals:
            table.add_section()
        previous = row
        table.add_row(*(escape(shown(cell)) for cell in line), style="bold" if _is_best(found, row) else "")
    return table


def notes(found: Compared) -> list[str]:
    """What a reader must know: data, number of test images, what ±, [ ] and the marks mean, unequal compute."""
    rows = found.rows
    lines = []
    letters = said.texts(rows)
    for (source, source_note, backbone, backbone_note, split, n), mark in _places(rows).items():
        source = " ".join(filter(None, [source, letters.get(source_note)]))
        backbone = " ".join(filter(None, [backbone, letters.get(backbone_note)]))
        lines.append(f"{mark} {source}, backbone {backbone}: top-1 over all {n:,} {split} images.".lstrip())
    lines += said.meaning(rows)
    lines += said.marks(found.judged)
    lines.append("seconds: adapt + generate + classify stages, as far as a method has them, summed over seeds.")
    return [*lines, *found.cautions]


def top1(row: Row) -> str:
    """`89.2 ± 1.3` over seeds, or `89.2 [86.7, 91.3]` for one."""
    if len(row.seeds) > 1:
        return f"{100 * row.mean:.1f} ± {100 * row.std:.1f}"
    return f"{100 * row.mean:.1f} [{100 * row.interval.low:.1f}, {100 * row.interval.high:.1f}]"


def _places(rows: Sequence[Row]) -> dict[tuple[str, str, str, str, str, int], str]:
    """A raised number for every source, backbone, split and count of images, when there are several."""
    found = dict.fromkeys(row.shown_place for row in rows)
    digits = str.maketrans("0123456789", RAISED)
    return {place: str(i).translate(digits) if len(found) > 1 else "" for i, place in enumerate(found, 1)}


def cells(found: Compared) -> list[list[str]]:
    """The text of every row under HEADERS; the signs beside a method and a number are explained in `notes`."""
    letters, places = said.texts(found.rows), _places(found.rows)
    return [
        [
            " ".join(filter(None, [row.method, places[row.shown_place], letters.get(row.settings, "")])),
            row.data,
            str(row.shots),
            " ".join(filter(None, [top1(row), found.judged.marks.get(row.id, "")])),
            str(len(row.seeds)),
            f"{row.images:,}" if row.images else "",
            "+".join(f"{row.stage_seconds[stage]:.0f}" for stage in STAGES if stage in row.stage_seconds),
        ]
        for row in found.rows
    ]


def _is_best(found: Compared, row: Row) -> bool:
    return found.judged.marks.get(row.id) == BEST


def plain(found: Compared) -> list[dict[str, Any]]:
    """Of every row the nine keys that stay stable, then the rest: its mark, what sets it apart, its comparison."""
    odd = {row.id for row in unequal_passes(found.rows)}
    seeds = {row.id: ground.seeds for ground in found.judged.grounds for row in ground.rows}
    pairs = {entry.row.id: entry for entry in found.judged.comparisons}
    listed = []
    for row in found.rows:
        content = {name: value for name, value in asdict(row).items() if name not in APART}
        content["interval"] = [row.interval.low, row.interval.high]
        content |= {
            "interval_about": f"{row.split} images; the seeds and shots as they are",
            "row": row.id,
            "differs": row.differs,
            "mark": found.judged.marks.get(row.id, ""),
            "judged_seeds": list(seeds.get(row.id, ())),
            "unequal_compute": row.id in odd,
            "vs_real_only": paired(pairs.get(row.id)),
        }
        listed.append(content)
    return listed


def paired(found: Comparison | None) -> dict[str, Any] | None:
    """A row's difference from real-only as JSON; shares, not percent."""
    if found is None:
        return None
    interval = found.difference.interval
    return {
        "difference": found.difference.mean,
        "interval": [interval.low, interval.high],
        "significant": found.difference.significant,
        "seeds": list(found.seeds),
        "baseline": found.baseline.id,
        "text": found.text(),
    }


def flat(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One cell a value: lists joined by spaces, intervals a column for each end, stages and the comparison likewise."""
    found = []
    for entry in entries:
        content = dict(entry)
        if "interval" in content:
            content["interval_low"], content["interval_high"] = content.pop("interval")
        if "stage_seconds" in content:
            stages = content.pop("stage_seconds")
            content |= {f"{stage}_seconds": stages.get(stage, "") for stage in STAGES}
        pair = content.pop("vs_real_only") or {}
        low, high = pair.get("interval", ("", ""))
        significant = {True: "yes", False: "no", None: ""}[pair.get("significant")]
        content |= {"vs_real_only": pair.get("difference", ""), "vs_real_only_low": low, "vs_real_only_high": high}
        content |= {"vs_real_only_seeds": pair.get("seeds", []), "vs_real_only_significant": significant}
        content |= {"vs_real_only_text": pair.get("text", "")}
        found.append(
            {key: " ".join(map(str, value)) if isinstance(value, list) else value for key, value in content.items()}
        )
    return found


def _json(found: Compared) -> str:
    return json_text(plain(found), indent=2)


def _csv(found: Compared) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    lines = flat(plain(found))
    writer.writerow(lines[0] if lines else STABLE)
    writer.writerows(map(csv_cell, entry.values()) for entry in lines)
    return out.getvalue().rstrip("\n")


def _markdown(found: Compared) -> str:
    lines = ["| " + " | ".join(HEADERS) + " |", "|---|---|" + "--:|" * (len(HEADERS) - 2)]
    for row, texts in zip(found.rows, cells(found), strict=True):
        line = [markdown(cell) for cell in texts]
        if _is_best(found, row):
            line[3] = f"**{line[3]}**"
        lines.append("| " + " | ".join(line) + " |")
    return "\n".join([*lines, "", *(f"- {markdown(note)}" for note in [*notes(found), *found.against])])


def _latex(found: Compared) -> str:
    """A `table` that needs the package booktabs; the notes are its caption."""
    caption = latex(" ".join([*notes(found), *found.against]))
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{caption}}}"]
    lines += [r"\begin{tabular}{llrrrrr}", r"\toprule", " & ".join(map(latex, HEADERS)) + r" \\"]
    previous = None
    for row, texts in zip(found.rows, cells(found), strict=True):
        if previous != row.rivals:
            lines.append(r"\midrule")
        previous = row.rivals
        line = [latex(cell) for cell in texts]
        if _is_best(found, row):
            line[3] = rf"\textbf{{{line[3]}}}"
        lines.append(" & ".join(line) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"])
