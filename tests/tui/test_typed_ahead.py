"""A slash where there is nothing to filter: what is typed after it does nothing at all."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from datadream.home.layout import open_home
from datadream.jobs import follow
from tests.tui.looking import looking
from tui.screens.shared.modals import AskText

TYPED = ["m", "n", "q", "X", "D", "R", "g", "U", "P", "d", "1", "8", "colon", "question_mark", "space", "u", "z", "at"]


@pytest.mark.parametrize(
    "way",
    [("1",), ("8",), ("9",), ("5", "enter"), ("6", "enter"), ("4", "i")],
    ids=["dashboard", "new", "lineage", "gallery", "run", "shots"],
)
def test_letters_after_a_dead_slash_are_no_keys(ran_copy: Path, way: tuple[str, ...]) -> None:
    home = open_home(ran_copy)

    async def go() -> None:
        async with looking(ran_copy) as looker:
            for key in way:
                await looker.press(key)
                await looker.see(lambda: not looker.app.workers)
                await looker.pilot.pause()
            if way == ("8",):
                looker.app.screen.set_focus(None)  # a field takes letters, the slash among them
                await looker.see("no methods given")  # what it reads comes later than it
            screen, before = looker.app.screen, looker.text()
            files = sorted(path for path in ran_copy.rglob("*.json"))
            await looker.press("slash", *TYPED)
            assert isinstance(looker.app.screen, AskText)
            assert "nothing to filter" in looker.text() and "mnqXDRgUPd18:? uz@" in looker.text()
            await looker.press("enter")
            assert looker.app.screen is screen and looker.text() == before
            await looker.press("slash", "n", "escape")
            assert looker.app.screen is screen
            assert files == sorted(path for path in ran_copy.rglob("*.json"))
            assert follow.open_jobs(home) == [] and not looker.toasts()

    asyncio.run(go())


def test_a_search_that_can_not_be_yet_takes_what_is_typed_too(ran_copy: Path) -> None:
    async def go() -> None:
        async with looking(ran_copy) as looker:
            await looker.press("7")
            await looker.see(lambda: not looker.app.workers)
            screen = looker.app.screen
            screen.why_not = lambda action: "not now" if action == "filter" else ""  # type: ignore[attr-defined]
            await looker.press("slash", "n", "q", "8")
            assert isinstance(looker.app.screen, AskText) and "not now" in looker.text() and "nq8" in looker.text()
            await looker.press("escape")
            assert looker.app.screen is screen

    asyncio.run(go())


def test_a_list_takes_what_is_typed_in_the_same_moment(ran: Path) -> None:
    async def go() -> None:
        async with looking(ran) as looker:
            await looker.pilot.press("6", "slash", *"method")
            await looker.see("method")
            box = looker.app.screen.query_one("#filter")
            assert box.value == "method" and box.has_focus  # type: ignore[attr-defined]

    asyncio.run(go())
