"""Pictures of results, as Pillow images."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

CLASSES_MAX = 20
GAP, EDGE = 6, 12
INK, PALE = "#1f2430", "#5b6270"


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
    width = 2 * EDGE + len(shown) * column - GAP
    left_out = len(class_names) - len(shown)
    height = 2 * EDGE + head + len(sections) * (title_height + band) + (20 if left_out else 0)
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    for i, name in enumerate(shown):
        x = EDGE + i * column + across * cell / 2
        draw.text((x, EDGE + head / 2 - 4), shorten(name, across * cell, font), fill=INK, font=font, anchor="mm")
    y = EDGE + head
    for title, images in sections:
        draw.text((EDGE, y + 2), title, fill=INK, font=title_font)
        y += title_height
        for i in range(len(shown)):
            for k, image in enumerate(images[i][:per_class]):
                row, side = divmod(k, across)
                tile = _fit(image, cell - 2)
                sheet.paste(tile, (EDGE + i * column + side * cell, y + row * cell))
        y += band
    if left_out:
        draw.text((EDGE, y), f"and {left_out} more classes", fill=PALE, font=font)
    return sheet


def shorten(text: str, width: float, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """`text`, cut with an ellipsis to at most `width` pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def _fit(image: Image.Image, side: int) -> Image.Image:
    """Whole image in a square, enlarged by nearest so that small originals stay what they are."""
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    how = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
    tile = Image.new("RGB", (side, side), "white")
    tile.paste(image.convert("RGB").resize(size, how), ((side - size[0]) // 2, (side - size[1]) // 2))
    return tile
