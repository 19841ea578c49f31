"""The gallery: by class, real shots beside, one image with its facts, marks; only what is seen is loaded."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
import time
from pathlib import Path

import pytest
from PIL import Image

from datadream.home import artifacts
from datadream.home.layout import Home
from datadream.home.marks import read_marks
from tests.tui.looking import SIZES, Looker, looking
from tui.screens.gallery import GalleryScreen
from tui.services import images
from tui.services.images import Thumbs
from tui.widgets.image import ImageGrid, ImageView


def synthetic(home: Path, adapted: bool = True) -> str:
    """A synthetic set's id."""
    for path in sorted(home.glob("artifacts/synthetic/*/manifest.json")):
        if bool(json.loads(path.read_text())["spec"]["inputs"]) == adapted:
            return path.parent.name
    raise AssertionError


async def opened(looker: Looker, artifact_id: str) -> GalleryScreen:
    """The gallery, with everything in view loaded."""
    looker.app.open_gallery(artifact_id)
    await looker.see(lambda: isinstance(looker.app.screen, GalleryScreen) and looker.app.screen.album is not None)
    screen = looker.app.screen
    assert isinstance(screen, GalleryScreen)
    await settled(looker)
    return screen


async def settled(looker: Looker) -> None:
    """Until all images in view are there."""

    def done() -> bool:
        grids = [grid for grid in looker.app.screen.query(ImageGrid) if grid.display and grid.size]
        return not any(grid.missing() for grid in grids)

    await looker.see(done)
    await looker.pilot.pause(0.1)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("adapted", [True, False])
def test_every_key_of_the_gallery(ran_copy: Path, size: tuple[int, int], adapted: bool) -> None:
    home = Home(ran_copy)
    synth_id = synthetic(ran_copy, adapted)

    async def walk() -> None:
        async with looking(ran_copy, size) as looker:
            screen = await opened(looker, synth_id)
            assert "1/10 zero  a photo of a zero" in looker.text()
            assert "2 real shots" in looker.text()
            assert "image 1 of 3" in looker.text()
            assert looker.text().count("▀" * 10) > 10
            await looker.press("left_square_bracket")
            await looker.see("this is the first class")
            await looker.press("right_square_bracket", "right_square_bracket")
            await settled(looker)
            await looker.see("3/10 two")
            await looker.press("right")
            await looker.see("image 2 of 3")
            await looker.press("b")
            await looker.see("✗ bad")
            assert read_marks(home, synth_id).images == {"two/00001.png": ""}
            await looker.see("1 image marked bad")
            await looker.press("u")
            await looker.see(lambda: "✗ bad" not in looker.text())
            assert not read_marks(home, synth_id)
            await looker.press("b", "D")
            await looker.see("Mark the class two: 3 images as bad?")
            assert not read_marks(home, synth_id).classes
            await looker.press("y")
            await looker.see("✗ bad class")
            await looker.see("1 image and 1 class marked bad")
            await looker.press("D")
            await looker.see("Unmark the class two: 3 images?")
            await looker.press("y")
            await looker.see(lambda: "bad class" not in looker.text())
            assert read_marks(home, synth_id).classes == {}

            await looker.press("enter")
            await looker.see("guidance_scale")
            await looker.see("two/00001.png")
            await looker.see("marked")
            await looker.press("right")
            await looker.see("two/00002.png")
            await looker.press("right_square_bracket")
            await looker.see("three/00000.png")
            await looker.see(lambda: not screen.query_one(ImageView).missing())
            await looker.press("escape")
            await looker.see("real shots")
            assert not screen.inspecting
            await looker.press("at")
            await looker.see(f"datadream synth mark {synth_id} three/00000.png")
            await looker.press("escape", "L")
            await looker.see("Lineage")
            await looker.press("escape", "escape")
            assert not isinstance(looker.app.screen, GalleryScreen)

    asyncio.run(walk())


def test_broken_and_missing_images_are_sentences(ran_copy: Path) -> None:
    synth_id = synthetic(ran_copy)
    folder = ran_copy / "artifacts" / "synthetic" / synth_id / "data" / "train" / "zero"
    (folder / "00000.png").write_bytes(b"torn")
    (folder / "00001.png").unlink()

    async def walk() -> None:
        async with looking(ran_copy) as looker:
            await opened(looker, synth_id)
            await looker.see("not an image of a")
            await looker.see("the image is missing")
            await looker.press("enter")
            await looker.see("not an image of a known format")

    asyncio.run(walk())


def test_a_set_that_is_gone_and_damaged_marks_are_told(ran_copy: Path) -> None:
    synth_id = synthetic(ran_copy)
    home = Home(ran_copy)
    home.marks(synth_id).parent.mkdir()
    home.marks(synth_id).write_text("[")

    async def walk() -> None:
        async with looking(ran_copy) as looker:
            looker.app.open_gallery("0123456789abcdef")
            await looker.see("no usable synthetic")
            await looker.press("b")
            await looker.see("the set no longer exists")
            await looker.press("escape")
            looker.app.open_gallery(synth_id)
            await looker.see("these marks can't be read")

    asyncio.run(walk())


def test_real_shots_that_moved_away_leave_the_gallery_usable(ran_copy: Path) -> None:
    synth_id = synthetic(ran_copy)
    for path in ran_copy.glob("artifacts/set/[!.]*"):
        shutil.rmtree(path)

    async def walk() -> None:
        async with looking(ran_copy) as looker:
            await opened(looker, synth_id)
            await looker.see("no usable set")
            await looker.see("image 1 of 3")

    asyncio.run(walk())


def test_a_thousand_images_a_class_open_without_loading_them(ran_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "THUMBS", Thumbs())
    monkeypatch.setattr(artifacts, "what_is_wrong", lambda *_: "")  # the spec is made up below
    synth_id = synthetic(ran_copy)
    folder = ran_copy / "artifacts" / "synthetic" / synth_id
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["spec"]["settings"]["images_per_class"] = 1000
    (folder / "manifest.json").write_text(json.dumps(manifest))
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "teal").save(buffer, format="PNG")
    for index in range(1000):
        (folder / "data" / "train" / "zero" / f"{index:05d}.png").write_bytes(buffer.getvalue())

    async def walk() -> None:
        async with looking(ran_copy) as looker:
            began = time.monotonic()
            screen = await opened(looker, synth_id)
            assert time.monotonic() - began < 5
            first = images.THUMBS.decodes
            assert first <= 16  # those in view, and two shots
            grid = screen.query_one("#images", ImageGrid)
            await looker.press("pagedown", "pagedown")
            await settled(looker)
            assert grid.cursor > 0
            grid.action_move(10_000)
            await looker.see("image 1,000 of 1,000")
            await settled(looker)
            assert images.THUMBS.decodes <= 60

    asyncio.run(walk())
