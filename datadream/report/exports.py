"""A pivot table as CSV, LaTeX, Markdown, JSON, a picture, or HTML without scripts. Equal tables, equal bytes."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from datadream.report.curves import over_images, over_shots
from datadream.report.judge import ALIKE, BEST
from datadream.report.pivot import Cell, Pivot
from datadream.report.rows import unequal_passes
from datadream.report.tables import flat, paired
from datadream.text import counted, csv_cell, html, json_text, latex, markdown, shown

if TYPE_CHECKING:
    from rich.table import Table

    from datadream.report.curves import Curve

FORMATS = {"csv": "CSV", "tex": "LaTeX (booktabs)", "md": "Markdown", "png": "Picture", "html": "HTML report"}
PLAIN = str.maketrans({"≈": "~", "–": "-", "·": "|", "−": "-"})  # signs that Pillow's own font lacks
INKS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")  # told apart by the colour-blind too
STYLE = """
body{font:15px/1.45 system-ui,sans-serif;color:#1f2430;background:#fff;margin:2rem auto;max-width:75rem;padding:0 1rem}
table{border-collapse:collapse;margin:1rem 0}
th,td{padding:.25rem .75rem;text-align:right;border-bottom:1px solid #d5d9e0}
th:first-child,td:first-child{text-align:left}
td.best{font-weight:700}td.alike{text-decoration:underline dotted}td.none{color:#5b6270}
small{color:#5b6270}svg{max-width:100%}
"""


def export(pivot: Pivot, format_: str, title: str = "DataDream comparison") -> bytes:
    """`pivot` in one of FORMATS or as `json`."""
    if format_ == "png":
        return picture(pivot, title)
    make = {"csv": _csv, "md": _markdown, "tex": _latex, "json": _json}
    text = report(pivot, title) if format_ == "html" else make[format_](pivot)
    return (text.rstrip("\n") + "\n").encode()


def grid(pivot: Pivot) -> list[list[str]]:
    """Header and rows as text: what is a row, then a cell for each column."""
    head = [" ".join(pivot.rows), *(pivot.column_label(j) for j in range(len(pivot.column_keys)))]
    body = [[pivot.row_label(i), *(cell.text for cell in line)] for i, line in enumerate(pivot.cells)]
    return [head, *body]


def rich_pivot(pivot: Pivot) -> Table:
    """For the terminal; numbers are never cut."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    head, *body = grid(pivot)
    caption = Text("\n".join(map(shown, [*pivot.notes(), *pivot.compared.against])))
    table = Table(box=SIMPLE_HEAD, caption=caption, caption_justify="left", padding=(0, 1, 0, 0))
    for number, name in enumerate(head):
        table.add_column(
            Text(shown(name)), justify="right" if number else "left", overflow="fold", no_wrap=bool(number)
        )
    for line, cells in zip(body, pivot.cells, strict=True):
        styles = ["", *("bold" if cell.mark == BEST else "" for cell in cells)]
        table.add_row(*(Text(shown(text), style) for text, style in zip(line, styles, strict=True)))
    return table


def picture(pivot: Pivot, title: str) -> bytes:
    """A PNG of the table with its notes."""
    from PIL import Image, ImageDraw, ImageFont

    from datadream.report.figures import EDGE, INK, PALE, PAPER

    font, bold, small = (ImageFont.load_default(size=size) for size in (15, 18, 13))
    lines = [[shown(" ".join(text.translate(PLAIN).split())) for text in line] for line in grid(pivot)]
    notes = [shown(" ".join(note.translate(PLAIN).split())) for note in [*pivot.notes(), *pivot.compared.against]]
    title = shown(" ".join(title.translate(PLAIN).split()))
    widths = [max(int(font.getlength(line[j])) for line in lines) + 24 for j in range(len(lines[0]))]
    width = max(sum(widths), int(bold.getlength(title))) + 2 * EDGE
    folded = [part for note in notes for part in _folded(note, lambda text: small.getlength(text) <= width - 2 * EDGE)]
    height = 2 * EDGE + 34 + 26 * len(lines) + 10 + 18 * len(folded)
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((EDGE, EDGE), title, fill=INK, font=bold)
    y = EDGE + 34
    for number, line in enumerate(lines):
        x = EDGE
        for j, text in enumerate(line):
            best = number > 0 and j > 0 and pivot.cells[number - 1][j - 1].mark == BEST
            at, anchor = ((x, y), "la") if j == 0 else ((x + widths[j] - 6, y), "ra")
            draw.text(at, text, fill=INK, font=font, anchor=anchor, stroke_width=0.4 if best or number == 0 else 0)
            x += widths[j]
        y += 26
        if number == 0:
            draw.line((EDGE, y - 4, width - EDGE, y - 4), fill=INK)
    draw.line((EDGE, y - 2, width - EDGE, y - 2), fill=PALE)
    for part in folded:
        y += 18
        draw.text((EDGE, y - 10), part, fill=PALE, font=small)
    out = io.BytesIO()
    sheet.save(out, "PNG")
    return out.getvalue()


def report(pivot: Pivot, title: str) -> str:
    """One page: the table, its notes, the curves, and the runs behind each number."""
    head, *body = grid(pivot)
    parts = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{html(title)}</title>',
        f"<style>{STYLE}</style></head><body>",
        f"<h1>{html(title)}</h1>",
        "<table><thead><tr>" + "".join(f"<th>{html(name)}</th>" for name in head) + "</tr></thead><tbody>",
    ]
    for line, cells in zip(body, pivot.cells, strict=True):
        row = "".join(f"<td{_kind(cell)}>{html(cell.text)}</td>" for cell in cells)
        parts.append(f"<tr><td>{html(line[0])}</td>{row}</tr>")
    parts.append("</tbody></table>")
    parts += [f"<p><small>{html(note)}</small></p>" for note in pivot.notes()]
    if pairs := pivot.compared.against:
        parts += [f"<h2>{html(pairs[0].rstrip(':'))}</h2>", "<ul>"]
        parts += [*(f"<li>{html(pair)}</li>" for pair in pairs[1:]), "</ul>"]
    for name, axis, curves in (
        ("Accuracy over shots", "shots", over_shots(pivot.table)),
        ("Accuracy over images per class", "images per class", over_images(pivot.table)),
    ):
        if any(len(curve.points) > 1 for curve in curves):
            parts += [f"<h2>{name}</h2>", _svg(curves, axis)]
    parts += [
        "<h2>Runs</h2>",
        "<table><thead><tr><th>row</th><th>top-1 % by seed</th><th>runs</th></tr></thead><tbody>",
    ]
    for entry in pivot.table:
        name = f"{entry.method} {entry.data}, {counted(entry.shots, 'shot')}, "
        name += f"{entry.source}, {entry.backbone}, {entry.split}"
        name += "".join(f", {text}" for text in (entry.settings, entry.differs) if text)
        numbers = ", ".join(
            f"{seed}: {100 * value:.2f}" for seed, value in zip(entry.seeds, entry.accuracy, strict=True)
        )
        ids = html(", ".join(run_id[:8] for run_id in entry.run_ids))
        parts.append(f"<tr><td>{html(name)}</td><td>{numbers}</td><td>{ids}</td></tr>")
    return "\n".join([*parts, "</tbody></table>", "</body></html>"])


def _kind(cell: Cell) -> str:
    name = "none" if cell.row is None else {BEST: "best", ALIKE: "alike"}.get(cell.mark, "")
    return f' class="{name}"' if name else ""


def _svg(curves: Sequence[Curve], axis: str) -> str:
    """Lines with dots, bars of one deviation, and a legend."""
    width, height, left, foot = 640, 320, 48, 36
    points = [point for curve in curves for point in curve.points]
    low = min(point.mean - point.std for point in points)
    high = max(point.mean + point.std for point in points)
    first, last = min(point.x for point in points), max(point.x for point in points)

    def x(value: float) -> float:
        return left + 8 + (width - left - 24) * ((value - first) / (last - first) if last > first else 0.5)

    def y(value: float) -> float:
        return 12 + (height - foot - 24) * (1 - ((value - low) / (high - low) if high > low else 0.5))

    tall = height + 18 * len(curves)
    parts = [f'<svg viewBox="0 0 {width} {tall}" width="{width}" height="{tall}" role="img" font-size="12">']
    parts.append(f'<path d="M{left} 8V{height - foot}H{width - 8}" fill="none" stroke="#5b6270"/>')
    for value in (low, (low + high) / 2, high):
        parts.append(f'<text x="{left - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.1f}</text>')
    for at in sorted({point.x for point in points}):
        parts.append(f'<text x="{x(at):.1f}" y="{height - foot + 16}" text-anchor="middle">{at:g}</text>')
    parts.append(f'<text x="{width - 8}" y="{height - 4}" text-anchor="end">{html(axis)}</text>')
    for number, curve in enumerate(curves):
        ink, dash = INKS[number % len(INKS)], ("", ' stroke-dasharray="5 3"')[number // len(INKS) % 2]
        line = " ".join(f"{x(point.x):.1f},{y(point.mean):.1f}" for point in curve.points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{ink}" stroke-width="2"{dash}/>')
        for point in curve.points:
            at, top, bottom = x(point.x), y(point.mean + point.std), y(point.mean - point.std)
            parts.append(f'<path d="M{at:.1f} {top:.1f}V{bottom:.1f}" stroke="{ink}"/>')
            parts.append(f'<circle cx="{at:.1f}" cy="{y(point.mean):.1f}" r="3" fill="{ink}"/>')
        parts.append(f'<text x="{left}" y="{height + 12 + 18 * number}" fill="{ink}">— {html(curve.name)}</text>')
    return "".join([*parts, "</svg>"])


def _csv(pivot: Pivot) -> str:
    """A line a cell, so that nothing needs taking apart: dimensions, numbers, mark, what it lacks, comparison."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    lines = flat(_entries(pivot))
    if lines:
        writer.writerow(lines[0])
    writer.writerows(map(csv_cell, line.values()) for line in lines)
    return out.getvalue()


def _json(pivot: Pivot) -> str:
    return json_text(_entries(pivot), indent=2)


def _entries(pivot: Pivot) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    odd = {row.id for row in unequal_passes(pivot.table)}
    seeds = {row.id: ground.seeds for ground in pivot.judged.grounds for row in ground.rows}
    pairs = {pair.row.id: pair for pair in pivot.judged.comparisons}
    for i, line in enumerate(pivot.cells):
        for j, cell in enumerate(line):
            of = pivot.values(i, j)
            (method, settings), (source, source_note), (backbone, backbone_note) = (
                of[name] for name in ("method", "source", "backbone")
            )
            row = cell.row
            found.append(
                {
                    **{"method": method, "settings": settings, "data": of["data"], "shots": of["shots"]},
                    **{"source": source, "backbone": backbone, "split": of["split"]},
                    **{"mean": row.mean if row else "", "std": row.std if row else ""},
                    **{"n": len(row.seeds) if row else 0, "n_test": row.n_test if row else ""},
                    **{"seeds": list(row.seeds) if row else [], "lacks": list(cell.lacks), "mark": cell.mark},
                    **{"runs": list(row.run_ids) if row else [], "row": row.id if row else ""},
                    "differs": "; ".join(filter(None, [source_note, backbone_note])),
                    "judged_seeds": list(seeds.get(row.id, ())) if row else [],
                    "image_passes": row.image_passes if row else "",
                    "unequal_compute": row.id in odd if row else "",
                    "vs_real_only": paired(pairs.get(row.id)) if row else None,
                }
            )
    return found


def _markdown(pivot: Pivot) -> str:
    head, *body = grid(pivot)
    lines = ["| " + " | ".join(map(markdown, head)) + " |", "|---|" + "--:|" * (len(head) - 1)]
    for line, cells in zip(body, pivot.cells, strict=True):
        texts = [
            f"**{markdown(text)}**" if cell.mark == BEST else markdown(text)
            for text, cell in zip(line[1:], cells, strict=True)
        ]
        lines.append("| " + " | ".join([markdown(line[0]), *texts]) + " |")
    notes = [*pivot.notes(), *pivot.compared.against]
    return "\n".join([*lines, "", *(f"- {markdown(note)}" for note in notes)])


def _latex(pivot: Pivot) -> str:
    """A `table` that needs the package booktabs; the notes are its caption."""
    head, *body = grid(pivot)
    caption = latex(" ".join([*pivot.notes(), *pivot.compared.against]))
    lines = [r"\begin{table}", r"\centering", rf"\caption{{{caption}}}"]
    lines += [
        rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
        r"\toprule",
        " & ".join(map(latex, head)) + r" \\",
        r"\midrule",
    ]
    for line, cells in zip(body, pivot.cells, strict=True):
        texts = [
            rf"\textbf{{{latex(text)}}}" if cell.mark == BEST else latex(text)
            for text, cell in zip(line[1:], cells, strict=True)
        ]
        lines.append(" & ".join([latex(line[0]), *texts]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"])


def _folded(text: str, fits: object) -> list[str]:
    """`text` in lines that fit, broken at spaces."""
    assert callable(fits)
    lines, line = [], ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if line and not fits(longer):
            lines.append(line)
            longer = word
        line = longer
    return [*lines, line]
