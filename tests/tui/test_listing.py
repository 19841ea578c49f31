"""Jobs, runs and what all lists can do, key by key, on a home made by real jobs."""

from __future__ import annotations

import asyncio
import shlex
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from datadream.jobs import queue, state, submit
from datadream.jobs.home import Home, open_home
from datadream.jobs.labels import read_labels
from store import queries
from store.registry import Registry
from store.where import parse_where
from tests.conftest import run_cli
from tests.tui.looking import SIZES, Looker, looking
from tui import glyphs
from tui.actions import actions
from tui.screens.job_deeds import Facts, command_for, facts, refusal
from tui.screens.listing import ListScreen
from tui.screens.run import RunScreen
from tui.widgets.table import VirtualTable

Walk = Callable[[Looker, ListScreen], Awaitable[None]]


@asynccontextmanager
async def listed(home: Path, mode: str, size: tuple[int, int]) -> AsyncIterator[tuple[Looker, ListScreen]]:
    """The list, read and drawn."""
    async with looking(home, size) as looker:
        screen = looker.app.go(mode)
        assert isinstance(screen, ListScreen)
        await looker.see(lambda: screen.is_mounted and screen._seen)
        await looker.see(lambda: all(screen.table.row(row_id) is not None for row_id in screen.table.near()))
        await looker.pilot.pause()
        yield looker, screen


def walk(home: Path, mode: str, size: tuple[int, int], steps: Walk) -> None:
    async def go() -> None:
        async with listed(home, mode, size) as (looker, screen):
            await steps(looker, screen)

    asyncio.run(go())


def registry_of(home: Path) -> Registry:
    opened = open_home(home)
    return Registry.open(opened.registry, opened.registry_lock)


def keys(home: Path, noun: str, where: str = "", sort: str = "") -> list[str]:
    registry = registry_of(home)
    try:
        return queries.keys(registry, noun, parse_where(where), sort)
    finally:
        registry.close()


# What all lists can do


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("mode", "noun"), [("runs", "run"), ("jobs", "job")])
def test_a_list_shows_every_row_and_cuts_no_id(ran: Path, mode: str, noun: str, size: tuple[int, int]) -> None:
    async def steps(looker: Looker, screen: ListScreen) -> None:
        assert list(screen.table.ids) == keys(ran, noun)
        for row_id in screen.table.ids[: size[1] // 2 - 4]:
            assert f"{row_id[:8]} " in looker.text()
        if mode == "runs":
            accuracies = [f"{row['accuracy']:.2f}" for row in map(screen.table.row, screen.table.ids) if row]
            assert all(f" {accuracy} " in looker.text() for accuracy in accuracies)
        assert f"1 of {len(screen.table.ids)}" in looker.text()
        assert max(map(len, looker.lines())) <= size[0]

    walk(ran, mode, size, steps)


@pytest.mark.parametrize("size", SIZES)
def test_a_filter_is_a_draft_until_enter(ran: Path, size: tuple[int, int]) -> None:
    async def steps(looker: Looker, screen: ListScreen) -> None:
        everything = list(screen.table.ids)
        await looker.press("slash")
        await looker.type("data=synth")
        await looker.see("3 match")
        assert list(screen.table.ids) == everything
        await looker.press("escape")
        assert list(screen.table.ids) == everything and screen.where == ""
        await looker.press("slash")
        await looker.type("data=synth")
        await looker.press("enter")
        await looker.see("filter: data=synth (3 of 8)")
        assert list(screen.table.ids) == keys(ran, "run", "data=synth")
        assert screen.command("filter") == "datadream runs ls --where data=synth"
        await looker.press("slash")
        assert screen.query_one("#filter").value == "data=synth"  # type: ignore[attr-defined]
        await looker.press("escape")
        assert screen.where == "data=synth" and looker.app.focused is screen.table
        await looker.press("escape")
        await looker.see(lambda: list(screen.table.ids) == everything)
        await looker.press("escape")
        assert looker.app.current_mode == "dashboard"

    walk(ran, "runs", size, steps)


def test_a_wrong_filter_says_so_while_it_is_typed_and_cannot_be_applied(ran: Path) -> None:
    async def steps(looker: Looker, screen: ListScreen) -> None:
        await looker.press("slash")
        await looker.type("shts>=4")
        await looker.see("did you mean shots?")
        await looker.press("enter")
        await looker.pilot.pause()
        assert screen.query_one("#filtering").display and screen.where == ""
        await looker.press(*["backspace"] * 7)
        await looker.type("'open")
        await looker.see("an open quote")
        await looker.press(*["backspace"] * 5)
        await looker.see("8 match")

    walk(ran, "runs", (80, 24), steps)


def test_a_filter_without_matches_says_how_to_go_on(ran: Path) -> None:
    async def steps(looker: Looker, screen: ListScreen) -> None:
        await looker.press("slash")
        await looker.type("shots>=99")
        await looker.press("enter")
        await looker.see("no run matches shots>=99")
        assert "0 of 0" in looker.text()
        await looker.press("enter", "t", "X", "up", "down", "space", "G")
        assert "no run matches the filter" in looker.toasts()
        assert screen.ids() == [] and screen.rows() == []

    walk(ran, "runs", (80, 24), steps)


def test_s_sorts_by_the_next_column_and_capital_s_turns_it_round(ran: Path) -> None:
    async def steps(looker: Looker, screen: ListScreen) -> None:
        for name in ("id", "method", "data", "shots", "seed", "-accuracy", "source"):
            await looker.press("s")
            await looker.see(lambda name=name: screen.sort == name)  # type: ignore[misc]
            assert list(screen.table.ids) == keys(ran, "run", sort=name)
            assert f"sorted by {name.removeprefix('-')}" in looker.text()
        await looker.press("S")
        await looker.see(lambda: screen.sort == "-source")
        assert list(screen.table.ids) == keys(ran, "run", sort="-source")
        assert f"source {glyphs.DOWN}" in looker.text()
        assert screen.command("sort") == "datadream runs ls --sort -source"

    walk(ran, "runs", (120, 40), steps)


def test_a_refresh_and_a_second_key_forget_no_order_that_was_asked_for(ran: Path) -> None:
    async def steps(looker: Looker, screen: ListScreen) -> None:
        screen.do_sort()
        screen.do_sort()
        screen.refresh_data()
        await looker.see(lambda: screen.sort == "method")
        assert list(screen.table.ids) == keys(ran, "run", sort="method")

    walk(ran, "runs", (80, 24), steps)


def test_a_click_on_a_title_sorts_and_another_turns_it_round(ran: Path) -> None:
    async def steps(looker: Looker, screen: ListScreen) -> None:
        x = looker.lines()[screen.table.region.y].index("accuracy")
        for sort in ("-accuracy", "accuracy"):
            await looker.pilot.click(VirtualTable, offset=(x, 0))
            await looker.see(lambda sort=sort: screen.sort == sort)  # type: ignore[misc]
            assert list(screen.table.ids) == keys(ran, "run", sort=sort)

    walk(ran, "runs", (120, 40), steps)


def test_chosen_columns_are_kept_for_the_next_start(ran_copy: Path) -> None:
    async def choose(looker: Looker, screen: ListScreen) -> None:
        await looker.press("c")
        await looker.see("Columns")
        await looker.press("down", "space", "enter")
        await looker.see(lambda: "method" not in [column.name for column in screen.table.columns])
        assert "method" not in looker.lines()[screen.table.region.y]
        assert "--columns id,data" in screen.command("columns")

    async def again(looker: Looker, screen: ListScreen) -> None:
        assert [column.name for column in screen.table.columns][:2] == ["id", "data"]

    walk(ran_copy, "runs", (80, 24), choose)
    walk(ran_copy, "runs", (80, 24), again)


def test_marks_outlive_order_and_filter(ran: Path) -> None:
    async def steps(looker: Looker, screen: ListScreen) -> None:
        first, second = screen.table.ids[:2]
        await looker.press("space", "space")
        assert screen.ids() == [first, second] and "2 marked" in looker.text()
        await looker.press("s", "S")
        await looker.press("slash")
        await looker.type("method=zero-shot")
        await looker.press("enter")
        await looker.see("(1 of 8)")
        assert screen.ids() == [first, second] and "2 marked" in looker.text()
        await looker.press("backslash")
        assert screen.ids() == list(screen.table.ids)[:1] and "marked" not in looker.text()

    walk(ran, "runs", (80, 24), steps)


def test_tags_and_notes_of_many_are_edited_and_undone(ran_copy: Path) -> None:
    home = open_home(ran_copy)

    async def steps(looker: Looker, screen: ListScreen) -> None:
        ids = list(screen.table.ids)[:2]
        await looker.press("t")
        await looker.type("'very best")
        await looker.see("close it")
        await looker.type("' old")
        await looker.press("enter")
        await looker.see(lambda: read_labels(home, ids[0]).tags == ("old", "very best"))
        assert looker.app.log_of_commands[-1][1] == f"datadream tag add {ids[0]} old 'very best'"
        await looker.see(lambda: screen.table.row(ids[0])["tags"] == ["old", "very best"])  # type: ignore[index]
        await looker.press("space", "space", "t")
        await looker.see("Tags of 2 runs")
        await looker.type("new")
        await looker.press("enter")
        await looker.see(lambda: read_labels(home, ids[1]).tags == ("new",))
        assert read_labels(home, ids[0]).tags == ("new", "old", "very best")
        await looker.press("u")
        await looker.see(lambda: read_labels(home, ids[1]).tags == () and "new" not in read_labels(home, ids[0]).tags)
        await looker.press("e")
        await looker.see("Note on 2 runs")
        await looker.type("one")
        await looker.press("backslash")
        await looker.type("ntwo")
        await looker.press("enter")
        await looker.see(lambda: read_labels(home, ids[1]).note == "one\ntwo")
        await looker.press("e")
        await looker.see(r"one\ntwo")
        await looker.press("escape", "u")
        await looker.see(lambda: read_labels(home, ids[0]).note == "")
        await looker.press("backslash", "e")
        await looker.see("Note on the run")
        await looker.type("it's good")
        await looker.press("enter")
        await looker.see(lambda: screen.command("note") == f"datadream note {screen.ids()[0]} TEXT")
        await looker.see(lambda: read_labels(home, screen.ids()[0]).note == "it's good")
        assert shlex.split(looker.app.log_of_commands[-1][1])[1:] == ["note", screen.ids()[0], "it's good"]

    walk(ran_copy, "runs", (120, 40), steps)


def test_the_commands_said_are_the_ones_that_do_it(ran_copy: Path) -> None:
    async def steps(looker: Looker, screen: ListScreen) -> None:
        await looker.press("slash")
        await looker.type("data=synth accuracy>1")
        await looker.press("enter", "s")
        await looker.see(lambda: screen.sort == "id")
        for action in ("filter", "sort", "columns", "open", "lineage", "confusion"):
            command = shlex.split(screen.command(action))
            found = run_cli(*command[1:], home=ran_copy)
            assert found.returncode == 0, (action, found.stderr)
            if action == "filter":
                assert [line[:8] for line in found.stdout.splitlines()[1:]] == [i[:8] for i in screen.table.ids]

    walk(ran_copy, "runs", (120, 40), steps)


@pytest.mark.parametrize("mode", ["runs", "jobs"])
def test_an_empty_home_says_what_to_do(home: Home, mode: str) -> None:
    async def steps(looker: Looker, screen: ListScreen) -> None:
        assert "plans an experiment" in looker.text()
        for action in actions(mode):
            await looker.press(*[action.keys.split(",")[0]] if action.id not in ("filter", "columns") else [])
        assert looker.app.screen is screen

    walk(home.path, mode, (80, 24), steps)


def test_the_cursor_stays_on_its_row_when_others_come_and_go(ran_copy: Path) -> None:
    async def steps(looker: Looker, screen: ListScreen) -> None:
        await looker.press("j", "j", "j")
        here, first = screen.table.cursor_id, screen.table.ids[0]
        open_home(ran_copy).run(first).unlink()
        await looker.press("space")
        screen.ask("sync", lambda data: data.sync(), lambda _: screen.refresh_data())
        await looker.see(lambda: first not in screen.table.ids)
        assert here == screen.table.ids[screen.table.cursor - 1] and screen.ids() == [here]

    walk(ran_copy, "runs", (80, 24), steps)


def test_a_mark_whose_row_is_gone_is_forgotten(ran_copy: Path) -> None:
    async def steps(looker: Looker, screen: ListScreen) -> None:
        first, second = screen.table.ids[:2]
        await looker.press("space", "space")
        open_home(ran_copy).run(first).unlink()
        screen.ask("sync", lambda data: data.sync(), lambda _: screen.refresh_data())
        await looker.see(lambda: screen.ids() == [second])

    walk(ran_copy, "runs", (80, 24), steps)


# Runs


def test_the_pane_tells_number_classes_and_settings_of_the_row(ran: Path) -> None:
    async def steps(looker: Looker, screen: ListScreen) -> None:
        for _ in range(3):
            row = screen.table.row(screen.table.cursor_id)
            assert row is not None
            await looker.see(f"{row['accuracy']:.2f}% [")
            await looker.see(f"{row['correct']} of {row['total']} test")
            await looker.see("seven")
            await looker.press("j")
        await looker.pilot.resize_terminal(80, 24)
        await looker.see(lambda: not screen.query_one("#detail").display)

    walk(ran, "runs", (120, 40), steps)


@pytest.mark.parametrize("size", SIZES)
def test_enter_opens_a_run_with_everything_and_its_keys_lead_on(ran: Path, size: tuple[int, int]) -> None:
    async def steps(looker: Looker, screen: ListScreen) -> None:
        opened: list[str] = []
        looker.app.open_job = opened.append  # type: ignore[method-assign]
        looker.app.open_lineage = opened.append  # type: ignore[method-assign]
        row = screen.table.row(screen.table.cursor_id)
        assert row is not None
        await looker.press("enter")
        await looker.see(f"Runs {glyphs.ARROW} {row['id'][:8]}")
        await looker.see("Accuracy by class")
        run = looker.app.screen
        assert isinstance(run, RunScreen)
        await looker.press("c", "d", "a", "L")
        assert opened == [row["classifier"], row["synth"], row["adapter"], row["classifier"]]
        await looker.press("C", "G")
        await looker.see("seven")
        assert "Settings" not in looker.text()
        await looker.press("C", "G")
        await looker.see("weight_decay")
        await looker.press("escape")
        assert looker.app.screen is screen

    walk(ran, "runs", size, steps)


def test_capital_c_shows_classes_and_confusions_of_the_row(ran: Path) -> None:
    async def steps(looker: Looker, screen: ListScreen) -> None:
        await looker.press("C")
        await looker.see("rows: label, columns: predicted")
        assert "weight_decay" not in looker.text()

    walk(ran, "runs", (120, 40), steps)


def test_a_run_without_a_job_for_it_says_so(ran: Path) -> None:
    async def steps(looker: Looker, screen: ListScreen) -> None:
        await looker.press("G", "enter")
        await looker.see("zero-shot none")
        await looker.see(lambda: isinstance(looker.app.screen, RunScreen) and looker.app.screen._run is not None)
        await looker.press("d")
        assert "no generate job" in looker.toasts()

    walk(ran, "runs", (120, 40), steps)


def test_x_compares_two_marked_runs_and_no_other_number(ran: Path) -> None:
    async def steps(looker: Looker, screen: ListScreen) -> None:
        compared: list[list[str]] = []
        looker.app.compare_runs = lambda ids: compared.append(list(ids))  # type: ignore[method-assign]
        await looker.press("x")
        await looker.press("space", "x")
        assert "mark two runs" in looker.toasts() and "1 are marked" in looker.toasts() and not compared
        await looker.press("space", "x")
        assert compared == [list(screen.table.ids)[:2]]
        await looker.press("space", "x")
        assert len(compared) == 1

    walk(ran, "runs", (80, 24), steps)


def test_capital_l_goes_to_the_lineage_of_the_classifier(ran: Path) -> None:
    async def steps(looker: Looker, screen: ListScreen) -> None:
        opened: list[str] = []
        looker.app.open_lineage = opened.append  # type: ignore[method-assign]
        row = screen.table.row(screen.table.cursor_id)
        await looker.press("L")
        await looker.see(lambda: row is not None and opened == [row["classifier"]])

    walk(ran, "runs", (80, 24), steps)


def test_a_run_whose_scores_and_record_are_gone_is_still_shown(ran_copy: Path) -> None:
    async def steps(looker: Looker, screen: ListScreen) -> None:
        row = screen.table.row(screen.table.cursor_id)
        assert row is not None
        (open_home(ran_copy).artifact("classifier", row["classifier"]) / "scores.json").unlink()
        await looker.press("C")
        await looker.see("scores are gone")

    walk(ran_copy, "runs", (120, 40), steps)


# Jobs


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
    submit._control(home, job_id, lambda old: {"retries": old.retries + 1})


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
        assert "nothing to try again" in looker.toasts()
        await looker.press("D")
        assert "cancel it before you remove it" in looker.toasts()

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
        await looker.see("removed for good")
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
        await looker.see("Stop 2 jobs?")
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
        ("cancel", {"state": "done"}, "nothing to stop"),
        ("cancel", {"state": "running"}, ""),
        ("retry", {"state": "done"}, "run --force"),
        ("retry", {"state": "done", "reason": "its adapter was removed since"}, ""),
        ("retry", {"state": "blocked", "reason": "its set abc has failed"}, "retry that one"),
        ("retry", {"state": "lost"}, ""),
        ("remove", {"state": "running"}, "cancel it before"),
        ("remove", {"state": "blocked", "reason": "its set abc has failed"}, ""),
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


# Many rows


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose registry knows 100,000 runs."""
    from benchmarks.registry import fill

    home = open_home(tmp_path_factory.mktemp("many") / "home")
    registry = Registry.open(home.registry, home.registry_lock)
    fill(registry, 100_000)
    registry.close()
    return home.path


def test_a_hundred_thousand_runs_are_walked_sorted_and_filtered_as_the_registry_has_them(many: Path) -> None:
    async def steps(looker: Looker, screen: ListScreen) -> None:
        assert "1 of 100,000" in looker.text()
        await looker.press("G", "g", "pagedown", "G")
        await looker.see(lambda: screen.table.row(screen.table.cursor_id) is not None)
        assert "100,000 of 100,000" in looker.text()
        await looker.press("s", "s")
        await looker.see(lambda: screen.sort == "method")
        assert list(screen.table.ids) == keys(many, "run", sort="method")
        await looker.press("slash")
        await looker.type("shots>=4 method=datadream-dset")
        await looker.press("enter")
        await looker.see(lambda: bool(screen.where))
        assert list(screen.table.ids) == keys(many, "run", "shots>=4 method=datadream-dset", "method")
        assert len(screen.table._rows) < 2_000

    walk(many, "runs", (120, 40), steps)
