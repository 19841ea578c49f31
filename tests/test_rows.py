"""A row is what was run: which sets, values and models, by their contents, never what any of them is called."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from datadream import durable
from datadream.canonical import short_id
from datadream.data.shots import make_shot_set
from datadream.data.source import open_source
from datadream.home import marks
from datadream.home.artifacts import read_manifest
from datadream.home.facts import facts
from datadream.home.layout import Home
from datadream.home.runs import read_records
from datadream.home.sets import add_set, make_set
from datadream.models.presets import HERE
from datadream.plans import ask
from datadream.plans.request import Request
from datadream.report.assemble import compare_home
from datadream.report.tables import notes
from tests.comparing import finish, pictures, planned


def request(source: Path, seed: int = 1, recipe: str = "real-only", **more: object) -> Request:
    return Request(recipes=(recipe,), source=str(source), shots=(2,), seeds=(seed,), **more)  # type: ignore[arg-type]


def done(home: Home, *requests: Request) -> None:
    for run in planned(home, *requests):
        finish(home, run, wrong=range(run.set.shots.seed % 4))


def seeds(home: Home) -> list[list[int]]:
    return sorted(row.seeds for row in compare_home(home).rows)


def said(home: Home) -> str:
    return "\n".join(notes(compare_home(home)))


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    return pictures(tmp_path / "pets")


def test_an_override_typed_three_ways_is_one_run(home: Home, pets: Path) -> None:
    ways = ((), ("generate.guidance_scale=2",), ("generate.guidance_scale=2.0",), ("generate.guidance_scale = 2.00",))
    found = [planned(home, request(pets, recipe="name-only", data=("synth",), overrides=way))[0] for way in ways]
    assert len({run.id for run in found}) == 1
    assert {run.settings for run in found} == {""}
    for run in found:
        finish(home, run)
    assert len(read_records(home)) == 1
    odd = [
        planned(home, request(pets, recipe="name-only", data=("synth",), overrides=(f"generate.guidance_scale={x}",)))[
            0
        ]
        for x in ("3", "3.0")
    ]
    assert len({run.id for run in odd}) == 1
    assert {run.settings for run in odd} == {"generate.guidance_scale=3.0"}


def test_records_of_the_spellings_share_a_row_also_when_each_has_its_own(home: Home, pets: Path) -> None:
    """As older homes have them: three ids, three texts, one job."""
    (run,) = planned(home, request(pets))
    finish(home, run)
    record = json.loads(home.run(run.id).read_text())
    for typed in (2, 2.0):
        label = f"classify.epochs={typed}"
        own = short_id([record["method"], label, record["data"], record["jobs"]["classify"]])
        other = {**record, "id": own, "settings": label}
        del other["digest"], other["what"]
        other["recipe"] = {**record["recipe"], "overrides": {"classify.epochs": typed}}
        durable.write_json(home.run(other["id"]), other)
    table = compare_home(home)
    assert [row.seeds for row in table.rows] == [[1]]
    assert table.warnings == []


def test_a_recipe_that_was_edited_makes_another_row_named_by_what_changed(
    home: Home, pets: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "mine.toml"
    for seed, steps in ((1, 40), (5, 80)):
        recipe.write_text(f'extends = "real-only"\n[classify]\nsteps = {steps}\n')
        done(home, request(pets, seed, str(recipe)))
    recipe.write_text('extends = "real-only"\nabout = "other words"\n[classify]\nsteps = 80\n')
    done(home, request(pets, 7, str(recipe)))
    assert seeds(home) == [[1], [5, 7]]
    assert "(a) classify.steps=40." in said(home) and "(b) classify.steps=80." in said(home)


def test_the_same_values_by_a_recipe_and_by_an_override_are_one_row(home: Home, pets: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text('extends = "real-only"\n[classify]\nsteps = 80\n')
    done(home, request(pets, 1, str(recipe)))
    recipe.write_text('extends = "real-only"\n')
    done(home, request(pets, 5, str(recipe), overrides=("classify.steps=80",)))
    assert seeds(home) == [[1, 5]]


@pytest.fixture
def two_clips(tmp_path: Path) -> tuple[str, str]:
    """Two CLIP folders of one last name, with other weights."""
    found = []
    for number, name in enumerate(("runA", "runB")):
        folder = Path(shutil.copytree(HERE / "weights" / "mini" / "clip", tmp_path / name / "final"))
        if number:
            path = folder / "open_clip_model.safetensors"
            tensors = load_file(path)
            tensors["text_projection"] = -tensors["text_projection"]
            save_file(tensors, path)
        found.append(str(folder))
    return found[0], found[1]


def test_models_of_one_folder_name_have_rows_of_their_own(home: Home, pets: Path, two_clips: tuple[str, str]) -> None:
    done(home, request(pets, 1, clip=two_clips[0]), request(pets, 2, clip=two_clips[1]))
    table = compare_home(home)
    assert [row.seeds for row in table.rows] in ([[1], [2]], [[2], [1]])
    assert len({row.rivals for row in table.rows}) == 2  # numbers of two CLIPs are no rivals
    assert {row.backbone for row in table.rows} == {"mini+final"}
    for name in ("runA/final", "runB/final"):
        assert name in said(home)
    done(home, request(pets, 1, clip=two_clips[1]))  # on seed 1 too: nothing is replaced
    assert seeds(home) == [[1], [1, 2]]


def test_a_model_that_moved_or_is_named_otherwise_is_the_same_model(home: Home, pets: Path, tmp_path: Path) -> None:
    done(home, request(pets, 1))
    other = shutil.copytree(HERE / "weights" / "mini" / "clip", tmp_path / "copy")
    done(home, request(pets, 2, clip=str(other)))
    assert seeds(home) == [[1, 2]]


def test_a_generator_sets_apart_only_what_it_drew(home: Home, pets: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(HERE / "weights" / "mini" / "sd", tmp_path / "other" / "sd"))
    config = folder / "unet" / "config.json"
    config.write_text(config.read_text() + "\n")
    for more in ({}, {"diffusion": str(folder)}):
        done(home, request(pets, 1, **more), request(pets, 1, "name-only", data=("real+synth",), **more))
    table = compare_home(home)
    assert sorted((row.method, row.backbone) for row in table.rows) == [
        ("name-only", "mini"), ("name-only", "mini+sd"), ("real-only", "mini"),
    ]  # fmt: skip
    assert len({row.rivals for row in table.rows}) == 1
    assert len(table.judged.comparisons) == 2  # each against the one real-only row


def test_classes_of_other_names_have_rows_of_their_own(home: Home, pets: Path) -> None:
    done(home, request(pets, 1))
    (pets / "classes.csv").write_text("folder,name\ncat,three\ndog,blue seven\n")
    done(home, request(pets, 2))
    assert seeds(home) == [[1], [2]]
    assert 'classes "cat", "dog".' in said(home) and 'classes "blue seven", "three".' in said(home)


@pytest.mark.parametrize("change", ["files", "folders", "root"])
def test_what_files_and_folders_are_called_makes_no_row(home: Home, pets: Path, tmp_path: Path, change: str) -> None:
    """Images are told apart by their bytes; a class by its name."""
    (pets / "classes.csv").write_text("folder,name\ncat,cat\ndog,dog\n")
    done(home, request(pets, 1), request(pets, 1, "name-only", data=("real+synth",)))
    moved = Path(shutil.copytree(pets, tmp_path / ("animals" if change == "root" else "else") / pets.name))
    if change == "files":
        for path in sorted(moved.rglob("*.png")):
            path.rename(path.with_name(f"z{100 - int(path.stem)}.png"))  # and in another order
    elif change == "folders":
        for path in sorted(moved.glob("*/cat")):
            path.rename(path.with_name("x-cat"))  # dog is label 0 now
        (moved / "classes.csv").write_text("folder,name\nx-cat,cat\ndog,dog\n")
    for run in planned(home, request(moved, 2), request(moved, 2, "name-only", data=("real+synth",))):
        finish(home, run)
    table = compare_home(home)
    assert sorted(row.seeds for row in table.rows) == [[1, 2], [1, 2]]
    assert [pair.seeds for pair in table.judged.comparisons] == [(1, 2)]


def test_the_answers_of_renamed_files_are_paired_image_by_image(home: Home, pets: Path, tmp_path: Path) -> None:
    """The same image is wrong in both runs, under another name and in another place: no difference on any image."""
    renamed = Path(shutil.copytree(pets, tmp_path / "renamed"))
    for path in sorted(renamed.rglob("*.png")):
        path.rename(path.with_name(f"{99 - int(path.stem)}.png"))
    one = planned(home, replace(request(pets, 1), shots=(4,)))[0]  # all there are, whatever order they are drawn in
    other = planned(home, replace(request(renamed, 1, "name-only", data=("real+synth",)), shots=(4,)))[0]
    finish(home, one, wrong=[0])
    wrong = next(i for i, ref in enumerate(other.set.shots.test) if ref.sha256 == one.set.shots.test[0].sha256)
    assert wrong != 0
    finish(home, other, wrong=[wrong])
    (pair,) = compare_home(home).judged.comparisons
    n = len(one.set.shots.test)
    assert pair.difference.mean == 0
    assert pair.difference.interval.high == pytest.approx(1.959964 * (2 / (n + 1) / (n + 2)) ** 0.5)


def test_other_images_under_the_same_names_have_rows_of_their_own(home: Home, pets: Path, tmp_path: Path) -> None:
    other = pictures(tmp_path / "elsewhere" / "pets", salt="x")
    done(home, request(pets, 1), request(other, 2))
    assert seeds(home) == [[1], [2]]
    assert f"folder {other}" in said(home)


def test_splits_and_samplers_have_rows_of_their_own(home: Home, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    for path in sorted(pictures(tmp_path / "split", test=20).rglob("*.png")):
        target = flat / path.parent.name / f"{path.parent.parent.name}{path.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    source = open_source(str(flat))
    for number, more in enumerate(({}, {"split_seed": 3}, {"sampler": "first"})):
        add_set(home, make_shot_set(source, 2, number, **more), f"s{number}")  # type: ignore[arg-type]
    done(home, *(Request(recipes=("real-only",), sets=(f"s{number}",)) for number in range(3)))
    assert seeds(home) == [[0], [1], [2]]
    assert "split seed 3" in said(home) and "sampler first" in said(home)


def test_another_draw_of_a_seed_replaces_nothing_and_pairs_with_nothing(home: Home, pets: Path) -> None:
    """Training images were added between two runs of one seed: these are other shots."""
    both = (request(pets, 1), request(pets, 1, "name-only", data=("real+synth",)))
    done(home, *both)
    for i in range(4, 40):
        Image.new("RGB", (8, 8), (i, i, 0)).save(pets / "train" / "cat" / f"{i:02}.png")
        Image.new("RGB", (8, 8), (0, i, i)).save(pets / "train" / "dog" / f"{i:02}.png")
    make_set(home, str(pets), 2, 1, split_seed=0, name="later", check="used")
    (later,) = planned(home, Request(recipes=("real-only",), sets=("later",)))
    finish(home, later, wrong=[0, 1, 2])
    table = compare_home(home)
    assert len(table.rows) == 3
    earlier = [row for row in table.rows if row.version]
    assert sorted(row.method for row in earlier) == ["name-only", "real-only"]
    assert all("earlier draw: seed 1 of set" in row.settings for row in earlier)
    (pair,) = table.judged.comparisons  # on the shots they share
    assert (pair.row.version, pair.baseline.version) == (1, 1)


def test_images_left_out_are_said_and_never_mixed_with_the_whole(home: Home, pets: Path) -> None:
    asked = request(pets, 1, "name-only", data=("synth",))
    (whole,) = planned(home, asked)
    finish(home, whole)
    synth = whole.jobs["generate"].id
    more = request(pets, 1, "name-only", data=("synth",), without_marked=True)
    texts = []
    for name in ("cat/00000.png", "dog/00001.png"):
        marks.mark(home, synth, [name])
        (run,) = planned(home, more)
        finish(home, run, wrong=[0])
        texts.append(run.settings)
    assert texts == ["without 1 marked", "without 2 marked"]
    table = compare_home(home)
    assert table.rows[0].settings == ""
    assert len(table.rows) == 3  # of one seed, twice: each has its row
    assert sorted(row.left_out for row in table.rows) == [[0], [1], [2]]


def test_asking_for_all_of_it_anew_says_that_numbers_were_replaced(home: Home, pets: Path) -> None:
    done(home, request(pets, 1), request(pets, 1, force=True))
    table = compare_home(home)
    assert [row.seeds for row in table.rows] == [[1]]
    assert table.warnings == ["1 result of repeated runs: the latest counts."]


@pytest.mark.parametrize("source", ["jobs", "manifests"])
def test_records_that_do_not_say_what_was_run_are_completed_from_what_is_there(
    home: Home, pets: Path, source: str
) -> None:
    runs = planned(home, request(pets, 1), request(pets, 1, "datadream-dset", data=("synth", "real+synth")))
    for run in runs:
        finish(home, run)
        if source == "jobs":
            for spec in run.jobs.values():
                durable.make_dir(home.job(spec.id))
                durable.write_json(home.job(spec.id) / "spec.json", spec.model_dump(mode="json"))
    for record in read_records(home):
        whole = facts(home, record)
        del record["what"]
        assert facts(home, record) == whole


def test_one_record_that_cannot_be_read_costs_one_row(home: Home, pets: Path) -> None:
    done(home, request(pets, 1), request(pets, 1, "zero-shot"))
    record = next(record for record in read_records(home) if record["method"] == "zero-shot")
    durable.write_json(home.run(record["id"]), {**record, "recipe": 7})
    table = compare_home(home)
    assert [row.method for row in table.rows] == ["real-only"]
    assert table.warnings == [
        "Excluded: 1 run whose record, set or results can't be read; see `datadream registry check`."
    ]


def test_a_run_id_is_of_what_is_run(home: Home, pets: Path) -> None:
    (run,) = planned(home, request(pets, 1))
    finish(home, run)
    assert read_manifest(home, "classifier", run.jobs["classify"].id)["spec"]["data"] == "real"
    again = ask.plan(home, request(pets, 1, force=True)).runs[0]
    assert again.id != run.id
    assert ask.plan(home, request(pets, 1)).missing == ()
