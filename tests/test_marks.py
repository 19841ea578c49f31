"""Marks on synthetic images: kept, read back, and left out of training when that is asked for."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from datadream.data.shots import ShotSet
from datadream.errors import UserError
from datadream.home import gc, marks
from datadream.home.layout import Home
from datadream.home.spec import JobSpec
from datadream.models.presets import Backbone
from datadream.plans import ask
from datadream.plans import request as requests
from datadream.report.collect import collect
from datadream.stages.classify import make_pool
from datadream.stages.settings import ClassifySettings
from datadream.stages.task import Input, Task
from store.check import check
from store.index import open_registry, rebuild
from tests.conftest import TINY_OPTIONS, run_cli

OPTIONS = TINY_OPTIONS[6:]  # there is nothing to adapt
OVERRIDES = tuple(OPTIONS[1::2])


def name_only(home: Home, **more: object) -> requests.Request:
    return requests.Request(recipes=("name-only",), sets=("d2",), data=("synth",), overrides=OVERRIDES, **more)  # type: ignore[arg-type]


def synthetic(home: Home) -> JobSpec:
    return ask.plan(home, name_only(home)).runs[0].jobs["generate"]


def test_ids_of_jobs_without_exclusion_are_as_they_were(ran: Path) -> None:
    for path in ran.glob("jobs/*/spec.json"):
        spec = JobSpec.model_validate_json(path.read_bytes())
        assert spec.id == path.parent.name
    fixed = JobSpec(stage="classify", settings={"steps": 4}, inputs={"set": "a" * 16}, seed=1, data="real")
    assert fixed.id == "d3f85d495054d3fc"
    assert fixed.model_copy(update={"excluded": ("one/00000.png",)}).model_dump()["excluded"] == ("one/00000.png",)


def test_marks_are_kept_and_taken_back(home: Home) -> None:
    assert not marks.read_marks(home, "s")
    marks.mark_image(home, "s", "one/00001.png", "six legs")
    found = marks.mark_class(home, "s", "two")
    assert found == marks.read_marks(home, "s") == marks.Marks({"one/00001.png": "six legs"}, {"two": ""})
    assert found.bad(["two/00000.png", "one/00000.png", "one/00001.png"]) == ("one/00001.png", "two/00000.png")
    assert home.marks("s").is_file()
    marks.unmark(home, "s", ["one/00001.png", "two", "never/00000.png"])
    assert not marks.read_marks(home, "s")
    assert not home.marks("s").exists()


def test_damaged_marks_are_refused_and_not_forgotten(home: Home) -> None:
    marks.mark_class(home, "s", "two")
    home.marks("s").write_text("{")
    for deed in (lambda: marks.read_marks(home, "s"), lambda: marks.mark_class(home, "s", "one")):
        with pytest.raises(UserError, match="can't be read"):
            deed()
    assert home.marks("s").read_text() == "{"


def test_names_of_classes_and_images(ran: Path) -> None:
    home = Home(ran)
    made = synthetic(home)
    assert marks.names_of(home, made.id, ["two", "two/2", "two/00001.png"]) == [
        "two",
        "two/00002.png",
        "two/00001.png",
    ]
    for word, hint in (("twoo", "did you mean 'two'"), ("two/3", "two/0 to two/2"), ("two/x", "two/0"), ("x/1", "has")):
        with pytest.raises(UserError, match=hint):
            marks.names_of(home, made.id, [word])


def test_the_pool_leaves_marked_images_out_and_refuses_an_empty_class(ran: Path, two_shots: ShotSet) -> None:
    home = Home(ran)
    spec = synthetic(home)
    pool = {"synthetic": Input(spec.id, home.artifact("synthetic", spec.id), spec.image_folders)}

    def task(data: str, excluded: Collection[str] = ()) -> Task[ClassifySettings]:
        more: dict[str, Any] = {"shots": two_shots, "images_per_class": 3, "inputs": pool}
        return Task(ClassifySettings(), ran, ran, data=data, excluded=excluded, **more)

    whole = make_pool(task("real+synth"))
    less = make_pool(task("real+synth", {"two/00001.png"}))
    assert len(less.labels) == len(whole.labels) - 1
    assert less.labels.count(2) == whole.labels.count(2) - 1
    assert sum(less.real) == sum(whole.real)
    two = {f"two/0000{i}.png" for i in range(3)}
    assert len(make_pool(task("real+synth", two)).labels) == len(whole.labels) - 3
    with pytest.raises(UserError, match="all images of 'two' are marked"):
        make_pool(task("synth", two))


def test_a_run_without_marked_images_is_another_run_of_equal_compute(ran_copy: Path, mini: Backbone) -> None:
    home = Home(ran_copy)
    made = synthetic(home)
    usual = ask.plan(home, name_only(home)).runs[0]
    nothing = ask.plan(home, name_only(home, without_marked=True)).runs[0]
    assert nothing.id == usual.id
    result = run_cli("synth", "mark", made.id[:8], "two/1", "three/0", "--reason", "blurred", home=ran_copy)
    assert result.returncode == 0, result.stderr
    listed = json.loads(run_cli("synth", "marks", made.id[:8], "--json", home=ran_copy).stdout)
    assert listed["images"] == {"three/00000.png": "blurred", "two/00001.png": "blurred"}
    assert ask.plan(home, name_only(home)).runs[0].id == usual.id

    request = name_only(home, without_marked=True)
    planned = ask.plan(home, request)
    run = planned.runs[0]
    assert run.id != usual.id
    assert run.jobs["generate"].id == made.id
    assert run.jobs["select"].excluded == ("three/00000.png", "two/00001.png")
    assert run.settings.endswith("without 2 marked")
    assert "--without-marked" in requests.command(request)

    words = ("name-only", "--set", "d2", "--data", "synth", *OPTIONS, "--without-marked")
    result = run_cli("run", *words, home=ran_copy)
    assert result.returncode == 0, result.stderr
    table = {entry.what.id: entry for entry in collect(home).runs}
    assert table[run.id].what.images == table[usual.id].what.images - 2
    assert table[run.id].what.settings.endswith("without 2 marked")
    assert table[run.id].steps == table[usual.id].steps
    assert table[run.id].image_passes == table[usual.id].image_passes

    listed = run_cli("runs", "ls", "--where", "settings~'without 2 marked'", "--json", home=ran_copy)
    assert run.id in listed.stdout and usual.id not in listed.stdout
    result = run_cli("synth", "mark", made.id[:8], "two", "--undo", home=ran_copy)
    assert "2 images and 0 classes" in result.stdout
    run_cli("synth", "mark", made.id[:8], "two", home=ran_copy)
    result = run_cli("run", *words, home=ran_copy)
    assert result.returncode == 2
    assert "all images of 'two' are marked as bad" in result.stderr


def test_marks_disturb_neither_registry_nor_gc(ran_copy: Path) -> None:
    home = Home(ran_copy)
    made = synthetic(home)
    marks.mark_image(home, made.id, "two/00001.png")
    before = [item.path for item in gc.plan(home, jobs=True)]
    assert not any("marks" in path for path in before)
    gc.apply(home, gc.plan(home))
    rebuild(home).close()
    registry = open_registry(home)
    assert not [finding for finding in check(home, registry) if "marks" in finding.path]
    assert not registry.problems()
    home.marks(made.id).write_text("[]")
    assert [(f.kind, f.what) for f in check(home, registry) if "marks" in f.path] == [
        ("unreadable", "is not a JSON object")
    ]
    registry.close()
    home.marks(made.id).unlink()
    marks.mark_image(home, made.id, "two/00001.png")
    assert marks.read_marks(home, made.id).images == {"two/00001.png": ""}
