"""Pictures that occur more than once are found in every pair of parts, whatever hides them, and told at every door."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from datadream.data.shots import draw_shot_set, make_shot_set
from datadream.data.source import open_source
from datadream.data.twins import Twins, find_twins, pixel_digest, sentence
from datadream.home.artifacts import amend_origin, read_manifest
from datadream.home.layout import Home
from datadream.home.sets import TWINS, add_set, find_set, make_set, warnings_of
from datadream.plans import ask
from datadream.plans import request as requests
from tests.conftest import Cli

PARTS = {"train": 4, "val": 3, "test": 4}


def picture(seed: int) -> Image.Image:
    """A small picture that no other seed gives."""
    image = Image.new("RGB", (6, 4))
    image.putdata([((seed * 7 + i) % 256, (i * 31) % 256, seed % 256) for i in range(24)])
    return image


@pytest.fixture
def split(tmp_path: Path) -> Path:
    """Two classes in three parts, all pictures different; every training image becomes a shot of a 4-shot set."""
    seed = 0
    for part, count in PARTS.items():
        for name in ("cat", "dog"):
            (tmp_path / "pets" / part / name).mkdir(parents=True)
            for i in range(count):
                seed += 1
                picture(seed).save(tmp_path / "pets" / part / name / f"{i}.png")
    return tmp_path / "pets"


def kinds(root: Path, shots: int = 4) -> dict[str, Twins]:
    return {twins.kind: twins for twins in draw_shot_set(open_source(str(root)), shots, 1).found.twins}


def saved(image: Image.Image, format_: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def turned(image: Image.Image) -> bytes:
    """The picture lying on its side, with the EXIF tag that sets it upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return saved(image.transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif)


def test_a_set_without_twins_says_nothing(split: Path, home: Home) -> None:
    assert kinds(split) == {}
    assert draw_shot_set(open_source("digits"), 2, 1).found.twins == ()
    made = make_set(home, str(split), 4, 1, split_seed=0, name="clean", check="all")
    assert warnings_of(home, made.id) == []


@pytest.mark.parametrize(
    ("original", "copy", "kind"),
    [
        ("train/cat/0", "test/cat/x", "test-shots"),
        ("train/cat/0", "val/cat/x", "val-shots"),
        ("val/cat/0", "test/cat/x", "test-val"),
        ("test/cat/0", "test/cat/x", "test-test"),
        ("val/cat/0", "val/cat/x", "val-val"),
    ],
)
@pytest.mark.parametrize("how", ["renamed", "bmp", "metadata", "turned"])
def test_a_copy_is_found_in_every_pair_of_parts(original: str, copy: str, kind: str, how: str, split: Path) -> None:
    path = split / f"{original}.png"
    image = Image.open(path).convert("RGB")
    data = {
        "renamed": lambda: path.read_bytes(),
        "bmp": lambda: saved(image, "BMP"),
        "metadata": lambda: saved(image, "PNG", dpi=(72, 72), compress_level=1),
        "turned": lambda: turned(image),
    }[how]()
    target = split / f"{copy}.{'bmp' if how == 'bmp' else 'png'}"
    target.write_bytes(data)
    found = kinds(split)
    assert set(found) == {kind}
    assert found[kind].count == 1
    assert {found[kind].first, found[kind].second} == {f"{original}.png", target.relative_to(split).as_posix()}


def test_one_picture_in_two_classes_is_found_wherever_it_stands(split: Path) -> None:
    shutil.copy(split / "test" / "cat" / "0.png", split / "test" / "dog" / "x.png")
    found = kinds(split)
    assert set(found) == {"labels", "test-test"}
    assert (found["labels"].count, found["labels"].shots, found["labels"].tests) == (1, 0, 1)
    (split / "test" / "dog" / "x.png").unlink()
    shutil.copy(split / "train" / "cat" / "0.png", split / "train" / "dog" / "0.png")
    found = kinds(split)
    assert set(found) == {"labels", "shots-shots"}
    assert (found["labels"].shots, found["labels"].tests) == (1, 0)
    said = sentence(found["labels"])
    assert said.startswith("1 image is in more than one class (train/cat/0.png = train/dog/0.png), 1 of them among")
    assert said.endswith("the classifier learns a wrong label")


def test_training_images_that_were_not_drawn_are_looked_at_too(split: Path) -> None:
    drawn = make_shot_set(open_source(str(split)), 1, 1)
    spare = next(f"train/cat/{i}.png" for i in range(4) if f"train/cat/{i}.png" not in {r.key for r in drawn.train})
    shutil.copy(split / spare, split / "test" / "cat" / "x.png")
    assert kinds(split, shots=1)["test-spare"].count == 1
    used = draw_shot_set(open_source(str(split)), 1, 1, check="used").found
    assert (used.spare, used.twins) == (False, ())
    shutil.copy(split / spare, split / "train" / "dog" / Path(spare).name)
    assert kinds(split, shots=1)["labels"].count == 1


def test_each_kind_is_counted(split: Path) -> None:
    for i in range(3):
        shutil.copy(split / "train" / "cat" / f"{i}.png", split / "test" / "cat" / f"leak{i}.png")
    shutil.copy(split / "train" / "cat" / "0.png", split / "test" / "cat" / "again.png")
    found = kinds(split)
    assert {kind: twins.count for kind, twins in found.items()} == {"test-shots": 4, "test-test": 1}
    assert sentence(found["test-shots"]).startswith("4 test images are also among the shots (test/cat/")
    assert "not measured on unseen images" in sentence(found["test-shots"])


def test_pixels_are_compared_whole_whatever_the_size(tmp_path: Path) -> None:
    tall = Image.new("L", (1, 300_000)).convert("RGB")
    other = tall.copy()
    other.putpixel((0, 299_999), (0, 0, 1))
    assert pixel_digest(tall) == pixel_digest(tall.copy()) != pixel_digest(other)
    assert pixel_digest(Image.new("RGB", (2, 3))) != pixel_digest(Image.new("RGB", (3, 2)))


def test_what_was_found_stays_beside_the_set_and_changes_no_id(split: Path, home: Home) -> None:
    shutil.copy(split / "train" / "cat" / "0.png", split / "test" / "cat" / "x.png")
    image = Image.open(split / "val" / "cat" / "0.png").convert("RGB")
    (split / "test" / "cat" / "y.bmp").write_bytes(saved(image, "BMP"))
    drawn = draw_shot_set(open_source(str(split)), 4, 1)
    old = add_set(home, drawn.shots, "old")  # as one made before anything was recorded
    assert [text.split(" (")[0] for text in warnings_of(home, old.id)] == ["1 test image is also among the shots"]
    made = make_set(home, str(split), 4, 1, split_seed=0, name="new", check="all")
    assert made.id == old.id
    assert len(warnings_of(home, made.id)) == 2
    add_set(home, drawn.shots, "third", find_twins(drawn.shots))  # a look at less leaves the record as it is
    assert len(warnings_of(home, made.id)) == 2
    amend_origin(home, "set", made.id, {TWINS: {"spare": True, "twins": [{"kind": "no such", "count": -1}]}})
    assert len(warnings_of(home, made.id)) == 1
    assert set(read_manifest(home, "set", made.id)["files"]) == {"set.json"}
    assert warnings_of(home, "0" * 16) == []


def test_every_door_warns(split: Path, cli: Cli) -> None:
    shutil.copy(split / "train" / "cat" / "0.png", split / "test" / "dog" / "x.png")
    (split / ".thumbs").mkdir()
    warning = "1 test image is also among the shots"
    made = cli("set", "make", split, "--shots", 4, "--name", "pets")
    assert f"warning: {warning}" in made.stderr
    assert "warning: 1 image is in more than one class" in made.stderr
    assert "note: skipped, as hidden or outside the class folders: .thumbs/" in made.stderr
    assert any(warning in text for text in json.loads(cli("set", "show", "pets", "--json").stdout)["warnings"])
    dry = cli("run", "zero-shot", "--set", "pets", "--dry-run")
    assert warning in dry.stderr
    assert warning not in dry.stdout


def test_a_source_that_makes_its_sets_warns_once_for_all_of_them(split: Path, home: Home) -> None:
    shutil.copy(split / "test" / "cat" / "0.png", split / "test" / "cat" / "x.png")
    request = requests.Request(recipes=("zero-shot",), source=str(split), shots=(1, 2), seeds=(1, 2))
    lines = ask.told(home, ask.plan(home, request))
    assert len([line for line in lines if "repeats another test image" in line]) == 1
    assert "pets-1shot-seed1, pets-1shot-seed2, pets-2shot-seed1 and 1 more" in lines[0]
    assert find_set(home, "pets-2shot-seed2").shots.shots == 2
