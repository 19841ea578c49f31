"""A few-shot set is its images: found again wherever its folder lies, and refused when it isn't what its id says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from datadream.data.shots import open_shots
from datadream.errors import UserError
from datadream.home.layout import Home
from datadream.home.sets import add_set, find_set, free_name, list_sets, load_set, make_set
from datadream.plans import ask, draws
from datadream.plans.request import Request
from store import index
from store.check import check
from tui.services import set_maker
from tui.services.set_maker import Wish


def folder(root: Path, tint: int = 0, count: int = 12) -> Path:
    for label, name in enumerate(("cat", "dog")):
        (root / name).mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (9, 9), (100 * label, 9 * i, tint)).save(root / name / f"{i}.png")
    return root


def names(home: Home, source: Path, dry: bool, seeds: tuple[int, ...] = (1,)) -> list[str]:
    planned = ask.plan(home, Request(("zero-shot",), source=str(source), shots=(2,), seeds=seeds), dry=dry)
    return [entry.name for entry in planned.sets]


def test_folders_of_one_name_make_sets_of_their_own_names(home: Home, tmp_path: Path) -> None:
    a, b, c = (folder(tmp_path / name / "images", tint) for tint, name in enumerate("abc"))
    expected = {a: "images-2shot-seed1", b: "images-2shot-seed1-2", c: "images-2shot-seed1-3"}
    for source, name in expected.items():
        assert names(home, source, dry=True) == [name]
        assert names(home, source, dry=False) == [name]
        assert names(home, source, dry=True) == [name]
    assert {entry.name for entry in list_sets(home)} == set(expected.values())
    for source, name in expected.items():
        assert find_set(home, name).shots.source["path"] == str(source)
    assert names(home, b, dry=False, seeds=(1, 5)) == ["images-2shot-seed1-2", "images-2shot-seed5"]


def test_a_folder_that_has_changed_makes_another_set(home: Home, tmp_path: Path) -> None:
    root = folder(tmp_path / "images")
    assert names(home, root, dry=False) == ["images-2shot-seed1"]
    for i in range(12, 20):
        Image.new("RGB", (9, 9), (0, 9 * i, 7)).save(root / "cat" / f"{i}.png")
    draws._drawn.cache_clear()
    assert names(home, root, dry=True) == names(home, root, dry=False) == ["images-2shot-seed1-2"]


def test_a_name_that_was_chosen_is_not_changed(home: Home, tmp_path: Path) -> None:
    a, b = folder(tmp_path / "a" / "images"), folder(tmp_path / "b" / "images", 7)
    for name in (None, "mine"):
        make_set(home, str(a), 2, 1, split_seed=0, name=name, check="all")
        with pytest.raises(UserError, match=r"is already used for another set.*--name"):
            make_set(home, str(b), 2, 1, split_seed=0, name=name, check="all")
    assert free_name(home, "mine", "f" * 16) == "mine-2"
    assert "an existing name" in " ".join(set_maker.look(home, Wish(str(b), 2, 1)).lines)


def test_a_set_is_read_where_it_was_asked_for_last(home: Home, tmp_path: Path) -> None:
    """Also while its old folder is still there, and holds other images by now."""
    a = folder(tmp_path / "a" / "images")
    b = Path(shutil.copytree(a, tmp_path / "b" / "images"))
    first = draws.make_sets(home, str(a), [(2, 1)])[0]
    kept = (home.artifact("set", first.id) / "set.json").read_bytes()
    for path in a.rglob("*.png"):
        path.write_bytes(b"no picture")
    again = draws.make_sets(home, str(b), [(2, 1)])[0]
    assert (again.id, again.name) == (first.id, first.name)
    found = load_set(home, first.id)
    assert found.id == first.id
    assert found.source["path"] == str(b)
    assert len(list(open_shots(found, "train"))) == 4
    assert find_set(home, first.name).shots == found
    assert ask.plan(home, Request(("zero-shot",), source=str(b), shots=(2,)), dry=True).sets[0].id == first.id
    assert (home.artifact("set", first.id) / "set.json").read_bytes() == kept
    shutil.rmtree(b)
    back = folder(tmp_path / "c")
    draws.make_sets(home, str(back), [(2, 1)])
    assert load_set(home, first.id).source["path"] == str(back)
    registry = index.open_registry(home)
    assert check(home, registry) == []
    registry.close()


def test_a_place_that_can_not_be_read_is_said(home: Home, tmp_path: Path) -> None:
    a = folder(tmp_path / "a" / "images")
    made = draws.make_sets(home, str(a), [(2, 1)])[0]
    for text in ("{", "[]", '{"path": 3}'):
        home.place(made.id).parent.mkdir(exist_ok=True)
        home.place(made.id).write_text(text)
        with pytest.raises(UserError, match="the place of the set's folder can't be read"):
            load_set(home, made.id)


def test_a_set_that_was_changed_is_refused_and_can_be_made_again(home: Home, tmp_path: Path) -> None:
    a = folder(tmp_path / "images")
    made = draws.make_sets(home, str(a), [(2, 1)])[0]
    path = home.artifact("set", made.id) / "set.json"
    whole = path.read_text()
    content = json.loads(whole)
    content["test"][0]["label"] = 1 - content["test"][0]["label"]
    path.write_text(json.dumps(content))
    for look in (
        lambda: load_set(home, made.id),
        lambda: find_set(home, made.name),
    ):
        with pytest.raises(UserError, match=r"its hash is not its id.*make the set again with `datadream set make`"):
            look()
    assert add_set(home, made.shots, None).id == made.id  # the ruin is put aside
    assert load_set(home, made.id) == made.shots
    shutil.rmtree(path.parent)
    make_set(home, str(a), 2, 1, split_seed=0, name=None, check="all")
    assert load_set(home, made.id) == made.shots
