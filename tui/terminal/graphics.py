"""Real pixels where the terminal has them: Kitty's placeholders or Sixel, made by textual-image (the extra `images`).

A terminal is asked once, by `probe` before the app has it; afterwards its answers would be taken for keys. Kitty's
images are sent once and then are text, so they scroll and are covered as text is. A Sixel is pixels painted over the
cells, and is used for one image on its own. Kitty's placeholders:
<https://sw.kovidgoyal.net/kitty/graphics-protocol/#unicode-placeholders>.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from rich.segment import Segment

from tui.drawing import glyphs
from tui.services.images import Pixels

if TYPE_CHECKING:
    from PIL.Image import Image

KINDS = ("auto", "kitty", "sixel", "blocks")  # what `images` in tui.json can be
BETWEEN = ("TMUX", "STY", "ZELLIJ")  # these pass no graphics on unless told to
PIXELS_MAX = 1600  # a side; more takes too long to make and to send
ANSWER_SECONDS = 1.0  # an answer that comes later would be taken for keys
CELLS_MAX = 250  # a side; Kitty's placeholders count to 297


@dataclass(frozen=True)
class Graphics:
    """`kind` is "kitty", "sixel" or "" for half-blocks; `cell` is the pixels of a cell, wide and high."""

    kind: str = ""
    cell: tuple[int, int] = (1, 2)

    def box(self, width: int, height: int) -> tuple[int, int]:
        """The pixels an image can have in so many cells."""
        (wide, high), most = self.cell, PIXELS_MAX if self.kind else sys.maxsize
        return min(min(width, CELLS_MAX) * wide, most), min(min(height, CELLS_MAX) * high, most)


@dataclass(frozen=True)
class Drawn:
    """An image made ready: its lines; what the terminal is told once, and what frees that; what is painted over it."""

    lines: list[list[Segment]]
    tell: str = ""
    free: str = ""
    paint: str = ""


BLOCKS = Graphics()


def probe(wanted: str = "auto", environ: Mapping[str, str] = os.environ, truecolor: bool = True) -> Graphics:
    """Ask the terminal what it can do, unless `wanted` or the environment say already: one round trip.

    Half-blocks without textual-image, without (true) colour, as Kitty's ids are colours, and inside tmux unless
    `wanted` names a kind.
    """
    if wanted == "blocks" or not truecolor or find_spec("textual_image") is None:
        return BLOCKS
    if environ.get("NO_COLOR") or glyphs.ASCII:
        return BLOCKS
    if wanted not in ("kitty", "sixel") and any(environ.get(name) for name in BETWEEN):
        return BLOCKS
    from textual_image._terminal import get_cell_size

    kind = wanted if wanted in ("kitty", "sixel") else _ask()
    if not kind:
        return BLOCKS
    if kind == "kitty":
        _collect_messages()
    size = get_cell_size()
    return Graphics(kind, (max(1, size.width), max(2, size.height)))


def _ask() -> str:
    """Kitty's question and one that every terminal answers, so that an answer comes and none is waited for.

    Terminals that know both know Kitty's placeholders badly, so Sixel goes first.
    """
    from textual_image._terminal import TerminalError, capture_terminal_response

    try:
        with capture_terminal_response("\x1b", "c", ANSWER_SECONDS) as response:
            sys.__stdout__.write("\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\\x1b[c")  # type: ignore[union-attr]
            sys.__stdout__.flush()  # type: ignore[union-attr]
    except (TerminalError, TimeoutError, OSError, ValueError):
        return ""
    kitty, _, attributes = response.sequence.rpartition("\x1b[?")
    if "4" in attributes.removesuffix("c").split(";"):
        return "sixel"
    return "kitty" if ";OK" in kitty else ""


class _Told(threading.local):
    """What textual-image wanted to write, by thread."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def take(self) -> str:
        """All of it, once."""
        text = "".join(self.messages)
        self.messages.clear()
        return text


_told = _Told()


def _collect_messages() -> None:
    """Have textual-image's messages kept instead of written: only Textual's own thread may write to the terminal.

    Importing it asks the terminal again, which is why it is imported here.
    """
    from textual_image.renderable import tgp

    def keep(*, payload: str | None = None, **fields: Any) -> None:
        head = ",".join(f"{name}={value}" for name, value in fields.items() if value is not None)
        _told.messages.append(f"\x1b_G{head}{f';{payload}' if payload else ''}\x1b\\")

    tgp._send_tgp_message = keep


def kitty(pixels: Pixels, cell: tuple[int, int]) -> Drawn:
    """An image for Kitty, in as many cells as it needs. Only in the pool: it makes a PNG."""
    from textual_image.renderable.tgp import Image as TGPImage

    columns, rows = -(-pixels.width // cell[0]), -(-pixels.height // cell[1])
    width, height = columns * cell[0], rows * cell[1]
    image = TGPImage(_padded(pixels, width, height), columns, rows)
    image._send_image_to_terminal(width, height)
    image._create_virtual_placement(columns, rows)
    lines = [[Segment(part.text.rstrip("\n"), part.style)] for part in image._render_diacritics(columns, rows)]
    tell = _told.take()
    # Not the library's cleanup, which hides placements and keeps the data.
    return Drawn(lines, tell, free=f"\x1b_Ga=d,d=I,i={image.terminal_image_id},q=2\x1b\\")


def sixel(pixels: Pixels) -> str:
    """An image as a Sixel sequence. Only in the pool."""
    from textual_image._sixel import image_to_sixels

    return str(image_to_sixels(_image(pixels)))


def small(pixels: Pixels, cell: tuple[int, int]) -> Pixels:
    """The same in two pixels a cell: what is seen where a Sixel isn't painted."""
    size = max(1, round(pixels.width / cell[0])), max(1, round(2 * pixels.height / cell[1]))
    image = _image(pixels).resize(size)
    return Pixels(image.width, image.height, image.tobytes(), pixels.full)


def _image(pixels: Pixels) -> Image:
    from PIL import Image

    return Image.frombytes("RGB", (pixels.width, pixels.height), pixels.rgb)


def _padded(pixels: Pixels, width: int, height: int) -> Image:
    """On as much of nothing as fills the last cells, or Kitty would stretch it."""
    from PIL import Image

    whole = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    whole.paste(_image(pixels), (0, 0))
    return whole
