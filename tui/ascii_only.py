"""The last word where the locale has no Unicode: whatever is drawn, also by Textual and Rich, leaves as ASCII."""

from __future__ import annotations

import functools

from rich.cells import cell_len
from rich.segment import Segment
from textual.color import Color
from textual.filter import LineFilter

ALIKE = {
    "-": "─━═╌╴╶–—▔−", "|": "│┃║┆▏▎▍▌▐▕", "+": "╭╮╰╯┌┐└┘├┤┬┴┼╷╵", "#": "█▉▊▋■▀", ".": "…░▒▓·∙", "*": "●•",
    " ": "▁▂▃▄▅▆▇\u2800\xa0", ">": "›▶►→", "<": "‹◀←", "v": "▼▾↓", "^": "▲▴↑", "x": "×✗", "~": "±", "=": "≈",
    "'": "‘’", '"': "“”", "l": "λ",
}  # fmt: skip
TABLE = str.maketrans({sign: plain for plain, signs in ALIKE.items() for sign in signs})


@functools.lru_cache(maxsize=4096)
def ascii_of(text: str) -> str:
    """`text` in ASCII, in as many cells; what nothing resembles is `?`."""
    plain = text.translate(TABLE)
    return plain if plain.isascii() else "".join(c if c.isascii() else "?" * cell_len(c) for c in plain)


class AsciiOnly(LineFilter):
    """Changes signs, never widths or styles."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """A line of them."""
        del background
        return [
            segment if segment.control or segment.text.isascii() else Segment(ascii_of(segment.text), segment.style)
            for segment in segments
        ]
