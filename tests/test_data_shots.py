"""A few-shot set is nested, frozen, checked, and the same wherever its images lie."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from datadream.canonical import canonical_json
from datadream.data.parts import Entry
from datadream.data.samplers import SAMPLERS
from datadream.data.shots import ShotSet, make_shot_set, open_shots
from datadream.data.source import open_source
from datadream.errors import UserError


def paint(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (2, 2), (value >> 16, value >> 8 & 255, value & 255)).save(path)


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    for label, name in enumerate(("cat", "dog")):
        for i in range(10):
            paint(tmp_path / "pets" / name / f"{i}.png", label * 100 + i)
    return tmp_path / "pets"


def digits(shots: int = 4, seed: int = 0, **options: object) -> ShotSet:
    return make_shot_set(open_source("digits"), shots, seed, check="used", **options)


def test_a_set_freezes_everything_that_decides() -> None:
    made = digits(4, 3)
    assert (made.shots, made.seed, made.split_seed, made.sampler) == (4, 3, 0, "random16")
    assert [ref.label for ref in made.train] == [label for label in range(10) for _ in range(4)]
    assert (len(made.val), len(made.test)) == (359, 719)
    assert made.prompts[7] == "a photo of a seven"
    source = open_source("digits")
    assert all(ref.sha256 == source.sha256(ref.key) for ref in (*made.train, *made.val, *made.test))


def test_a_set_survives_json_unchanged() -> None:
    made = digits(name="été")
    data = made.to_json_bytes()
    assert data == canonical_json(json.loads(data))
    again = ShotSet.parse(data)
    assert again == made
    assert again.id == made.id
    assert again.to_json_bytes() == data


def test_a_set_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        digits().shots = 5


def test_the_id_is_of_the_content_not_of_the_label() -> None:
    made = digits(4, 0)
    assert made.id == digits(4, 0, name="other").id
    others = [digits(5, 0), digits(4, 1), digits(4, 0, sampler="first"), digits(4, 0, split_seed=1)]
    assert len({made.id, *(other.id for other in others)}) == 5


def test_the_id_does_not_depend_on_where_the_folder_lies(pets: Path, tmp_path: Path) -> None:
    made = make_shot_set(open_source(str(pets)), 2, 0)
    moved = tmp_path / "elsewhere"
    shutil.copytree(pets, moved)
    again = make_shot_set(open_source(str(moved)), 2, 0)
    assert again.id == made.id
    assert again.source["path"] == str(moved)
    shutil.rmtree(pets)
    assert made.moved_to(moved).id == made.id
    assert len(list(open_shots(made.moved_to(moved), "train"))) == 4


def test_the_test_images_are_the_same_for_every_seed_and_number_of_shots(pets: Path) -> None:
    source = open_source(str(pets))
    sets = [make_shot_set(source, shots, seed) for shots in (1, 4) for seed in (0, 1, 2)]
    assert len({made.test for made in sets}) == len({made.val for made in sets}) == 1
    assert make_shot_set(source, 1, 0, split_seed=1).test != sets[0].test


def pools_of(sizes: list[int]) -> list[tuple[str, list[Entry]]]:
    return [(f"c{label}", [Entry(f"c{label}/{i}", label) for i in range(n)]) for label, n in enumerate(sizes)]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=5), st.integers(0, 2**63), st.sampled_from(list(SAMPLERS)))
def test_fewer_shots_are_the_beginning_of_more(sizes: list[int], seed: int, sampler: str) -> None:
    pools = pools_of(sizes)
    before: dict[int, list[Entry]] = {label: [] for label in range(len(sizes))}
    for shots in range(1, min(sizes) + 1):
        chosen = SAMPLERS[sampler](pools, shots, seed)
        assert chosen == SAMPLERS[sampler](pools, shots, seed)
        by_class = {label: [e for e in chosen if e.label == label] for label in before}
        for label, drawn in by_class.items():
            assert len(set(drawn)) == shots
            assert drawn[:-1] == before[label]
        before = by_class


def test_the_default_sampler_draws_as_disef_does() -> None:
    pools = pools_of([40, 30])
    rng = random.Random(5)
    expected = [pool[i] for _, pool in pools for i in rng.sample(range(len(pool)), 16)[:3]]
    assert SAMPLERS["random16"](pools, 3, 5) == expected


@settings(max_examples=15, deadline=None)
@given(shots=st.integers(1, 69), seed=st.integers(0, 2**32))
def test_shots_val_and_test_share_no_image(shots: int, seed: int) -> None:
    source = open_source("digits")
    parts = source.parts()
    pools = [(c.folder, [e for e in parts["train"] if e.label == label]) for label, c in enumerate(source.classes)]
    chosen = {entry.key for entry in SAMPLERS["random16"](pools, shots, seed)}
    assert len(chosen) == 10 * shots
    assert not chosen & {entry.key for part in ("val", "test") for entry in parts[part]}


def test_too_few_images_say_how_many_there_are(pets: Path) -> None:
    source = open_source(str(pets))
    with pytest.raises(UserError, match=r"fewer than 6 training images: 'cat' \(5\), 'dog' \(5\)") as caught:
        make_shot_set(source, 6, 0)
    assert caught.value.at == str(pets)
    for i in range(10, 40):
        paint(pets / "dog" / f"{i}.png", 300 + i)
    with pytest.raises(UserError, match="class 'cat' has 5 training images, 6 shots requested") as caught:
        make_shot_set(open_source(str(pets)), 6, 0)
    assert "use --shots 5, or add images" in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"shots": 0}, "0 shots"),
        ({"shots": -1}, "-1 shots"),
        ({"seed": -1}, "seed -1 is negative"),
        ({"split_seed": -2}, "seed -2 is negative"),
        ({"sampler": "random"}, "unknown sampler 'random'"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, object], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint) as caught:
        make_shot_set(open_source("digits"), **({"shots": 1, "seed": 0} | arguments))
    assert caught.value.hint


def test_all_bad_images_are_named_in_one_error(pets: Path) -> None:
    for i in range(4):
        (pets / "cat" / f"{i}.png").write_text("I am a text")
        data = (pets / "dog" / f"{i}.png").read_bytes()
        (pets / "dog" / f"{i}.png").write_bytes(data[:40])
    with pytest.raises(UserError, match=r"8 images can't be used: .*and 3 more") as caught:
        make_shot_set(open_source(str(pets)), 1, 0)
    assert str(caught.value).count(".png (") == 5


def test_check_used_looks_only_at_the_frozen_images(pets: Path) -> None:
    source = open_source(str(pets))
    made = make_shot_set(source, 1, 0)
    spare = next(e.key for e in source.parts()["train"] if e.key not in {ref.key for ref in made.train})
    (pets / spare).write_text("I am a text")
    assert make_shot_set(source, 1, 0, check="used") == made
    with pytest.raises(UserError, match=f"1 image can't be used: {spare}"):
        make_shot_set(source, 1, 0)
    (pets / made.test[0].key).write_text("I am a text")
    with pytest.raises(UserError, match="1 image"):
        make_shot_set(source, 1, 0, check="used")


def test_opening_gives_the_frozen_images_in_order(pets: Path) -> None:
    made = make_shot_set(open_source(str(pets)), 2, 0)
    opened = list(open_shots(made, "test"))
    assert [ref for ref, _ in opened] == list(made.test)
    for ref, image in opened:
        assert image.tobytes() == Image.open(pets / ref.key).convert("RGB").tobytes()
    assert next(open_shots(digits(1), "val"))[1].size == (8, 8)


def test_opening_refuses_what_is_gone_or_has_changed(pets: Path) -> None:
    made = make_shot_set(open_source(str(pets)), 2, 0)
    victim = pets / made.train[1].key
    paint(victim, 999)
    with pytest.raises(UserError, match=f"{made.train[1].key} changed after the set was made"):
        list(open_shots(made, "train"))
    victim.unlink()
    with pytest.raises(UserError, match="the image is missing"):
        list(open_shots(made, "train"))
    (pets / "cat" / "stray.txt").write_text("x")  # harms nobody who only reads the frozen images
    assert len(list(open_shots(made, "test"))) == len(made.test)
    shutil.rmtree(pets)
    with pytest.raises(UserError, match="no such folder"):
        open_shots(made, "train")


@pytest.mark.parametrize(
    "change",
    [
        {"schema_version": 2},
        {"extra": 1},
        {"shots": 5},
        {"prompts": ["a"]},
        {"source": {"kind": "web"}},
        {"source": {"kind": "folder"}},
        {"train": []},
        {"test": []},
        {"seed": -1},
        {"seed": "0"},
    ],
)
def test_what_is_not_a_set_is_refused(change: dict[str, object]) -> None:
    value = json.loads(digits().to_json_bytes()) | change
    with pytest.raises(UserError, match="not a few-shot set that this version can read"):
        ShotSet.parse(canonical_json(value))


def test_a_set_whose_parts_overlap_is_refused() -> None:
    value = json.loads(digits().to_json_bytes())
    value["test"].append(value["train"][0])
    with pytest.raises(UserError, match="an image occurs twice"):
        ShotSet.parse(canonical_json(value))
    for junk in (b"", b"{}", b"[1]", b"\xff"):
        with pytest.raises(UserError):
            ShotSet.parse(junk)


def test_a_thousand_classes_with_any_names_work(tmp_path: Path) -> None:
    root = tmp_path / "many"
    paint(tmp_path / "one.png", 1)
    data = (tmp_path / "one.png").read_bytes()
    rows = ["folder,name"]
    for i in range(1000):
        folder = root / f"Klasse é鳥 {i}"
        folder.mkdir(parents=True)
        for j in range(2):
            (folder / f"bild ü {j}.png").write_bytes(data + bytes([i % 256, i // 256, j]))
        rows.append(f'{folder.name},"Vogel, 鳥/{i}"')
    (root / "classes.csv").write_text("\n".join(rows), encoding="utf-8")
    made = make_shot_set(open_source(str(root)), 1, 0, check="used")
    assert (len(made.train), len(made.val), len(made.test)) == (1000, 0, 1000)
    assert made.classes[999].folder == "Klasse é鳥 999"
    assert made.prompts[10] == "a photo of a Vogel, 鳥/10"
    assert ShotSet.parse(made.to_json_bytes()) == made
