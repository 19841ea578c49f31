"""A synthetic set is loadable by other tools whatever its classes are called, and keeps every class's true name."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from datadream import durable
from datadream.data.image_folders import NAME_BYTES_MAX, image_folders
from datadream.data.prompts import ClassInfo
from datadream.data.shots import ShotSet, make_shot_set
from datadream.data.source import open_source
from datadream.home import marks
from datadream.home.artifacts import publish
from datadream.home.layout import Home
from datadream.home.sets import NamedSet, add_set
from datadream.home.spec import JobSpec
from datadream.models.presets import Backbone
from datadream.plans import grid as plan
from datadream.recipes.recipe import load_recipe
from datadream.stages.classify import make_pool
from datadream.stages.generate import generate
from datadream.stages.settings import ClassifySettings, GenerateSettings
from datadream.stages.task import Input, Task

ORDINARY = ("cat", "dog breed", "AnnualCrop", "Klasse é鳥 9", "bird's nest", "F-16A", "n01440764", "train", "data", "test", "a_b",
            "_private", "x__", "C++ & C#", "100%", "(other)", "a,b;c=d@e", "$x", "v1.2")  # fmt: skip
ODD = ("__background__", ".hidden", "-rf", " lead", "trail ", "dot.", "CON", "nul.txt", "Lpt9", "a[b]", "a*b", "wh?t", "a:b", "a::b",
       "a|b", "<i>", 'say "x"', "back\\slash", "line\nbreak", "\x1b[31mred", "\u202etxt", "metadata.jsonl", "ü" * 61, "__")  # fmt: skip


@pytest.mark.parametrize("name", ORDINARY)
def test_an_ordinary_name_stays(name: str) -> None:
    assert image_folders([name, "other"]) == (name, "other")


@pytest.mark.parametrize("name", ODD, ids=ascii)
def test_an_odd_name_gets_another(name: str) -> None:
    found, other = image_folders([name, "other"])
    assert found.startswith("class-00000")
    assert other == "other"
    assert found.isascii()
    assert image_folders([found, "other"]) == (found, "other")


def test_names_that_some_disk_takes_for_one_are_told_apart() -> None:
    found = image_folders(["Cat", "cat", "e\u0301", "\u00e9", "dog", "class-00000-cat"])
    assert found == ("class-00000-Cat-", "class-00001-cat", "class-00002-e", "class-00003-e", "dog", "class-00000-cat")


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.text(min_size=1, max_size=40).filter(lambda t: "/" not in t and "\0" not in t), unique=True, max_size=8)
)
def test_folders_are_never_the_same_and_always_safe(names: list[str]) -> None:
    names = [name for name in names if not any(unicodedata.category(c) == "Cs" for c in name)]
    found = image_folders(names)
    assert len({unicodedata.normalize("NFC", name).casefold() for name in found}) == len(names)
    for name in found:
        assert not name.startswith((".", "__", "-")) and not set(name) & set('*?[]<>:"|\\/\n')
        assert len(name.encode()) <= NAME_BYTES_MAX
    assert image_folders(names) == found


def spec_of(mini: Backbone, shots: ShotSet, home: Home) -> JobSpec:
    overrides = ["generate.images_per_class=2", "generate.num_inference_steps=1", "generate.batch_size=2"]
    recipe = load_recipe("name-only", mini, overrides)
    return plan.plan(recipe, NamedSet("x", add_set(home, shots, "x").id, shots), mini, "synth").jobs["generate"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("odd") / "pictures"
    for label, name in enumerate(("__background__", "a[b]", "dog", "CON", "line\nbreak")):
        (root / name).mkdir(parents=True)
        for i in range(3):
            Image.new("RGB", (8, 8), (label * 40, i * 80, 7)).save(root / name / f"{i}.png")
    return root


def test_torchvision_and_datasets_load_every_class(pictures: Path, mini: Backbone, home: Home, tmp_path: Path) -> None:
    from datasets import load_dataset
    from torchvision.datasets import ImageFolder

    shots = make_shot_set(open_source(str(pictures)), 1, 1)
    spec = spec_of(mini, shots, home)
    assert spec.folders == (
        "class-00000-CON",
        "class-00001-background",
        "class-00002-a-b",
        "dog",
        "class-00004-line-break",
    )
    out = home.staging("synthetic", spec.id)
    out.mkdir(parents=True)
    parsed = GenerateSettings.model_validate(spec.settings)
    classes: dict[str, Any] = {"classes": spec.classes, "prompts": spec.prompts, "folders": spec.folders}
    generate(Task(parsed, out, durable.make_dir(tmp_path / "c"), model=mini.diffusion, **classes))
    names = [class_.name for class_ in shots.classes]
    folder = ImageFolder(str(out / "data" / "train"))
    assert folder.classes == sorted(spec.folders)
    assert len(folder) == 2 * len(names)
    images = load_dataset(str(out), split="train", cache_dir=str(tmp_path / "hf"))
    assert images.features["label"].names == sorted(spec.folders)
    assert len(images) == 2 * len(names)
    prompts = load_dataset(str(out), "prompts", split="train", cache_dir=str(tmp_path / "hf"))
    assert {(row["label"], row["folder"]) for row in prompts.remove_columns("image")} == {
        (class_.name, class_.folder) for class_ in shots.classes
    }
    assert "`folder` the source's folder" in (out / "README.md").read_text()
    rows = [json.loads(line) for line in (out / "data" / "train" / "metadata.jsonl").read_text().splitlines()]
    assert [row["file_name"] for row in rows[:3]] == [
        "class-00000-CON/00000.png", "class-00000-CON/00001.png", "class-00001-background/00000.png",
    ]  # fmt: skip

    publish(home, "synthetic", spec.id, spec.model_dump(mode="json"), {})
    done = home.artifact("synthetic", spec.id)
    wanted = ["__background__/1", "class-00002-a-b/0", "line break", "dog"]
    found = marks.names_of(home, spec.id, wanted)
    assert found == ["class-00001-background/00001.png", "class-00002-a-b/00000.png", "class-00004-line-break", "dog"]
    marks.mark(home, spec.id, found)
    assert len(marks.excluded(home, spec)) == 6
    task = Task(ClassifySettings(), out, out, shots=shots, data="synth", images_per_class=2, excluded={"dog/00000.png"})
    pool = make_pool(replace(task, inputs={"synthetic": Input(spec.id, done, spec.image_folders)}))
    assert [pool.labels.count(label) for label in range(5)] == [2, 2, 2, 1, 2]


def test_ordinary_sets_keep_their_ids(mini: Backbone, home: Home, two_shots: ShotSet) -> None:
    spec = spec_of(mini, two_shots, home)
    assert spec.folders == ()
    assert spec.id == JobSpec.model_validate({**spec.model_dump(mode="json"), "folders": []}).id
    old = {key: value for key, value in spec.model_dump(mode="json").items() if key != "folders"}
    assert JobSpec.model_validate(old).id == spec.id
    assert spec.id != JobSpec.model_validate({**old, "folders": ["a"] * 10}).id


def test_sets_drawn_before_are_read_by_their_own_folders() -> None:
    classes = tuple(ClassInfo(folder=name, name=name.strip("_")) for name in ("__a__", "b"))
    spec = JobSpec(stage="generate", settings={}, inputs={}, seed=1, classes=classes)
    assert spec.image_folders == ("__a__", "b")
