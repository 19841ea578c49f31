"""Pictures of results as Pillow images, and small ones as terminal text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from datadream.text import shown

if TYPE_CHECKING:
    from rich.table import Table

CLASSES_MAX = 20  # columns of a sample grid
NAMED_MAX = 40  # classes a confusion map can name
TABLE_MAX = 10  # classes a confusion table in 80 columns can hold
CONFUSIONS = 10  # listed when there are more
GAP, EDGE = 6, 12
INK, PALE, PAPER = "#1f2430", "#5b6270", "white"
DEEP = np.array([8, 48, 107])  # the colour of 100 %
BLOCKS = "▁▂▃▄▅▆▇█"

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Counts = Sequence[Sequence[int]] | npt.NDArray[np.int64]  # [label][prediction]


def sample_grid(
    class_names: Sequence[str],
    sections: Sequence[tuple[str, Sequence[Sequence[Image.Image]]]],
    *,
    cell: int = 56,
    per_class: int = 4,
) -> Image.Image:
    """One band a section, one column a class; a band stacks up to `per_class` images, two abreast.

    `sections` holds (title, images of each class). The first CLASSES_MAX classes are shown.
    """
    shown = list(class_names)[:CLASSES_MAX]
    title_font, font = ImageFont.load_default(size=16), ImageFont.load_default(size=14)
    across = 2 if per_class > 1 else 1
    down = -(-per_class // across)
    column, band = across * cell + GAP, down * cell + GAP
    head, title_height = 26, 24
    left_out = len(class_names) - len(shown)
    note = f"the first {len(shown)} of {len(class_names)} classes" if left_out else ""
    texts = [title_font.getlength(_line(title)) for title, _ in sections] + [font.getlength(note)]
    width = 2 * EDGE + math.ceil(max(len(shown) * column - GAP, *texts))
    height = 2 * EDGE + head + len(sections) * (title_height + band) + (20 if left_out else 0)
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    for i, name in enumerate(shown):
        x = EDGE + i * column + across * cell / 2
        draw.text((x, EDGE + head / 2 - 4), shorten(name, across * cell, font), fill=INK, font=font, anchor="mm")
    y = EDGE + head
    for title, images in sections:
        draw.text((EDGE, y + 2), _line(title), fill=INK, font=title_font)
        y += title_height
        for i in range(len(shown)):
            for k, image in enumerate(images[i][:per_class]):
                row, side = divmod(k, across)
                tile = _fit(image, cell - 2)
                sheet.paste(tile, (EDGE + i * column + side * cell, y + row * cell))
        y += band
    if left_out:
        draw.text((EDGE, y), note, fill=PALE, font=font)
    return sheet


def confusion_map(counts: Counts, class_names: Sequence[str]) -> Image.Image:
    """Heat map of `counts[label][prediction]`: a row a label, coloured by the share of the label's images.

    Cells hold their count where it fits; up to NAMED_MAX classes are named.
    """
    table = np.asarray(counts, dtype=np.int64)
    n = len(class_names)
    if table.shape != (n, n) or not n:
        raise ValueError(f"counts of shape {table.shape} for {n} classes")
    cell = min(44, max(3, 720 // n))
    font = ImageFont.load_default(size=min(14, max(8, cell - 4)))
    names = [shorten(name, 140, font) for name in class_names] if n <= NAMED_MAX else []
    room = math.ceil(max((font.getlength(name) for name in names), default=0)) + 2 * GAP
    room_across = room if any(font.getlength(name) > cell - 4 for name in names) else 24  # turned names, or level
    left, top, side = EDGE + 22 + room, EDGE + 22 + room_across, n * cell
    sheet = Image.new("RGB", (max(left + side + EDGE, left + 250), top + side + 56), PAPER)
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    pixels = np.rint(255 + share[..., None] * (DEEP - 255)).astype(np.uint8)
    sheet.paste(Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST), (left, top))
    draw = ImageDraw.Draw(sheet)
    draw.rectangle((left - 1, top - 1, left + side, top + side), outline=PALE)
    axis = ImageFont.load_default(size=14)
    draw.text((left, EDGE), "predicted", fill=PALE, font=axis)
    _turned(sheet, "label", (EDGE, top), axis, PALE)
    for i, name in enumerate(names):
        middle = i * cell + cell / 2
        draw.text((left - GAP, top + middle), name, fill=INK, font=font, anchor="rm")
        if room_across == room:
            box = math.ceil(font.getlength(name))
            _turned(sheet, name, (round(left + middle - cell / 2) + 1, top - GAP - box), font, INK, cell - 2)
        else:
            draw.text((left + middle, top - GAP), name, fill=INK, font=font, anchor="mb")
    if max(font.getlength(str(count)) for count in table.flat) <= cell - 4 and n <= NAMED_MAX:
        for (i, j), count in np.ndenumerate(table):
            if count:
                ink = PAPER if share[i, j] > 0.5 else INK
                place = (left + j * cell + cell / 2, top + i * cell + cell / 2)
                draw.text(place, str(count), fill=ink, font=font, anchor="mm")
    _legend(sheet, left, top + side + 16, axis)
    return sheet


def confusion_text(counts: Counts, class_names: Sequence[str]) -> Table:
    """For a terminal of 80 columns: `counts[label][prediction]` whole, or the commonest confusions of many classes."""
    from rich.table import Table
    from rich.text import Text

    table = np.asarray(counts, dtype=np.int64)
    n = len(class_names)
    if table.shape != (n, n):
        raise ValueError(f"counts of shape {table.shape} for {n} classes")
    names = [_line(name) for name in class_names]
    if n <= TABLE_MAX:
        grid = Table(title="rows: label, columns: predicted", box=None, padding=(0, 1, 0, 0))
        grid.add_column(justify="right", no_wrap=True, max_width=16)
        heads = names
        if len({name[:4] for name in names}) < n:  # cut names would be the same: numbers then
            heads = [str(i) for i in range(n)]
            names = [f"{i} {name}" for i, name in enumerate(names)]
        for head in heads:
            grid.add_column(Text(head), justify="right", no_wrap=True, min_width=3, max_width=5)
        for i, name in enumerate(names):
            cells = [Text(str(count) if count else "·", "bold" if i == j else "") for j, count in enumerate(table[i])]
            grid.add_row(Text(name), *cells)
        return grid
    wrong = [(-int(count), i, j) for (i, j), count in np.ndenumerate(table) if count and i != j]
    listing = Table("label", "predicted", title="the commonest confusions", box=None, padding=(0, 2, 0, 0))
    listing.add_column("images", justify="right", no_wrap=True)
    for count, i, j in sorted(wrong)[:CONFUSIONS]:
        listing.add_row(Text(names[i]), Text(names[j]), f"{-count:,} of {int(table[i].sum()):,}")
    return listing


def sparkline(values: Sequence[float], width: int = 40) -> str:
    """`values` as at most `width` blocks from their lowest (▁) to highest (█); a gap where none is finite.

    More values than blocks are averaged in runs of equal length.
    """
    count = min(width, len(values))
    runs = [values[i * len(values) // count : (i + 1) * len(values) // count] for i in range(max(0, count))]
    means = [_mean([value for value in run if math.isfinite(value)]) for run in runs]
    known = [mean for mean in means if mean is not None]
    if not known:
        return " " * len(means)
    low, high = min(known), max(known)
    return "".join(" " if mean is None else BLOCKS[_level(mean, low, high)] for mean in means)


def shorten(text: str, width: float, font: Font) -> str:
    """`text` on one line, cut with an ellipsis to at most `width` pixels."""
    text = _line(text)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def _line(text: str) -> str:
    return shown(" ".join(text.split()))


def _mean(values: Sequence[float]) -> float | None:
    return sum(value / len(values) for value in values) if values else None


def _level(value: float, low: float, high: float) -> int:
    """0..7; the lowest for a flat line."""
    return round((value / 2 - low / 2) / (high / 2 - low / 2) * 7) if high > low else 0


def _fit(image: Image.Image, side: int) -> Image.Image:
    """Whole image in a square on white, enlarged by nearest so that small originals stay what they are."""
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    how = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    tile = Image.new("RGB", (side, side), PAPER)
    drawn = image.convert("RGBA").resize(size, how)
    tile.paste(drawn, ((side - size[0]) // 2, (side - size[1]) // 2), drawn)
    return tile


def _turned(
    sheet: Image.Image, text: str, place: tuple[int, int], font: Font, ink: str, across: int | None = None
) -> None:
    """`text` reading upwards, its upper left at `place`, in the middle of `across` pixels if given."""
    box = Image.new("RGB", (math.ceil(font.getlength(text)), across or 20), PAPER)
    ImageDraw.Draw(box).text((0, box.height / 2), text, fill=ink, font=font, anchor="lm")
    sheet.paste(box.transpose(Image.Transpose.ROTATE_90), place)


def _legend(sheet: Image.Image, left: int, top: int, font: Font) -> None:
    ramp = np.linspace(0, 1, 100)[None, :, None]
    bar = np.rint(255 + ramp * (DEEP - 255)).astype(np.uint8).repeat(12, axis=0)
    draw = ImageDraw.Draw(sheet)
    sheet.paste(Image.fromarray(bar), (left, top))
    draw.rectangle((left - 1, top - 1, left + 100, top + 12), outline=PALE)
    draw.text((left + 108, top + 6), "share of a label, 0 to 100 %", fill=PALE, font=font, anchor="lm")
