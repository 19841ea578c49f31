"""Few-shot sets, adapters and synthetic sets: lists, details, a new set from a folder or from the digits."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from PIL import Image

from datadream.home.layout import Home
from datadream.home.sets import find_set, list_sets
from tests.tui.looking import SIZES, looking
from tui.screens.gallery import GalleryScreen
from tui.screens.new.file_picker import FolderPicker, nearest_folder, read_folder
from tui.screens.new.new_set import NewSet
from tui.services.set_maker import Wish, command, look, make, parse


def folder(root: Path, count: int = 8) -> Path:
    """Two classes of small images, all different."""
    for label, name in enumerate(("cat", "dog")):
        (root / name).mkdir(parents=True)
        for index in range(count):
            Image.new("RGB", (20, 20), (10 * index, 100 * label, 50)).save(root / name / f"{index}.png")
    return root


@pytest.mark.parametrize("size", SIZES)
def test_sets_and_their_shots(ran_copy: Path, size: tuple[int, int]) -> None:
    async def walk() -> None:
        async with looking(ran_copy, size) as looker:
            await looker.press("3")
            await looker.see("d2")
            await looker.press("v")
            await looker.see("Few-shot set")
            await looker.see("4ea8090c9c8649da")
            looker.app.screen.query_one("#panel-scroll").scroll_end(animate=False)
            await looker.see("a photo of a nine")
            await looker.press("escape", "enter")
            await looker.see("2 shots, seed 1, 359 val and 719 test images")
            assert isinstance(looker.app.screen, GalleryScreen)
            await looker.see("image 1 of 2")
            await looker.press("b")
            await looker.see("only synthetic images can be marked")
            await looker.press("enter")
            await looker.see("unchanged")
            await looker.press("escape", "escape", "L")
            await looker.see("Lineage")
            await looker.press("escape", "at")
            await looker.see("datadream set make")

    asyncio.run(walk())


@pytest.mark.parametrize("size", SIZES)
def test_adapters_and_synthetic_sets(ran_copy: Path, size: tuple[int, int]) -> None:
    async def walk() -> None:
        async with looking(ran_copy, size) as looker:
            await looker.press("4")
            await looker.see("dataset")
            await looker.press("enter")
            await looker.see("Adapter")
            await looker.see("loss")
            looker.app.screen.query_one("#panel-scroll").scroll_end(animate=False)
            await looker.see("datadream-cls")
            await looker.press("escape", "i")
            await looker.see("2 shots, seed 1")
            await looker.press("escape", "o")
            await looker.see("adapt")
            await looker.press("escape", "L")
            await looker.see("Lineage")
            await looker.press("escape", "5")
            await looker.see("images_per_class")
            await looker.press("v")
            await looker.see("Synthetic set")
            await looker.press("escape", "enter")
            await looker.see("2 real shots")
            await looker.press("escape", "at")
            await looker.see("datadream synth show")

    asyncio.run(walk())


def test_a_set_of_digits_is_made_with_the_command_shown(home: Home) -> None:
    async def walk() -> None:
        async with looking(home, (80, 24)) as looker:
            await looker.press("3")
            await looker.see("no sets yet")
            await looker.press("N")
            await looker.see("10 classes: zero")
            await looker.see("datadream set make digits --shots 16 --seed 1")
            await looker.press("tab", "backspace", "backspace")
            await looker.see("shots: expected an integer >= 1")
            await looker.type("400")
            await looker.see("10 classes have fewer than 400 training images")
            await looker.press("enter", "enter", "enter", "enter")
            assert list_sets(home) == []
            await looker.press("up", "up", "up", "backspace", "backspace", "enter", "enter", "enter")
            await looker.type("mine")
            await looker.see("datadream set make digits --shots 4 --seed 1 --name mine")
            await looker.see("name: mine")
            await looker.press("enter")
            await looker.see("few-shot set mine made")
            await looker.see(lambda: "mine" in looker.text())
            assert find_set(home, "mine").shots.shots == 4
            made = "datadream set make digits --shots 4 --seed 1 --name mine"
            assert looker.app.log_of_commands[-1] == ("few-shot set mine made", made)

    asyncio.run(walk())


def test_a_folder_is_picked_and_its_bad_images_stop_the_making(home: Home, tmp_path: Path) -> None:
    root = folder(tmp_path / "pets")

    async def walk() -> None:
        async with looking(home) as looker:
            await looker.press("3", "N")
            screen = looker.app.screen
            assert isinstance(screen, NewSet)
            screen.query_one("#source").value = str(tmp_path)
            await looker.press("ctrl+o")
            await looker.see(lambda: isinstance(looker.app.screen, FolderPicker))
            await looker.see("pets/")
            await looker.press("down", "enter")  # beside the home
            await looker.see("cat/")
            await looker.press("k", "space")
            await looker.see(lambda: screen.query_one("#source").value == str(root))
            await looker.press("tab", "backspace", "backspace", "2")
            await looker.see("2 classes: cat, dog")
            (root / "dog" / "7.png").write_bytes(b"torn")
            screen.query_one("#make").press()
            await looker.see("1 image can't be used")
            assert list_sets(home) == []
            (root / "dog" / "7.png").unlink()
            screen.query_one("#seed").value = "3"
            await looker.see("name: pets-2shot-seed3")
            await looker.see("8 train")
            screen.query_one("#make").press()
            await looker.see("few-shot set pets-2shot-seed3 made")

    asyncio.run(walk())


def test_what_is_typed_becomes_the_exact_command(tmp_path: Path) -> None:
    assert parse("digits", "4", "1", "", "") == Wish("digits", 4, 1)
    for bad in (("", "4", "1", "0"), ("digits", "0", "1", "0"), ("digits", "4", "-1", "0"), ("digits", "4", "1", "²")):
        assert isinstance(parse(*bad, ""), str)
    wish = Wish("my photos", 4, 2, 3, "-odd one")
    assert command(wish) == "datadream set make 'my photos' --shots 4 --seed 2 --split-seed 3 '--name=-odd one'"
    assert command(Wish("-x", 1, 1)) == "datadream set make --shots 1 --seed 1 -- -x"


def test_a_source_that_cannot_be_is_told_before_anything_is_written(home: Home, tmp_path: Path) -> None:
    assert "no source" in look(home, Wish("/nowhere", 1, 1)).wrong
    root = folder(tmp_path / "pets", 3)
    found = look(home, Wish(str(root), 3, 1))
    assert "classes have fewer than 3 training images" in found.wrong
    assert found.lines[0] == "2 classes: cat, dog"
    (root / "cat" / "notes.txt").touch()
    assert "is not an image" in look(home, Wish(str(root), 1, 1)).wrong
    assert not (home.path / "artifacts").exists()


def test_pictures_that_occur_twice_are_told_when_the_set_is_made(home: Home, tmp_path: Path) -> None:
    root = folder(tmp_path / "pets")
    assert make(home, Wish(str(root), 2, 1)).warning == ""
    for index in range(8):
        Image.new("RGB", (20, 20), "red").save(root / "dog" / f"{index}.png")
    assert "test images are also among the shots" in make(home, Wish(str(root), 2, 2)).warning


def test_folders_are_listed_without_hidden_ones_and_trouble_is_a_sentence(tmp_path: Path) -> None:
    folder(tmp_path / "pets")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "a.png").touch()
    listing = read_folder(tmp_path)
    assert (listing.folders, listing.images, listing.trouble) == (("pets",), 1, "")
    assert "can't read the folder" in read_folder(tmp_path / "gone").trouble
    assert nearest_folder(str(tmp_path / "pets" / "gone" / "x")) == tmp_path / "pets"


def test_the_dialog_and_the_picker_are_left_by_escape(home: Home) -> None:
    async def walk() -> None:
        async with looking(home, (80, 24)) as looker:
            await looker.press("3", "N", "ctrl+o")
            await looker.see("escape cancels")
            await looker.press("escape")
            assert isinstance(looker.app.screen, NewSet)
            await looker.press("escape")
            assert not isinstance(looker.app.screen, NewSet)
            assert list_sets(home) == []

    asyncio.run(walk())
