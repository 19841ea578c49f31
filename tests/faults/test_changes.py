"""Reading, changing and writing a file is one thing: of any number of processes that do so at once, none is lost."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from datadream import durable
from datadream.canonical import short_id
from datadream.data.shots import ShotSet, make_shot_set
from datadream.data.source import open_source
from datadream.errors import UserError
from datadream.home import control, experiments, labels, marks, mounts, queue, sets, state
from datadream.home.layout import Home, open_home
from datadream.plans import ask, enqueue
from datadream.plans import request as requests
from tests.faults.scale import record, scale
from tests.runners import rehearsals
from tui.terminal.prefs import Prefs

PROCESSES, TIMES = 3, scale(4, 25)
SUBJECT = "a" * 16


def tag(home: Home, process: int, turn: int) -> None:
    labels.tag(home, SUBJECT, add=[f"{process}.{turn}"])


def note_and_tag(home: Home, process: int, turn: int) -> None:
    if process == 0:
        labels.note(home, SUBJECT, f"note {turn}")
    else:
        labels.tag(home, SUBJECT, add=[f"{process}.{turn}"])


def mark(home: Home, process: int, turn: int) -> None:
    marks.mark(home, SUBJECT, [f"c/{process}{turn:04d}.png"])


def group(home: Home, process: int, turn: int) -> None:
    experiments.add_runs(home, "grid", [f"{process}.{turn}"])


def set_queue(home: Home, process: int, turn: int) -> None:
    """`queue pause` beside `queue set`: each changes a setting of its own."""
    name = ("grace_seconds", "retry_seconds", "paused")[process]
    queue.change(home, **{name: bool(turn % 2) if name == "paused" else float(turn + 1)})
    now = getattr(queue.read_settings(home), name)
    assert now == (bool(turn % 2) if name == "paused" else float(turn + 1)), (name, turn, now)


def steer(home: Home, process: int, turn: int) -> None:
    (job,) = (path.name for path in (home.path / "jobs").iterdir() if state.is_id(path.name))
    if process == 0:
        control.set_priority(home, job, turn)
        assert state.read_control(home, job).priority == turn
    elif process == 1:
        control.pause(home, job, f"{turn}")
        assert state.read_control(home, job).paused
        control.resume(home, job)
        assert not state.read_control(home, job).paused
    else:
        enqueue.enqueue(home, rehearsals(1), {})


def choose(home: Home, process: int, turn: int) -> None:
    prefs = Prefs(home)
    prefs.set(f"{process}.{turn}", turn)
    prefs.close()


def name_set(home: Home, process: int, turn: int) -> None:
    drawn = make_shot_set(open_source("digits"), 1, process + 1, check="used")
    try:
        sets.add_set(home, drawn, f"x{turn}")
    except UserError as error:
        assert "is already used for another set" in str(error)
    else:
        durable.write_text(home.path / f"won-{process}.{turn}", drawn.id)


def again(home: Home, process: int, turn: int) -> None:
    """`run --force`, at once: each is a repeat of its own."""
    jobs = ask.submit(home, requests.Request(recipes=("zero-shot",), sets=("d",), force=True))
    durable.write_text(home.path / f"asked-{process}.{turn}", " ".join(jobs))


def _race(act: Callable[[Home, int, int], None], home: Home, process: int, barrier: Barrier) -> None:
    for turn in range(TIMES):
        barrier.wait(300)
        act(home, process, turn)


def race(act: Callable[[Home, int, int], None], home: Home) -> None:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(PROCESSES)
    started = [context.Process(target=_race, args=(act, home, number, barrier)) for number in range(PROCESSES)]
    for process in started:
        process.start()
    for process in started:
        process.join(500)
    assert [process.exitcode for process in started] == [0] * PROCESSES
    record("changed-at-once", what=act.__name__, processes=PROCESSES, times=TIMES, outcome="none lost")


EACH = {f"{process}.{turn}" for process in range(PROCESSES) for turn in range(TIMES)}


def test_tags_and_notes(home: Home) -> None:
    race(tag, home)
    assert set(labels.read_labels(home, SUBJECT).tags) == EACH


def test_a_note_beside_tags(home: Home) -> None:
    race(note_and_tag, home)
    found = labels.read_labels(home, SUBJECT)
    assert found.note == f"note {TIMES - 1}"
    assert set(found.tags) == {entry for entry in EACH if not entry.startswith("0.")}


def test_marks(home: Home) -> None:
    race(mark, home)
    assert len(marks.read_marks(home, SUBJECT).images) == PROCESSES * TIMES


def test_experiments(home: Home) -> None:
    race(group, home)
    found = experiments.read_experiment(home, short_id(["experiment", "grid"]))
    assert found is not None
    assert set(found.runs) == EACH


def test_settings_of_the_queue(home: Home) -> None:
    race(set_queue, home)
    found = queue.read_settings(home)
    assert (found.grace_seconds, found.retry_seconds, found.paused) == (TIMES, TIMES, bool((TIMES - 1) % 2))


def test_what_is_asked_of_a_job(home: Home) -> None:
    enqueue.enqueue(home, rehearsals(1), {})
    race(steer, home)


def test_choices_of_the_app(home: Home) -> None:
    race(choose, home)
    assert set(json.loads((home.path / "tui.json").read_text())) == EACH


def test_a_name_stands_for_one_set(home: Home) -> None:
    """Whoever was told that it is his still has it."""
    race(name_set, home)
    for turn in range(TIMES):
        won = {path.read_text() for path in home.path.glob(f"won-*.{turn}")}
        assert won == {sets.find_set(home, f"x{turn}").id}


def test_runs_made_anew_at_once_are_of_their_own(home: Home, two_shots: ShotSet) -> None:
    sets.add_set(home, two_shots, "d")
    race(again, home)
    asked = [job for path in home.path.glob("asked-*") for job in path.read_text().split()]
    assert len(asked) == len(set(asked)) == PROCESSES * TIMES


@pytest.mark.parametrize("act", [tag, set_queue], ids=lambda act: act.__name__)
def test_the_same_without_kernel_locks(act: Callable[[Home, int, int], None], home: Home) -> None:
    mounts.distrust(durable.make_dir(home.path / "labels") / "x", "the test says so")
    race(act, home)
    if act is tag:
        assert set(labels.read_labels(home, SUBJECT).tags) == EACH


@pytest.mark.parametrize("what", ["labels", "experiments", "marks"])
def test_a_damaged_file_is_not_written_over_without_a_word(what: str, home: Home) -> None:
    name = {"labels": SUBJECT, "marks": SUBJECT, "experiments": short_id(["experiment", "grid"])}[what]
    path = durable.make_dir(home.path / what) / f"{name}.json"
    path.write_bytes(b"\0" * 40)
    act = {"labels": tag, "marks": mark, "experiments": group}[what]
    with pytest.raises(UserError, match="can't be read") as caught:
        act(home, 0, 0)
    assert caught.value.at == path
    assert path.read_bytes() == b"\0" * 40


def test_whoever_waits_for_a_lock_is_told_who_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datadream.home import lease

    home = open_home(tmp_path / "home")
    folder = durable.make_dir(home.path / "labels")
    holder = multiprocessing.get_context("spawn").Process(target=_keep, args=(folder / ".lease",))
    holder.start()
    try:
        while not lease.is_held(folder / ".lease"):
            pass
        monkeypatch.setattr(labels, "lock", lambda path: lease.lock(path, seconds=0.3))
        with pytest.raises(UserError, match=f"pid {holder.pid} on {os.uname().nodename}"):
            labels.tag(home, SUBJECT, add=["x"])
    finally:
        holder.kill()
        holder.join()
    labels.tag(home, SUBJECT, add=["x"])


def _keep(path: Path) -> None:
    import time

    from datadream.home import lease

    with lease.lease(path, lambda _: None):
        time.sleep(600)
