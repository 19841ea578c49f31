"""Selections: the formula by hand, the stage and its interruption, and a run that shares another's drawn pool."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from datadream import durable
from datadream.data.shots import ShotSet
from datadream.home.layout import Home
from datadream.home.spec import JobSpec
from datadream.methods import selection
from datadream.models.presets import Backbone
from datadream.stages.emit import Event
from datadream.stages.select import missing, select
from datadream.stages.settings import SelectSettings
from datadream.stages.task import Input, Task
from store import writes
from store.check import check
from store.index import connect, open_registry, sync
from tests.conftest import TINY_OPTIONS, run_cli


def request(count: int, seed: int = 1) -> selection.Request:
    """Five images between two classes: cosines of 1, .8, .6, 0 and -1 to the first one's prompt."""
    drawn = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8], [0.0, 1.0], [-1.0, 0.0]])
    return selection.Request(0, 5, count, seed, drawn, torch.empty(0, 2), torch.eye(2), scale=10.0)


def test_the_clip_filter_keeps_what_is_likelier_than_chance_and_fills_up() -> None:
    # softmax over (10 cos to class 0, 10 cos to class 1): 1.0, .88, .12, 0, 0
    assert selection.clip_filter(request(2)) == [0, 1]
    assert selection.clip_filter(request(3)) == [0, 1, 2]  # two pass; the next likeliest fills up
    assert selection.clip_filter(request(5)) == [0, 1, 2, 3, 4]
    chosen = {tuple(selection.clip_filter(request(1, seed))) for seed in range(20)}
    assert chosen == {(0,), (1,)}  # of more than wanted a random choice, not the likeliest
    assert selection.clip_filter(request(1, 7)) == selection.clip_filter(request(1, 7))
    assert selection.every(request(3)) == [0, 1, 2]


def pool_of(home: Home) -> Input:
    """The synthetic set of the un-adapted generator: three images a class."""
    for path in sorted(home.path.glob("artifacts/synthetic/*/manifest.json")):
        spec = JobSpec.model_validate(json.loads(path.read_text())["spec"])
        if not spec.inputs:
            return Input(spec.id, path.parent, spec.image_folders)
    raise AssertionError("no synthetic set")


@pytest.fixture
def task(ran: Path, mini: Backbone, two_shots: ShotSet, tmp_path: Path) -> Task[SelectSettings]:
    return Task(
        SelectSettings(by="clip", keep=0.5),
        durable.make_dir(tmp_path / "out"),
        durable.make_dir(tmp_path / "checkpoint"),
        model=mini.clip,
        shots=two_shots,
        inputs={"synthetic": pool_of(Home(ran))},
        images_per_class=3,
        excluded=("two/00000.png",),
    )


def test_a_selection_keeps_its_part_of_each_class_and_no_marked_image(task: Task[SelectSettings]) -> None:
    result = select(task)
    assert result == {"kept": 9 * 2 + 1, "left_out": 9 * 1 + 1 + 1}  # of two unmarked twos, one
    found = missing(task.out)
    assert found.marked == {"two/00000.png"}
    assert len(found.left_out) == 10
    kept = 10 * 3 - len(found.left_out) - len(found.marked)
    assert json.loads((task.out / "selection.json").read_text())["kept"] == kept == result["kept"]
    assert missing(None) == (frozenset(), frozenset())


def test_an_interrupted_selection_equals_an_uninterrupted_one(task: Task[SelectSettings], tmp_path: Path) -> None:
    select(task)

    def cut(event: Event) -> None:
        if event["done"] == 4:
            raise KeyboardInterrupt

    again = replace(task, out=durable.make_dir(tmp_path / "again"), checkpoint=durable.make_dir(tmp_path / "c2"))
    with pytest.raises(KeyboardInterrupt):
        select(replace(again, emit=cut))
    assert not (again.out / "selection.json").exists()
    events: list[Event] = []
    select(replace(again, emit=events.append))
    assert [event["done"] for event in events] == [5, 6, 7, 8, 9, 10]
    assert (again.out / "selection.json").read_bytes() == (task.out / "selection.json").read_bytes()


def test_a_selection_is_a_row_of_its_own_over_the_same_pool(ran_copy: Path) -> None:
    home = Home(ran_copy)
    before = {path.name for path in ran_copy.glob("artifacts/synthetic/*")}
    words = ("run", "clip-filter", "--set", "d2", "--data", "synth", *TINY_OPTIONS, "-o", "select.keep=0.5")
    done = run_cli(*words, home=ran_copy)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in ran_copy.glob("artifacts/synthetic/*")} == before  # nothing is drawn anew
    listed = json.loads(run_cli("compare", "--format", "json", home=ran_copy).stdout)
    rows = {row["method"]: row for row in listed if row["data"] == "synth"}
    assert (rows["clip-filter"]["images"], rows["datadream-dset"]["images"]) == (20, 30)
    kept = connect(home)
    sync(home, kept)  # what the app reads, before any run is rechecked
    with kept.reading() as session:
        found = writes.sql(session, "SELECT method, images FROM run WHERE data = 'synth'")
        counted = {row.method: row.images for row in found}
    kept.close()
    assert (counted["clip-filter"], counted["datadream-dset"]) == (20, 30)
    (record,) = [
        found
        for path in ran_copy.glob("runs/*.json")
        if (found := json.loads(path.read_text()))["method"] == "clip-filter"
    ]
    assert set(record["jobs"]) == {"adapt", "generate", "select", "classify"}
    registry = open_registry(home)
    assert check(home, registry) == []
    registry.close()
    assert run_cli("gc", "--apply", home=ran_copy).returncode == 0
    assert home.has("selection", record["jobs"]["select"])
    assert "select" in run_cli("job", "ls", home=ran_copy).stdout
    assert json.loads(run_cli("runs", "show", record["id"], "--json", home=ran_copy).stdout)["method"] == "clip-filter"
