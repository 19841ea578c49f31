"""Marks: kept through every order and filter, acted on only where they are seen, and counted before anything is done."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from datadream import durable
from datadream.home import control, queue, state
from datadream.home.labels import read_labels, tag
from datadream.home.layout import Home, open_home
from datadream.home.sets import make_set
from datadream.jobs import spawn
from datadream.plans import enqueue
from store import index
from tests.runners import rehearsals
from tests.tui.lists import keys, walk
from tests.tui.looking import Looker
from tui.screens.lists.listing import ListScreen
from tui.screens.shared.modals import Confirm


@pytest.fixture
def waiting(home: Home, monkeypatch: pytest.MonkeyPatch) -> tuple[Home, list[str]]:
    """Four jobs in a queue that nobody works on, the first two titled `one`, the others `two`; newest last."""
    monkeypatch.setattr(spawn, "ensure_runner", lambda _: None)
    queue.write_settings(home, queue.QueueSettings(paused=True))
    specs = rehearsals(4, steps=5)
    titles = {spec.id: "one" if spec.seed < 2 else "two" for spec in specs}
    return home, enqueue.enqueue(home, specs, titles)


async def filtered(looker: Looker, screen: ListScreen, where: str) -> None:
    """With this filter applied, or none."""
    await looker.press("slash")
    await looker.press(*["backspace"] * len(screen.where))
    await looker.type(where)
    await looker.press("enter")
    await looker.see(lambda: screen.where == where)


async def all_marked(looker: Looker, screen: ListScreen) -> None:
    """Each row marked with the space bar."""
    await looker.press("g", *["space"] * len(screen.table.ids))
    assert len(screen.table.marks) == len(screen.table.ids)


@pytest.mark.parametrize("key", ["X", "R", "D", "p", "plus", "minus"])
def test_what_a_filter_hides_is_left_alone_by_every_key(key: str, waiting: tuple[Home, list[str]]) -> None:
    home, jobs = waiting
    seen, hidden = set(jobs[2:]), set(jobs[:2])
    if key in "RD":
        for job_id in jobs:
            control.cancel(home, job_id)
            durable.remove_file(home.queue / job_id)

    def done(job_id: str) -> bool:
        if key == "D":
            return not home.job(job_id).exists()
        control = state.read_control(home, job_id)
        return {
            "X": control.cancel,
            "R": control.retries == 1,
            "p": control.paused,
            "plus": control.priority == 1,
            "minus": control.priority == -1,
        }[key]

    async def steps(looker: Looker, screen: ListScreen) -> None:
        await all_marked(looker, screen)
        assert "4 marked" in looker.text() and " 4 " in looker.lines()[-1]  # the line of keys counts
        await filtered(looker, screen, "title=two")
        assert "2 marked, 2 more hidden" in looker.text() and set(screen.ids()) == seen
        await looker.press(key)
        assert isinstance(looker.app.screen, Confirm)
        assert "2 jobs" in looker.text() or "of 2" in looker.text()
        assert "2 more marked are hidden by the filter and left alone" in " ".join(looker.text().split())
        assert not any(map(done, jobs))
        await looker.press("y")
        await looker.see(lambda: all(map(done, seen)))
        assert not any(map(done, hidden))
        await looker.see(lambda: bool(looker.app.log_of_commands))
        assert all(job_id not in looker.app.log_of_commands[-1][1] for job_id in hidden)
        await filtered(looker, screen, "")
        await looker.see("marked")
        assert hidden <= set(screen.table.seen_marks)  # they come back with their rows

    walk(home.path, "jobs", (120, 40), steps)


def test_with_all_marks_hidden_the_row_under_the_cursor_is_asked_for_alone(waiting: tuple[Home, list[str]]) -> None:
    home, jobs = waiting

    async def steps(looker: Looker, screen: ListScreen) -> None:
        await filtered(looker, screen, "title=one")
        await all_marked(looker, screen)
        await filtered(looker, screen, "title=two")
        assert "0 marked, 2 more hidden" in looker.text() and screen.ids() == [screen.table.cursor_id]
        await looker.press("p")
        await looker.see(f"Pause job {screen.table.cursor_id[:8]}?")
        await looker.see("2 more marked are hidden")
        await looker.press("y")
        await looker.see(lambda: state.read_control(home, screen.table.cursor_id).paused)
        assert [job for job in jobs if state.read_control(home, job).paused] == [screen.table.cursor_id]
        await looker.press("backslash")
        assert screen.hidden() == 0 and screen.table.marks == []

    walk(home.path, "jobs", (120, 40), steps)


@pytest.mark.parametrize("how", ["removed", "no longer fits the filter"])
def test_a_row_that_left_the_list_after_it_was_marked_is_left_alone(
    how: str, waiting: tuple[Home, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, jobs = waiting
    monkeypatch.setattr(durable, "RACY_NS", 0)

    async def steps(looker: Looker, screen: ListScreen) -> None:
        await filtered(looker, screen, "state=queued title=two")
        await all_marked(looker, screen)
        await looker.press("X")
        await looker.see("Cancel 2 jobs?")
        gone = jobs[2]
        if how == "removed":  # by somebody else, while the question stands
            durable.remove_file(home.queue / gone)
            shutil.rmtree(home.job(gone))
        else:
            control.cancel(home, gone)
            durable.remove_file(home.queue / gone)
            durable.touch_dir(home.queue)
        await looker.press("y")
        await looker.see("1 of 2 refused: job ")
        assert state.read_control(home, jobs[3]).cancel
        assert not home.job(gone).exists() or state.read_control(home, gone).reason == ""
        assert screen.app._undos  # type: ignore[attr-defined]
        await looker.press("u")
        await looker.see(lambda: not state.read_control(home, jobs[3]).cancel)
        assert how == "removed" or state.read_control(home, gone).cancel

    walk(home.path, "jobs", (120, 40), steps)


@pytest.mark.parametrize(
    ("mode", "noun", "where"),
    [
        ("runs", "run", "data=synth"),
        ("jobs", "job", "stage=generate"),
        ("sets", "set", "name=other"),
        ("adapters", "adapter", "per=class"),
        ("synth", "synth", "adapter~a"),
    ],
)
def test_every_list_tags_only_the_marked_rows_that_are_seen(
    mode: str, noun: str, where: str, ran_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = open_home(ran_copy)
    make_set(home, "digits", 1, 7, split_seed=0, name="other", check="used")
    index.open_registry(home).close()
    left = set(keys(ran_copy, noun, where) if mode != "synth" else keys(ran_copy, noun)[:1])
    where = where if mode != "synth" else f"id={next(iter(left))[:8]}"

    async def steps(looker: Looker, screen: ListScreen) -> None:
        await all_marked(looker, screen)
        await looker.press("s", "S", "G", "g")
        count = len(screen.table.ids)
        await filtered(looker, screen, where)
        assert f"{len(left)} marked, {count - len(left)} more hidden" in looker.text()
        await looker.press("t")
        whose = f"{len(left)} {noun}s" if len(left) > 1 else f"{noun} {next(iter(left))[:8]}"
        await looker.see(f"Tags of {whose}")
        await looker.type("seen")
        await looker.press("enter")
        await looker.see(lambda: all(read_labels(home, thing).tags == ("seen",) for thing in left))
        tagged = {path.stem for path in (ran_copy / "labels").glob("*.json")}
        assert tagged == left

    walk(ran_copy, mode, (120, 40), steps)


def test_a_run_that_is_gone_gets_no_label(ran_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = open_home(ran_copy)
    monkeypatch.setattr(durable, "RACY_NS", 0)

    async def steps(looker: Looker, screen: ListScreen) -> None:
        first, second = screen.table.ids[:2]
        await looker.press("space", "space", "t")
        await looker.see("Tags of 2 runs")
        home.run(first).unlink()
        durable.touch_dir(home.path / "runs")
        await looker.type("kept")
        await looker.press("enter")
        await looker.see("1 of 2 no longer listed")
        assert read_labels(home, second).tags == ("kept",) and not home.label(first).exists()

    walk(ran_copy, "runs", (120, 40), steps)


def test_two_marked_runs_of_which_a_filter_hides_one_are_not_compared(ran_copy: Path) -> None:
    async def steps(looker: Looker, screen: ListScreen) -> None:
        compared: list[list[str]] = []
        looker.app.compare_runs = lambda ids: compared.append(list(ids))  # type: ignore[method-assign]
        tag(open_home(ran_copy), screen.table.ids[0], ["one"])
        screen.ask("sync", lambda data: data.sync(), lambda _: screen.refresh_data())
        await looker.press("space", "space")
        await filtered(looker, screen, "tag=one")
        await looker.press("x")
        await looker.see("1 marked, and 1 more hidden by the filter")
        assert not compared and screen.command("compare") == ""

    walk(ran_copy, "runs", (120, 40), steps)


def test_the_question_counts_what_can_not_be_done(waiting: tuple[Home, list[str]]) -> None:
    home, jobs = waiting
    control.cancel(home, jobs[0])
    durable.remove_file(home.queue / jobs[0])

    async def steps(looker: Looker, screen: ListScreen) -> None:
        await all_marked(looker, screen)
        await looker.press("X")
        await looker.see("Cancel 3 jobs?")
        assert "1 of 4 skipped: " in looker.text()
        await looker.press("n")
        await looker.press("R")
        await looker.see(f"Retry job {jobs[0][:8]}?")
        assert "3 of 4 skipped: " in looker.text()
        await looker.press("escape")

    walk(home.path, "jobs", (120, 40), steps)


def test_one_job_without_marks_is_treated_as_before(waiting: tuple[Home, list[str]]) -> None:
    """A question that adds nothing to what the cursor shows would only be in the way."""
    home, _ = waiting

    async def steps(looker: Looker, screen: ListScreen) -> None:
        check: Callable[[], bool] = lambda: state.read_control(home, screen.table.cursor_id).paused  # noqa: E731
        await looker.press("p")
        await looker.see(check)
        assert looker.app.screen is screen

    walk(home.path, "jobs", (80, 24), steps)
