"""Images in cells: what is drawn, what is loaded, and what can't be."""

from __future__ import annotations

import asyncio
import io
import time
from pathlib import Path

import pytest
from PIL import Image
from textual.app import App, ComposeResult

from tui.drawing import half_blocks as widgets
from tui.drawing.half_blocks import draw, lines_of
from tui.services import images
from tui.services.images import Picture, Pixels, Thumbs, read_pixels
from tui.widgets.image import Cell, ImageGrid, ImageView, PictureWidget


def save(path: Path, size: tuple[int, int] = (32, 32), colour: str = "red") -> Picture:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)
    return Picture.of_file(path)


def test_two_pixels_share_a_cell_and_equal_neighbours_a_segment() -> None:
    red, blue, white = b"\xff\x00\x00", b"\x00\x00\xff", b"\xff\xff\xff"
    lines = draw(Pixels(3, 3, red + red + white + blue + blue + white + red * 3))
    assert [[segment.text for segment in line] for line in lines] == [["▀▀", "▀"], ["▀▀▀"]]
    style = lines[0][0].style
    assert style is not None
    assert (str(style.color.name), str(style.bgcolor.name)) == ("#fc0000", "#0000fc")
    assert lines[1][0].style.bgcolor is None


def test_without_colour_brighter_is_denser_and_the_other_way_on_a_light_ground() -> None:
    pixels = Pixels(3, 2, b"\x00\x00\x00\x80\x80\x80\xff\xff\xff" * 2)
    assert draw(pixels, plain=True)[0][0].text == " =@"
    assert draw(pixels, plain=True, dark=False)[0][0].text == "@+ "


def test_no_color_draws_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert lines_of(Pixels(1, 2, b"\xff" * 6), 1, 1)[0][0].text == "@"


def test_small_images_grow_by_whole_numbers_and_large_ones_shrink(tmp_path: Path) -> None:
    small = read_pixels(save(tmp_path / "s.png", (8, 8)), 30, 40)
    assert isinstance(small, Pixels)
    assert (small.width, small.height, small.full) == (24, 24, (8, 8))
    wide = read_pixels(save(tmp_path / "w.png", (400, 100)), 20, 20)
    assert isinstance(wide, Pixels)
    assert (wide.width, wide.height) == (20, 5)


def test_what_cannot_be_shown_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "torn.png").write_bytes(b"\x89PNG torn")
    (tmp_path / "empty.png").touch()
    assert read_pixels(Picture(str(tmp_path), "gone.png"), 9, 9) == "the image is missing"
    assert read_pixels(Picture(str(tmp_path), "empty.png"), 9, 9) == "an empty file"
    assert read_pixels(Picture(str(tmp_path), "torn.png"), 9, 9) == "not an image of a known format"
    assert "not a path inside" in str(read_pixels(Picture(str(tmp_path), "../torn.png"), 9, 9))
    assert "no digit" in str(read_pixels(Picture("", "digits/9999"), 9, 9))


def test_thumbnails_are_kept_up_to_a_number_of_bytes(tmp_path: Path) -> None:
    thumbs = Thumbs(most=10_000)
    pictures = [save(tmp_path / f"{i}.png") for i in range(9)]
    thumbs.load_all(pictures, 32, 32)
    assert thumbs.decodes == 9
    assert thumbs.bytes <= 10_000
    assert thumbs.get(pictures[0], 32, 32) is None
    assert thumbs.get(pictures[-1], 32, 32) is not None
    thumbs.load(pictures[-1], 32, 32)
    assert thumbs.decodes == 9


def test_loading_stops_when_nobody_wants_it(tmp_path: Path) -> None:
    thumbs, asked = Thumbs(), iter([True, False])
    assert len(thumbs.load_all([save(tmp_path / f"{i}.png") for i in range(3)], 8, 8, lambda: next(asked))) == 1


@pytest.fixture
def thumbs(monkeypatch: pytest.MonkeyPatch) -> Thumbs:
    """A cache of the test's own."""
    monkeypatch.setattr(images, "THUMBS", Thumbs())
    return images.THUMBS


class Grids(App[None]):
    """A grid, and nothing else."""

    def __init__(self, cells: list[Cell]) -> None:
        super().__init__()
        self.cells = cells

    def compose(self) -> ComposeResult:
        yield ImageGrid(id="grid")

    def on_mount(self) -> None:
        self.query_one(ImageGrid).show(self.cells, "no images")


async def loaded(app: App[None], kind: type[PictureWidget] = ImageGrid) -> None:
    """Wait until everything in view is there."""
    end = time.monotonic() + 20
    while not app.query_one(kind).size or app.query_one(kind).missing():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.1)


def test_only_what_is_seen_of_a_thousand_is_loaded(tmp_path: Path, thumbs: Thumbs) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), "green").save(buffer, format="PNG")
    for i in range(1000):
        (tmp_path / f"{i:05d}.png").write_bytes(buffer.getvalue())
    cells = [Cell(Picture(str(tmp_path), f"{i:05d}.png"), f"{i}") for i in range(1000)]

    async def walk() -> None:
        app = Grids(cells)
        async with app.run_test(size=(80, 24)) as pilot:
            grid = app.query_one(ImageGrid)
            await loaded(app)
            per_view = grid.columns * (24 // grid.row_height + 1)
            assert 0 < thumbs.decodes <= per_view
            for _ in range(20):
                grid.action_pages(1)
            await pilot.pause()
            await loaded(app)
            assert thumbs.decodes <= 3 * per_view
            await pilot.press("end")
            await loaded(app)
            assert grid.cursor == 999
            assert not grid.missing()
            assert thumbs.decodes <= 5 * per_view
            await pilot.press("home", "right", "down", "up", "left")
            assert grid.cursor == 0

    asyncio.run(walk())


def test_a_broken_image_says_so_in_its_cell_and_a_mark_is_a_word(tmp_path: Path) -> None:
    (tmp_path / "b.png").write_bytes(b"nothing")
    cells = [Cell(save(tmp_path / "a.png"), "a", bad=True), Cell(Picture(str(tmp_path), "b.png"), "b")]

    async def walk() -> None:
        app = Grids(cells)
        async with app.run_test(size=(60, 12)):
            await loaded(app)
            strips = app.screen._compositor.render_strips()
            text = "\n".join("".join(segment.text for segment in strip) for strip in strips)
            assert "not an image of " in text and "a known format" in text
            assert "bad" in text
            assert text.count(widgets.UPPER * 16) == 8

    asyncio.run(walk())


def test_one_image_fills_the_room(tmp_path: Path) -> None:
    picture = save(tmp_path / "a.png", (10, 10))

    class One(App[None]):
        def compose(self) -> ComposeResult:
            view = ImageView(id="big")
            view.styles.height = "1fr"
            yield view

        def on_mount(self) -> None:
            self.query_one(ImageView).show(picture)

    async def walk() -> None:
        app = One()
        async with app.run_test(size=(50, 24)):
            await loaded(app, ImageView)
            strips = app.screen._compositor.render_strips()
            text = ["".join(segment.text for segment in strip).rstrip() for strip in strips]
            assert text[:20] == [widgets.UPPER * 40] * 20
            assert text[20:] == [""] * 4

    asyncio.run(walk())
