"""Whatever removes, publishes or replaces may die between any two calls: the whole thing is there, or nothing is."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from datadream import durable
from datadream.data.shots import ShotSet, make_shot_set
from datadream.data.source import open_source
from datadream.errors import UserError
from datadream.home import control, gc, labels, marks, sets, state, trash, whole
from datadream.home.artifacts import publish, read_manifest
from datadream.home.layout import Home, open_home
from datadream.home.spec import JobSpec
from datadream.jobs import leader
from datadream.jobs.runner import Runner
from datadream.plans import ask, enqueue
from datadream.plans import request as requests
from store import index
from store.check import check
from tests.conftest import run_cli
from tests.faults import strace
from tests.faults.power import at_every_call, dying
from tests.faults.scale import record, scale
from tests.runners import rehearsals

FILES = {"a.bin": b"a" * 3000, "data/b.bin": b"b" * 500, "data/c.bin": b"", "data/deep/d.txt": b"d"}


def stage(home: Home, spec: JobSpec) -> Path:
    """Finished work, not yet published."""
    staged = home.staging(spec.kind, spec.id)
    shutil.rmtree(staged, ignore_errors=True)
    for name, content in FILES.items():
        (staged / name).parent.mkdir(parents=True, exist_ok=True)
        (staged / name).write_bytes(content)
    return staged


def is_staged(home: Home, spec: JobSpec) -> bool:
    staged = home.staging(spec.kind, spec.id)
    return all((staged / name).is_file() and (staged / name).read_bytes() == FILES[name] for name in FILES)


def made(home: Home, spec: JobSpec) -> None:
    """A job that is done, as a worker leaves it."""
    enqueue.enqueue(home, [spec], {})
    stage(home, spec)
    assert state.claim(home, spec.id, 1, {"slot": "cpu:0", "launcher": "local"})
    publish(home, spec.kind, spec.id, spec.model_dump(mode="json"), {})
    durable.write_json(home.job(spec.id) / "result.json", {"artifact": spec.id, "kind": spec.kind})
    (home.queue / spec.id).unlink(missing_ok=True)


def is_good(home: Home, spec: JobSpec) -> bool:
    """Whether the artifact is there; it is whole then, to the last byte."""
    folder = home.artifact(spec.kind, spec.id)
    if not folder.exists():
        assert not home.has(spec.kind, spec.id)
        return False
    assert whole.fault(folder, spec.kind, spec.id) == ""
    assert {name: (folder / name).read_bytes() for name in FILES} == FILES
    return True


def nothing_runs(home: Home) -> None:
    """A runner finds nothing to start."""
    leadership = leader.take(home)
    assert leadership is not None
    runner = Runner(home, leadership, idle_seconds=0.0)
    started: list[Any] = []
    runner._start = lambda *given: started.append(given)  # type: ignore[method-assign]
    for _ in range(3):
        runner.tick()
    runner.close()
    assert started == []


@pytest.mark.parametrize("ruin", ["nothing", "empty", "no manifest", "another's manifest", "half", "a file", "garbage"])
def test_publishing_leaves_finished_work_whole_whatever_lies_there(ruin: str, home: Home) -> None:
    """And never deletes what was just computed for the sake of what isn't an artifact."""
    (spec,) = rehearsals(1)
    final = home.artifact(spec.kind, spec.id)

    def before() -> None:
        shutil.rmtree(home.path / "artifacts", ignore_errors=True)
        shutil.rmtree(home.path / "trash", ignore_errors=True)
        final.parent.mkdir(parents=True)
        if ruin == "empty":
            final.mkdir()
        elif ruin == "a file":
            final.write_text("x")
        elif ruin != "nothing":
            stage(home, spec)
            publish(home, spec.kind, spec.id, spec.model_dump(mode="json"), {})
            manifest = final / "manifest.json"
            if ruin == "no manifest":
                manifest.unlink()
            elif ruin == "half":
                (final / "data" / "b.bin").unlink()
            elif ruin == "garbage":
                manifest.write_bytes(b"\0" * 50)
            else:
                manifest.write_text(manifest.read_text().replace(spec.id, "0" * 16))
        stage(home, spec)

    def act() -> None:
        publish(home, spec.kind, spec.id, spec.model_dump(mode="json"), {})

    def after() -> None:
        good = home.has(spec.kind, spec.id) and is_good(home, spec)
        assert good or is_staged(home, spec)
        if not good:  # what a worker that goes on does
            act()
        assert is_good(home, spec)
        left = [entry for entry in trash.entries(home) if entry.origin.endswith(spec.id)]
        assert bool(left) == (ruin != "nothing"), "what lay there is in the trash"

    deaths = at_every_call(act, before, after)
    assert deaths >= 4
    record("killed-at-every-change", what=f"publish over {ruin}", deaths=deaths, outcome="whole, or still staged")


def test_a_ruin_is_named_where_it_is_moved_aside(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    (spec,) = rehearsals(1)
    durable.make_dir(home.artifact(spec.kind, spec.id) / "data")
    stage(home, spec)
    publish(home, spec.kind, spec.id, spec.model_dump(mode="json"), {})
    said = capsys.readouterr().err
    assert str(home.artifact(spec.kind, spec.id)) in said
    assert "it has no manifest" in said
    assert "trash" in said


def test_a_same_result_made_twice_is_kept_once(home: Home) -> None:
    (spec,) = rehearsals(1)
    for _ in range(2):
        stage(home, spec)
        publish(home, spec.kind, spec.id, spec.model_dump(mode="json"), {})
    assert is_good(home, spec)
    assert not home.staging(spec.kind, spec.id).exists()
    assert trash.entries(home) == []


@pytest.mark.parametrize("how", ["gc", "gc with jobs", "job rm", "cut"])
def test_removing_leaves_all_or_nothing_and_no_job_comes_back(how: str, tmp_path: Path) -> None:
    first = open_home(tmp_path / "first")
    spec, other = rehearsals(2)
    made(first, spec)
    made(first, other)
    home = Home(tmp_path / "home")

    def before() -> None:
        shutil.rmtree(home.path, ignore_errors=True)
        shutil.copytree(first.path, home.path)

    def act() -> None:
        if how == "job rm":
            control.remove(home, spec.id)
        elif how == "cut":
            control.remove(home, spec.id)
            gc.apply(home, gc.plan(home, jobs=True))
            trash.empty(home)
        else:
            gc.apply(home, gc.plan(home, jobs=how == "gc with jobs"))

    def after() -> None:
        for entry in (spec, other):
            is_good(home, entry)
            folder = home.job(entry.id)
            if folder.exists():
                assert {"spec.json", "request.json", "result.json"} <= {path.name for path in folder.iterdir()}
                assert state.derive(home, entry.id).final
        for entry in trash.entries(home):  # whole in there, too
            if entry.origin.startswith("artifacts/"):
                assert whole.fault(entry.path, "rehearsal", entry.id) == ""
        nothing_runs(home)
        act_again()
        assert not home.job(spec.id).exists() or how == "gc"

    def act_again() -> None:
        with suppress(UserError):  # `no job`: it is removed already
            act()

    deaths = at_every_call(act, before, after)
    assert deaths >= 4
    record("killed-at-every-change", what=how, deaths=deaths, outcome="whole or gone, nothing came back")


def test_a_job_that_was_removed_is_not_made_again_by_a_start(home: Home) -> None:
    (spec,) = rehearsals(1)
    enqueue.enqueue(home, [spec], {})
    control.cancel(home, spec.id)
    control.remove(home, spec.id)
    with pytest.raises(UserError, match="no job"):
        state.claim(home, spec.id, 1, {})
    with pytest.raises((UserError, OSError)):
        control.cancel(home, spec.id)
    assert not home.job(spec.id).exists()


def test_asking_for_jobs_leaves_whole_jobs_or_none(home: Home) -> None:
    specs = rehearsals(2)

    def before() -> None:
        for place in ("jobs", "queue"):
            shutil.rmtree(home.path / place, ignore_errors=True)

    def after() -> None:
        for spec in specs:
            if home.job(spec.id).exists():
                assert state.derive(home, spec.id).state == "queued"
                assert state.read_request(home, spec.id).submitted
        enqueue.enqueue(home, specs, {})
        assert {state.derive(home, spec.id).state for spec in specs} == {"queued"}
        assert {path.name for path in home.queue.iterdir()} == {spec.id for spec in specs}

    deaths = at_every_call(lambda: enqueue.enqueue(home, specs, {}), before, after)
    record("killed-at-every-change", what="submit", deaths=deaths, outcome="whole jobs or none")


def test_words_and_wishes_are_old_or_new(home: Home) -> None:
    (spec,) = rehearsals(1)
    enqueue.enqueue(home, [spec], {})

    def act() -> None:
        labels.tag(home, spec.id, add=["new"])
        marks.mark(home, spec.id, ["c/00001.png"])
        control.set_priority(home, spec.id, 5)
        control.cancel(home, spec.id)

    def before() -> None:
        labels.tag(home, spec.id, add=["old"], remove=["new"])
        marks.unmark(home, spec.id, ["c/00001.png"])
        marks.mark(home, spec.id, ["c/00000.png"])
        enqueue.enqueue(home, [spec], {})
        control.retry(home, spec.id) if state.derive(home, spec.id).final else None

    def after() -> None:
        assert set(labels.read_labels(home, spec.id).tags) in ({"old"}, {"old", "new"})
        assert set(marks.read_marks(home, spec.id).images) in ({"c/00000.png"}, {"c/00000.png", "c/00001.png"})
        assert json.loads((home.job(spec.id) / "request.json").read_text())

    deaths = at_every_call(act, before, after)
    record("killed-at-every-change", what="tag, mark, priority, cancel", deaths=deaths, outcome="old or new")


def test_checkpoints_and_linked_trees_are_old_or_new(tmp_path: Path) -> None:
    source, target, path = tmp_path / "source", tmp_path / "target", tmp_path / "state"
    for name, content in FILES.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(content)

    def act() -> None:
        durable.rotate(path)
        durable.write_bytes(path, b"new")
        durable.link_tree(source, target)

    def before() -> None:
        shutil.rmtree(target, ignore_errors=True)
        durable.previous(path).unlink(missing_ok=True)
        path.write_bytes(b"old")

    def after() -> None:
        read = [file.read_bytes() for file in (path, durable.previous(path)) if file.exists()]
        assert read[0] in (b"old", b"new")
        for file in target.rglob("*"):
            if file.is_file() and not durable.is_leftover(file.name):
                assert file.read_bytes() == FILES[file.relative_to(target).as_posix()]

    deaths = at_every_call(act, before, after)
    record("killed-at-every-change", what="rotate, link_tree", deaths=deaths, outcome="old or new")


@pytest.mark.parametrize("swaps", [True, False])
def test_a_set_whose_folder_moved_is_made_again_without_a_gap(
    swaps: bool, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the file system can't swap two names, nothing is shown for a moment; never half of it."""
    if not swaps:
        monkeypatch.setattr(durable, "exchange", lambda *_: False)
    folder = tmp_path / "images"
    for number in range(12):
        for class_ in ("cat", "dog"):
            picture(folder / class_ / f"{number}.png", hash((class_, number)) % 250)
    old = drawn(folder)
    first = sets.add_set(home, old, "pets")
    moved = tmp_path / "elsewhere"
    shutil.move(folder, moved)
    new = drawn(moved)
    assert new.id == old.id
    first_home = shutil.copytree(home.path, tmp_path / "first")

    def before() -> None:
        shutil.rmtree(home.path)
        shutil.copytree(first_home, home.path)

    def after() -> None:
        there = home.artifact("set", first.id).exists()
        assert there or not swaps
        if there:
            assert sets.find_set(home, "pets").shots.source["path"] in (str(folder), str(moved))
        sets.add_set(home, new, "pets")
        assert sets.find_set(home, "pets").shots.source["path"] == str(moved)

    deaths = at_every_call(lambda: sets.add_set(home, new, "pets"), before, after)
    assert deaths > 4
    record("killed-at-every-change", what=f"set made again, swaps {swaps}", deaths=deaths, outcome="old or new")


def picture(path: Path, grey: int) -> None:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8), grey).save(path)


def drawn(folder: Path) -> ShotSet:
    return make_shot_set(open_source(str(folder)), 1, 1, check="used")


def test_a_registry_that_is_rebuilt_is_the_old_one_or_the_new(ran_copy: Path, tmp_path: Path) -> None:
    from store import queries

    index.open_registry(Home(ran_copy)).close()
    home = Home(tmp_path / "home")
    notices: list[str] = []

    def before() -> None:
        shutil.rmtree(home.path, ignore_errors=True)
        shutil.copytree(ran_copy, home.path)

    def after() -> None:
        registry = index.connect(home, notices.append)
        assert queries.count(registry, "run") == 8
        assert registry.problems() == []
        registry.close()

    deaths = at_every_call(lambda: index.rebuild(home).close(), before, after)
    assert notices == []
    record("killed-at-every-change", what="registry rebuild", deaths=deaths, outcome="old or new")


def test_restoring_brings_everything_back(home: Home) -> None:
    (spec,) = rehearsals(1)
    made(home, spec)
    gc.apply(home, gc.plan(home, jobs=True))
    assert not home.has(spec.kind, spec.id)
    assert not home.job(spec.id).exists()
    listed = json.loads(run_cli("gc", "--trash", "--json", home=home.path).stdout)
    assert {entry["origin"] for entry in listed} == {f"artifacts/rehearsal/{spec.id}", f"jobs/{spec.id}"}
    for _ in range(2):
        back = run_cli("gc", "--restore", spec.id[:8], home=home.path)
        assert back.returncode == 0, back.stderr
    assert is_good(home, spec)
    assert state.derive(home, spec.id).state == "done"
    again = run_cli("gc", "--restore", spec.id, home=home.path)
    assert again.returncode == 2
    assert "no trash entry" in again.stderr


def test_the_trash_is_kept_for_its_time_and_emptied_when_asked(home: Home) -> None:
    specs = rehearsals(2)
    for spec in specs:
        made(home, spec)
        control.remove(home, spec.id)
    gc.apply(home, gc.plan(home))
    first, _ = trash.entries(home)
    long_ago = first.path.with_name("20200101T000000.000000~" + first.path.name.partition("~")[2])
    first.path.rename(long_ago)
    assert run_cli("gc", "--apply", home=home.path).returncode == 0
    assert [entry.id for entry in trash.entries(home)] == [
        entry.id for entry in trash.entries(home) if entry.path != long_ago
    ]
    assert len(trash.entries(home)) == 1
    assert "deleted" in run_cli("gc", "--empty-trash", home=home.path).stdout
    assert list((home.path / "trash").iterdir()) == []


def test_what_changed_a_moment_ago_stays(home: Home) -> None:
    (spec,) = rehearsals(1)
    made(home, spec)
    staged = durable.make_dir(home.staging("adapter", "a" * 16))
    assert gc.plan(home, jobs=True, grace=3600.0) == []
    assert run_cli("gc", "--apply", "--jobs", home=home.path).returncode == 0
    assert is_good(home, spec)
    assert staged.exists()
    for path in [*home.path.rglob("*"), home.path]:
        os.utime(path, (time.time() - 7200, time.time() - 7200))
    durable.write_text(staged / "x", "")
    assert {item.kind for item in gc.plan(home, jobs=True, grace=3600.0)} == {"job", "rehearsal"}
    result = run_cli("gc", "--grace", "soon", home=home.path)
    assert result.returncode == 2
    assert "30m" in result.stderr


UNREADABLE: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "nuls": lambda path: path.write_bytes(b"\0" * 300),
    "a list": lambda path: path.write_text("[]"),
    "another thing": lambda path: path.write_text("{}"),
    "deep": lambda path: path.write_text("[" * 200_000),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-9]),
}


@pytest.mark.parametrize("place", ["names/set", "runs", "marks", "experiments", "labels"])
@pytest.mark.parametrize("how", UNREADABLE)
def test_what_can_not_be_read_keeps_everything(place: str, how: str, home: Home, two_shots: ShotSet) -> None:
    sets.add_set(home, two_shots, "mine")
    (spec,) = rehearsals(1)
    made(home, spec)
    control.remove(home, spec.id)
    path = durable.make_dir(home.path / place) / ("0" * 16 + ".json")
    if place == "names/set":
        path = next((home.path / place).glob("*.json"))
    elif how == "cut":
        path.write_text('{"set": "x", "jobs": {}, "images": {}, "classes": {}, "runs": [], "tags": []}\n')
    UNREADABLE[how](path)
    with pytest.raises(UserError, match="nothing is removed") as caught:
        gc.plan(home)
    assert caught.value.at == path
    assert home.has("set", two_shots.id)
    assert is_good(home, spec)


def test_what_a_kept_artifact_was_made_from_stays_when_its_manifest_is_damaged(ran_copy: Path) -> None:
    home = Home(ran_copy)
    assert gc.plan(home) == []
    for kind in ("classifier", "synthetic"):
        folder = next((ran_copy / "artifacts" / kind).glob("[!.]*"))
        whole_manifest = (folder / "manifest.json").read_bytes()
        (folder / "manifest.json").write_bytes(whole_manifest[:-20])
        assert gc.plan(home) == []  # its job tells
        spec = home.job(folder.name) / "spec.json"
        whole_spec = spec.read_bytes()
        spec.write_bytes(b"")
        with pytest.raises(UserError, match="nothing is removed"):
            gc.plan(home)
        spec.write_bytes(whole_spec)
        (folder / "manifest.json").write_bytes(whole_manifest)
    assert gc.plan(home) == []


def test_a_folder_that_can_not_be_listed_keeps_everything(home: Home, two_shots: ShotSet) -> None:
    sets.add_set(home, two_shots, "mine")
    (home.path / "names" / "set").rename(home.path / "away")
    (home.path / "names" / "set").symlink_to(home.path / "unmounted")
    with pytest.raises(UserError, match="nothing is removed"):
        gc.plan(home)


def test_what_comes_to_be_needed_while_it_goes_is_put_back(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    (spec,) = rehearsals(1)
    made(home, spec)
    control.remove(home, spec.id)
    found = gc.plan(home)
    discard = trash.discard

    def discard_and_tag(home: Home, path: Path) -> trash.Entry:
        entry = discard(home, path)
        labels.tag(home, spec.id, add=["best"])
        return entry

    monkeypatch.setattr(trash, "discard", discard_and_tag)
    assert gc.apply(home, found) == []
    assert is_good(home, spec)


def test_a_run_asked_for_while_gc_takes_its_parts_asks_for_them_again(ran_copy: Path) -> None:
    home = Home(ran_copy)
    reused = ask.plan(
        home,
        requests.Request(
            recipes=("zero-shot",), sets=("d2",), overrides=("classify.steps=4", "classify.batch_size=16")
        ),
    )
    assert reused.missing == ()
    (spec,) = [spec for run in reused.runs for spec in run.jobs.values()]
    trash.discard(home, home.artifact(spec.kind, spec.id))  # as a gc does between a plan and its submission
    assert ask.submit(home, reused) == [spec.id]
    assert state.derive(home, spec.id).state == "queued"


def test_leftovers_are_swept_and_nothing_that_is_young(home: Home) -> None:
    (spec,) = rehearsals(1)
    made(home, spec)
    labels.tag(home, spec.id, add=["keep"])
    copy = Path(shutil.copytree(home.artifact(spec.kind, spec.id), home.path / "artifacts" / "rehearsal" / "x"))
    with dying(4):
        durable.remove_dir(copy)
    with dying(3):
        durable.write_json(home.path / "queue.json", {})
    left = [path for path in home.path.rglob("*") if durable.is_leftover(path.name)]
    assert len(left) == 2
    assert gc.plan(home) == []
    for path in left:
        for file in [path, *path.rglob("*")]:
            os.utime(file, (1, 1))
    assert {item.kind for item in gc.plan(home)} == {"leftover"}
    gc.apply(home, gc.plan(home))
    assert not any(path.exists() for path in left)
    registry = index.open_registry(home)
    assert check(home, registry) == []
    registry.close()
    assert read_manifest(home, spec.kind, spec.id)["id"] == spec.id


CUT: dict[str, list[str]] = {
    "gc": ["gc", "--apply", "--jobs", "--grace", "0"],
    "job rm": ["job", "rm", "JOB"],
    "empty": ["gc", "--empty-trash"],
    "rebuild": ["registry", "rebuild"],
    "backup": ["registry", "backup", "HOME/copy.db"],
}


@pytest.mark.parametrize("what", CUT)
def test_a_command_that_is_killed_at_every_system_call(what: str, tmp_path: Path) -> None:
    """As above, of the whole command and of SQLite too. The short form takes a moment or two of each."""
    from store import queries

    strace.available()
    first = open_home(tmp_path / "first")
    specs = rehearsals(2)
    for spec in specs:
        made(first, spec)
    if what == "empty":
        gc.apply(first, gc.plan(first, jobs=True))
    index.open_registry(first).close()
    jobs = len(list((first.path / "jobs").glob("[0-9a-f]*")))
    moments = 0
    for call in ("rename", "unlink", "unlinkat", "rmdir", "fsync", "ftruncate", "pwrite64"):
        number = 1
        while number <= scale(2 if call in ("rename", "unlink") else 0, 1000):
            home = Home(Path(shutil.copytree(first.path, tmp_path / "home")))
            words = [word.replace("JOB", specs[0].id).replace("HOME", str(home.path)) for word in CUT[what]]
            status = strace.command(home, words, call, f"signal=SIGKILL:when={number}")
            assert status in (0, -9, 137), (call, number, status)
            for spec in specs:
                is_good(home, spec)
                if home.job(spec.id).exists():
                    assert state.derive(home, spec.id).state == "done"
            for entry in trash.entries(home):
                if entry.origin.startswith("artifacts/"):
                    assert whole.fault(entry.path, "rehearsal", entry.id) == ""
            told: list[str] = []
            registry = index.connect(home, told.append)
            assert told == []
            assert registry.problems() == []
            if what in ("rebuild", "backup"):
                assert queries.count(registry, "job") == jobs
            registry.close()
            if (copy := home.path / "copy.db").exists():
                with closing(sqlite3.connect(copy)) as connection:
                    assert connection.execute("SELECT count(*) FROM job").fetchone() == (jobs,)
            nothing_runs(home)
            shutil.rmtree(home.path)
            moments += 1
            if status == 0:
                break
            number += {"pwrite64": 9, "fsync": 3}.get(call, 1)
    assert moments
    record("killed-at-every-system-call", command=what, moments=moments, outcome="whole or gone, the registry sound")
