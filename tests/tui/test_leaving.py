"""Who goes elsewhere before an answer has come: nothing pushes itself in front, nothing that was done is forgotten."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from datadream.errors import UserError
from tests.tui.lists import listed
from tests.tui.looking import looking
from tui.screens.compare.screen import CompareScreen
from tui.screens.gallery import GalleryScreen
from tui.screens.lists.listing import ListScreen
from tui.screens.lists.runs import RunsScreen
from tui.screens.run.screen import RunScreen


def test_an_answer_that_opens_a_screen_stays_away_when_one_has_gone_elsewhere(ran: Path) -> None:
    async def walk() -> None:
        async with listed(ran, "runs", (120, 40)) as (looker, screen):
            gate, came = threading.Event(), []
            screen.ask("late", lambda data: gate.wait(20), came.append, on_top=True)
            looker.app.go("compare")
            gate.set()
            await looker.pilot.pause(0.5)
            assert came == []
            looker.app.go("runs")
            screen.ask("late", lambda data: gate.wait(20), came.append, on_top=True)
            await looker.see(lambda: came == [True])

    asyncio.run(walk())


def test_what_is_done_on_a_screen_that_is_left_is_said_and_can_be_undone(ran_copy: Path) -> None:
    async def walk() -> None:
        async with listed(ran_copy, "runs", (120, 40)) as (looker, screen):
            await looker.press("enter")
            await looker.see(lambda: isinstance(looker.app.screen, RunScreen))
            gate, undone = threading.Event(), []
            over = looker.app.screen
            assert isinstance(over, RunScreen)
            over.act("a thing was done", lambda data: gate.wait(20), undo=lambda data: undone.append(1))
            await looker.press("escape")
            assert looker.app.screen is screen
            gate.set()
            await looker.see("a thing was done; u undoes it")
            await looker.press("u")
            await looker.see(lambda: undone == [1])

    asyncio.run(walk())


def test_an_undo_that_fails_can_be_tried_again(ran_copy: Path) -> None:
    tries = []

    def undo(data: object) -> None:
        tries.append(1)
        if len(tries) == 1:
            raise UserError("the home can't be written")

    async def walk() -> None:
        async with looking(ran_copy) as looker:
            looker.app.did("a thing was done", undo)
            await looker.press("u")
            await looker.see("the home can't be written")
            await looker.press("u")
            await looker.see("undone: a thing was done")
            await looker.press("u")
            await looker.see("nothing to undo")
            assert len(tries) == 2

    asyncio.run(walk())


def test_the_digit_of_a_list_leads_to_it_from_what_lies_over_it(ran: Path) -> None:
    async def walk() -> None:
        async with looking(ran) as looker:
            await looker.press("6")
            await looker.see(lambda: isinstance(looker.app.screen, RunsScreen) and bool(looker.app.screen.table.ids))
            await looker.press("enter")
            await looker.see(lambda: isinstance(looker.app.screen, RunScreen))
            await looker.press("7")
            screen = looker.app.screen
            assert isinstance(screen, CompareScreen)
            await looker.see(lambda: screen._pivot is not None and screen.grid.display)
            await looker.press("down", "enter")  # the runs of that cell, not the run that was open there
            await looker.see(lambda: isinstance(looker.app.screen, RunsScreen) and bool(looker.app.screen.where))
            await looker.press("enter", "6")
            await looker.see(lambda: isinstance(looker.app.screen, ListScreen))

    asyncio.run(walk())


def test_classes_that_follow_fast_upon_one_another_end_at_the_last(ran: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def walk() -> None:
        async with looking(ran) as looker:
            await looker.press("5")
            await looker.see(lambda: isinstance(looker.app.screen, ListScreen) and bool(looker.app.screen.table.ids))
            await looker.press("enter")
            await looker.see(
                lambda: isinstance(looker.app.screen, GalleryScreen) and looker.app.screen.album is not None
            )
            screen = looker.app.screen
            assert isinstance(screen, GalleryScreen)
            shown: list[int] = []
            show = screen._show_class
            monkeypatch.setattr(screen, "_show_class", lambda **how: (shown.append(screen.label), show(**how)))
            screen._go(1)
            screen._go(2)
            screen._go(3)
            await looker.pilot.pause(0.5)
            assert shown == [1, 2, 3]
            assert screen.label == 3

    asyncio.run(walk())


def test_a_table_that_cannot_be_made_says_why_and_lets_one_filter(ran: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tui.screens.compare import read as compare_read

    read = compare_read.read_table

    def refuse(data: object, where: str) -> object:
        if not where:
            raise UserError("runs were evaluated on different images", hint="compare one set at a time")
        return read(data, where)  # type: ignore[arg-type]

    monkeypatch.setattr(compare_read, "read_table", refuse)

    async def walk() -> None:
        async with looking(ran) as looker:
            await looker.press("7")
            await looker.see("evaluated on different images")
            await looker.press("slash")
            await looker.type("shots=2")
            await looker.press("enter")
            await looker.see("real-only")

    asyncio.run(walk())
