"""The list of jobs, and what is done to jobs from it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from datadream.home import control, queue, state
from datadream.home.layout import Home, open_home
from tests.tui.lists import keys, walk
from tests.tui.looking import SIZES, Looker
from tui.screens.job.actions import Facts, command_for, facts, refusal
from tui.screens.lists.listing import ListScreen
from tui.widgets.table import VirtualTable


def quiet(home: Path) -> Home:
    """A home whose runner starts nothing."""
    opened = open_home(home)
    queue.write_settings(opened, queue.read_settings(opened).model_copy(update={"paused": True}))
    return opened


def reopened(home: Home, job_id: str) -> None:
    """Make a done job an open one: its artifact and result go."""
    spec = state.read_spec(home, job_id)
    shutil.rmtree(home.artifact(spec.kind, spec.id))
    (home.job(job_id) / "result.json").unlink()
    control._control(home, job_id, lambda old: {"retries": old.retries + 1})


def test_a_job_is_paused_raised_cancelled_retried_and_removed(ran_copy: Path) -> None:
    home = quiet(ran_copy)
    job_id = keys(ran_copy, "job", "stage=adapt")[0]
    reopened(home, job_id)

    def control() -> state.Control:
        return state.read_control(home, job_id)

    async def steps(looker: Looker, screen: ListScreen) -> None:
        await looker.press("slash")
        await looker.type(f"id={job_id}")
        await looker.press("enter")
        await looker.see("queued")
        await looker.press("p")
        await looker.see(lambda: control().paused)
        await looker.see("paused")
        await looker.see(lambda: screen.command("pause") == f"datadream job resume {job_id}")
        await looker.press("p")
        await looker.see(lambda: not control().paused)
        await looker.press("plus")
        await looker.see(lambda: control().priority == 1)
        await looker.press("u")
        await looker.see(lambda: control().priority == 0)
        await looker.press("minus")
        await looker.see(lambda: control().priority == -1)
        assert "datadream job priority" in looker.app.log_of_commands[-1][1]

        await looker.press("R")
        assert "nothing to retry" in looker.toasts()
        await looker.press("D")
        assert "cancel it first" in looker.toasts()

        await looker.press("X")
        await looker.see("lost")
        await looker.press("n")
        assert not control().cancel
        await looker.press("X", "y")
        await looker.see(lambda: control().cancel)
        await looker.see("cancelled")
        assert looker.app.log_of_commands[-1][1] == f"datadream job cancel {job_id}"
        await looker.see(lambda: bool(screen.why_not("cancel")))
        await looker.press("R")
        await looker.see(lambda: not control().cancel)
        await looker.press("u")
        await looker.see(lambda: control().cancel)
        await looker.see(lambda: not screen.why_not("remove"))
        await looker.press("D")
        await looker.see("this can't be undone")
        await looker.press("y")
        await looker.see(lambda: not home.job(job_id).exists())
        await looker.see("no job matches")

    walk(ran_copy, "jobs", (120, 40), steps)


def test_marked_jobs_are_treated_together_and_those_that_cannot_be_are_left(ran_copy: Path) -> None:
    home = quiet(ran_copy)
    adapts = keys(ran_copy, "job", "stage=adapt")
    for job_id in adapts:
        reopened(home, job_id)

    async def steps(looker: Looker, screen: ListScreen) -> None:
        await looker.see(
            lambda: sum(row["state"] == "queued" for row in map(screen.table.row, screen.table.ids) if row) == 2
        )
        screen.table.set_marks([*adapts, *[i for i in screen.table.ids if i not in adapts][:1]])
        await looker.press("X")
        await looker.see("Cancel 2 jobs?")
        await looker.press("y")
        await looker.see(lambda: all(state.read_control(home, job_id).cancel for job_id in adapts))
        await looker.press("u")
        await looker.see(lambda: not any(state.read_control(home, job_id).cancel for job_id in adapts))

    walk(ran_copy, "jobs", (120, 40), steps)


@pytest.mark.parametrize("size", SIZES)
def test_enter_opens_a_job(ran: Path, size: tuple[int, int]) -> None:
    async def steps(looker: Looker, screen: ListScreen) -> None:
        opened: list[str] = []
        looker.app.open_job = opened.append  # type: ignore[method-assign]
        await looker.press("j", "enter")
        await looker.pilot.click(VirtualTable, offset=(5, 3), times=2)
        assert opened == [screen.table.ids[1], screen.table.ids[2]]

    walk(ran, "jobs", size, steps)


def test_the_pane_of_a_job_tells_its_way_and_the_end_of_its_log(ran: Path) -> None:
    async def steps(looker: Looker, screen: ListScreen) -> None:
        await looker.see(f"makes classifier {screen.table.cursor_id}")
        await looker.see("running")

    walk(ran, "jobs", (120, 40), steps)


@pytest.mark.parametrize(
    ("deed", "job", "why"),
    [
        ("cancel", {"state": "done"}, "nothing to cancel"),
        ("cancel", {"state": "running"}, ""),
        ("retry", {"state": "done"}, "run --force"),
        ("retry", {"state": "done", "reason": "its adapter was removed"}, ""),
        ("retry", {"state": "blocked", "reason": "set abc failed", "cause": "stuck"}, "retry that one"),
        ("retry", {"state": "lost"}, ""),
        ("remove", {"state": "running"}, "cancel it first"),
        ("remove", {"state": "blocked", "reason": "set abc failed", "cause": "stuck"}, ""),
        ("pause", {"state": "failed"}, "nothing to pause"),
    ],
)
def test_what_cannot_be_done_to_a_job_says_why(deed: str, job: dict[str, str], why: str) -> None:
    said = refusal(deed, facts({"id": "0" * 16, **job}))
    assert why in said and bool(why) == bool(said)


def test_the_command_for_jobs_leaves_out_those_that_refuse() -> None:
    jobs = [Facts(f"{i}" * 16, s, "", "", i, False, 0, 0, "") for i, s in enumerate(["done", "running", "queued"])]
    assert command_for("cancel", jobs) == f"datadream job cancel {'1' * 16} {'2' * 16}"
    assert command_for("raise", jobs).split("\n")[0] == f"datadream job priority {'1' * 16} 2"
    assert command_for("retry", jobs) == ""
