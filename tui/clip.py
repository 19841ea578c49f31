"""Text that has to fit: what doesn't ends in an ellipsis, and a number is shown whole or not at all."""

from __future__ import annotations

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from tui.drawing import glyphs

OF_NUMBERS = "0123456789.,"


def clip(text: str, width: int) -> str:
    """`text` in at most `width` cells. Half a number would be another one, half a wide character none."""
    size = len(text) if text.isascii() else cell_len(text)
    if size <= width:
        return text
    dots = glyphs.ELLIPSIS[: max(0, width)]
    return _begin(text, width - len(dots)).rstrip() + dots


def clip_text(text: Text, width: int) -> Text:
    """The same for styled text."""
    clipped = clip(text.plain, width)
    if clipped == text.plain:
        return text
    dots = glyphs.ELLIPSIS[: max(0, width)]
    kept = text[: len(clipped) - len(dots)]
    return kept.append(dots)


def _begin(text: str, width: int) -> str:
    """As much of the beginning as fits, accents with their letters."""
    kept = set_cell_size(text, max(0, width))
    if not text.startswith(kept):  # a wide character at the edge became a space
        kept = kept[:-1]
    rest = text[len(kept) :]
    while rest and cell_len(rest[0]) == 0:
        kept, rest = kept + rest[0], rest[1:]
    if kept and rest and kept[-1] in OF_NUMBERS and rest[0] in OF_NUMBERS:
        kept = kept.rstrip(OF_NUMBERS)
    return kept
