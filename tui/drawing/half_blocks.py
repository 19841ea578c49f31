"""From pixels to lines of segments: half-blocks, two pixels a cell, or signs where there is no colour or Unicode."""

from __future__ import annotations

import functools
import os
import textwrap

from rich.color import Color
from rich.segment import Segment
from rich.style import Style

from datadream.text import shown
from tui.clip import clip
from tui.drawing import glyphs
from tui.services.images import Pixels, Shown

UPPER = "▀"
RAMP = " .:-=+*#%@"
Line = list[Segment]


def is_plain() -> bool:
    """Whether images are drawn in signs instead of colours."""
    return glyphs.ASCII or bool(os.environ.get("NO_COLOR"))


@functools.lru_cache(maxsize=8192)
def _colour(code: int) -> Color:
    return Color.from_rgb(code >> 16, code >> 8 & 255, code & 255)


@functools.lru_cache(maxsize=8192)
def _style(upper: int, lower: int) -> Style:
    return Style.from_color(_colour(upper), _colour(lower) if lower >= 0 else None)


def draw(pixels: Pixels, plain: bool = False, dark: bool = True) -> list[Line]:
    """Lines of segments: half-blocks, or with `plain` signs (denser is brighter on a `dark` ground)."""
    return _signs(pixels, dark) if plain else _blocks(pixels)


def _blocks(pixels: Pixels) -> list[Line]:
    # colours are rounded to 6 bits a channel: no eye sees it, and neighbours share a style
    width, rgb = pixels.width, pixels.rgb
    lines: list[Line] = []
    for y in range(0, pixels.height, 2):
        line: Line = []
        last, count = (-1, -1), 0
        for x in range(width):
            at = 3 * (y * width + x)
            upper = int.from_bytes(rgb[at : at + 3], "big") & 0xFCFCFC
            below = at + 3 * width
            lower = int.from_bytes(rgb[below : below + 3], "big") & 0xFCFCFC if y + 1 < pixels.height else -1
            if (upper, lower) == last:
                count += 1
                continue
            if count:
                line.append(Segment(UPPER * count, _style(*last)))
            last, count = (upper, lower), 1
        if count:
            line.append(Segment(UPPER * count, _style(*last)))
        lines.append(line)
    return lines


def _signs(pixels: Pixels, dark: bool) -> list[Line]:
    width, rgb = pixels.width, pixels.rgb
    lines: list[Line] = []
    for y in range(0, pixels.height, 2):
        rows = [row for row in (y, y + 1) if row < pixels.height]
        signs = []
        for x in range(width):
            total = 0
            for row in rows:
                r, g, b = rgb[3 * (row * width + x) : 3 * (row * width + x) + 3]
                total += 299 * r + 587 * g + 114 * b
            level = total // (1000 * len(rows)) * (len(RAMP) - 1) // 255
            signs.append(RAMP[level if dark else len(RAMP) - 1 - level])
        lines.append([Segment("".join(signs))])
    return lines


def lines_of(found: Shown | None, width: int, height: int, dark: bool = True) -> list[Line]:
    """What takes the place of an image in `width` x `height` cells: itself, a sentence, or dots while it is loaded."""
    if isinstance(found, Pixels):
        return draw(found, is_plain(), dark)[:height]
    if found is None:
        return [[Segment(glyphs.ELLIPSIS, Style(dim=True))]]
    words = textwrap.wrap(shown(found), max(4, width)) or [""]
    return [[Segment(clip(word, width), Style(italic=True))] for word in words[:height]]
