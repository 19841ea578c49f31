"""Real pixels: Kitty's protocol and Sixel, in pseudo-terminals that answer as such terminals do."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from tests.tui.terminal import PLAIN, Terminal
from tui.services.images import Pixels
from tui.terminal import graphics
from tui.terminal.graphics import BLOCKS, PIXELS_MAX, Graphics, probe
from tui.widgets.picture import draw

pytest.importorskip("textual_image")
CELL = (10, 20)
MESSAGE = re.compile(rb"\x1b_G([^;\x1b]*);?([^\x1b]*)\x1b\\")
PLACEHOLDER = "\U0010eeee".encode()


def noise(width: int, height: int) -> Pixels:
    image = Image.effect_noise((width, height), 80).convert("RGB")
    return Pixels(width, height, image.tobytes(), (width, height))


def sent_images(data: bytes) -> dict[str, Image.Image]:
    """What a terminal would have been sent, by id."""
    parts: dict[str, bytes] = {}
    for head, payload in MESSAGE.findall(data):
        fields = dict(field.split(b"=") for field in head.split(b","))
        if fields.get(b"f") == b"100":
            name = fields[b"i"].decode()
            parts[name] = parts.get(name, b"") + payload
    return {name: Image.open(io.BytesIO(base64.b64decode(text))) for name, text in parts.items()}


@pytest.fixture
def collected(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's messages kept, as after a probe that found Kitty; put back afterwards."""
    from textual_image.renderable import tgp

    monkeypatch.setattr(tgp, "_send_tgp_message", tgp._send_tgp_message)
    graphics._collect_messages()


@pytest.mark.parametrize(("width", "height"), [(10, 20), (33, 50), (1, 1), (640, 480)])
def test_kitty_gets_the_very_pixels_and_the_lines_take_whole_cells(
    width: int, height: int, collected: None, capfd: pytest.CaptureFixture[str]
) -> None:
    pixels = noise(width, height)
    drawn = draw(pixels, (99, 99), Graphics("kitty", CELL), True)
    (name, image), *more = sent_images(drawn.tell.encode()).items()
    assert not more
    assert image.crop((0, 0, width, height)).convert("RGB").tobytes() == pixels.rgb
    columns, rows = -(-width // CELL[0]), -(-height // CELL[1])
    assert image.size == (columns * CELL[0], rows * CELL[1])
    assert [sum(segment.cell_length for segment in line) for line in drawn.lines] == [columns] * rows
    assert f"c={columns},r={rows},U=1" in drawn.tell
    assert drawn.free == f"\x1b_Ga=d,d=I,i={name},q=2\x1b\\"  # capital: the data too
    assert capfd.readouterr().out == ""  # only Textual's writer writes


def test_a_sixel_says_its_size_and_a_sentence_stays_one() -> None:
    drawn = draw(noise(33, 50), (4, 3), Graphics("sixel", CELL), True)
    assert len(drawn.lines) == 3  # half-blocks are under it, for when it can't be painted
    assert sum(segment.cell_length for segment in drawn.lines[0]) == 3
    assert drawn.paint.startswith('\x1bP0;0;0q"1;1;33;50')
    assert drawn.paint.endswith("\x1b\\")
    for kind in ("", "kitty", "sixel"):
        said = draw("the image is missing", (30, 3), Graphics(kind, CELL), True)
        assert (said.tell, said.paint) == ("", "")
        assert said.lines[0][0].text == "the image is missing"


def test_boxes_are_bounded() -> None:
    assert BLOCKS.box(80, 24) == (80, 48)
    assert Graphics("kitty", CELL).box(80, 24) == (800, 480)
    assert Graphics("kitty", CELL).box(4000, 4000) == (PIXELS_MAX, PIXELS_MAX)


def test_nobody_is_asked_in_tmux_without_colour_or_when_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def asked() -> str:
        raise AssertionError

    monkeypatch.setattr(graphics, "_ask", asked)
    assert probe("auto", {"TMUX": "/tmp/tmux-0/default,1,0"}) == BLOCKS
    assert probe("auto", {"STY": "1.pts"}) == BLOCKS
    assert probe("auto", {}, truecolor=False) == BLOCKS
    assert probe("blocks", {}) == BLOCKS
    assert probe("sixel", {"TMUX": "x"}).kind == "sixel"
    assert probe("sixel", {"NO_COLOR": "1"}) == BLOCKS
    monkeypatch.setattr(graphics, "find_spec", lambda name: None)
    assert probe("kitty", {}) == BLOCKS


DA1, SIZE, QUERY = rb"\x1b\[c", rb"\x1b\[16t", rb"\x1b_Gi=\d+,s=1,v=1,a=q[^\x1b]*\x1b\\"
KITTY = {QUERY: b"\x1b_Gi=31;OK\x1b\\", DA1: b"\x1b[?62;c", SIZE: b"\x1b[6;20;10t"}
SIXEL = {DA1: b"\x1b[?62;4;22c", SIZE: b"\x1b[6;20;10t"}


@contextmanager
def gallery(home: Path, answers: dict[bytes, bytes]) -> Iterator[Terminal]:
    """The app in such a terminal, on its first synthetic set."""
    terminal = Terminal(home, answers=answers)
    try:
        terminal.until(b"Open jobs")
        terminal.press("5")
        terminal.until(b"1 of 3")
        terminal.press("\r")
        terminal.until(b"image 1 of")
        yield terminal
    finally:
        terminal.close()


def originals(home: Path) -> dict[bytes, tuple[int, int]]:
    """The pixels of all images of the home's synthetic sets, and their sizes."""
    opened = [Image.open(path).convert("RGB") for path in home.glob("artifacts/synthetic/*/data/train/*/*.png")]
    return {image.tobytes(): image.size for image in opened}


def is_of(image: Image.Image, known: dict[bytes, tuple[int, int]]) -> bool:
    """Whether it is one of these, made larger by a whole number and put on nothing."""
    whole = image.crop(image.getchannel("A").getbbox()).convert("RGB")
    return any(
        whole.width % size[0] == 0 and whole.resize(size, Image.Resampling.NEAREST).tobytes() in known
        for size in set(known.values())
    )


def test_a_kitty_shows_the_images_themselves_and_lets_go_of_them(ran: Path) -> None:
    with gallery(ran, KITTY) as terminal:
        terminal.until(PLACEHOLDER)
        terminal.read(2.0)
        thumbs = sent_images(terminal.seen)
        assert len(thumbs) >= 3
        known = originals(ran)
        assert sum(is_of(image, known) for image in thumbs.values()) >= 3
        terminal.seen = b""
        terminal.press("\r")
        terminal.until(b"guidance_scale")
        terminal.until(PLACEHOLDER)
        terminal.read(1.0)
        (large,) = sent_images(terminal.seen).values()
        assert is_of(large, known)
        assert large.width > 2 * max(image.width for image in thumbs.values())
        terminal.press("q")
        assert terminal.wait() == 0
        freed = set(re.findall(rb"a=d,d=I,i=(\d+)", terminal.seen))
        assert {name.encode() for name in sent_images(terminal.seen)} <= freed


def test_a_sixel_terminal_paints_one_image_and_not_under_a_dialog(ran: Path) -> None:
    with gallery(ran, SIXEL) as terminal:
        assert b"\x1bP" not in terminal.seen  # thumbnails are half-blocks
        terminal.press("\r")
        terminal.until(b"guidance_scale")
        terminal.until(b"\x1bP0;0;0q")
        terminal.read(0.5)
        terminal.seen = b""
        terminal.press("?")
        terminal.until(b"Keys: ")
        assert b"\x1bP" not in terminal.seen


def test_a_plain_terminal_gets_half_blocks_and_loses_no_key(ran: Path) -> None:
    with gallery(ran, PLAIN) as terminal:
        terminal.until("▀▀".encode())
        assert PLACEHOLDER not in terminal.seen
        assert b"\x1bP" not in terminal.seen
