"""What all lists can do, key by key, on a home made by real jobs."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from datadream.home.labels import read_labels
from datadream.home.layout import Home, open_home
from tests.conftest import run_cli
from tests.tui.lists import keys, walk
from tests.tui.looking import SIZES, Looker
from tui.actions import actions
from tui.drawing import glyphs
from tui.screens.lists.listing import ListScreen
from tui.widgets.table import VirtualTable


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
        await looker.see("1 of 3 (of 8 without the filter)")
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
        assert "no matching run" in looker.toasts()
        assert screen.ids() == [] and screen.rows() == []

    walk(ran, "runs", (80, 24), steps)


def test_s_sorts_by_the_next_column_and_capital_s_turns_it_round(ran: Path) -> None:
    async def steps(looker: Looker, screen: ListScreen) -> None:
        for name in ("id", "state", "method", "data", "shots", "seed", "-accuracy", "settings", "source"):
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
        await looker.press("down", "down", "space", "enter")
        await looker.see(lambda: "method" not in [column.name for column in screen.table.columns])
        assert "method" not in looker.lines()[screen.table.region.y]
        assert "--columns id,state,data" in screen.command("columns")

    async def again(looker: Looker, screen: ListScreen) -> None:
        assert [column.name for column in screen.table.columns][:3] == ["id", "state", "data"]

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
        await looker.see("1 of 1 (of 8 without the filter)")
        assert screen.table.marks == [first, second] and "0 marked, 2 more hidden" in looker.text()
        await looker.press("escape")
        await looker.see(" of 8 ")
        assert screen.ids() == [first, second]
        await looker.press("backslash")
        assert screen.ids() == [screen.table.cursor_id] and "marked" not in looker.text()

    walk(ran, "runs", (80, 24), steps)


def test_tags_and_notes_of_many_are_edited_and_undone(ran_copy: Path) -> None:
    home = open_home(ran_copy)

    async def steps(looker: Looker, screen: ListScreen) -> None:
        ids = list(screen.table.ids)[:2]
        await looker.press("t")
        await looker.type("'very best")
        await looker.see("unclosed quote")
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
        await looker.see("Note on run")
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


# Many rows


def test_a_hundred_thousand_runs_are_walked_sorted_and_filtered_as_the_registry_has_them(many: Path) -> None:
    async def steps(looker: Looker, screen: ListScreen) -> None:
        assert "1 of 100,000" in looker.text()
        await looker.press("G", "g", "pagedown", "G")
        await looker.see(lambda: screen.table.row(screen.table.cursor_id) is not None)
        assert "100,000 of 100,000" in looker.text()
        await looker.press("s", "s", "s")
        await looker.see(lambda: screen.sort == "method")
        assert list(screen.table.ids) == keys(many, "run", sort="method")
        await looker.press("slash")
        await looker.type("shots>=4 method=datadream-dset")
        await looker.press("enter")
        await looker.see(lambda: bool(screen.where))
        assert list(screen.table.ids) == keys(many, "run", "shots>=4 method=datadream-dset", "method")
        assert len(screen.table._rows) < 2_000

    walk(many, "runs", (120, 40), steps)
