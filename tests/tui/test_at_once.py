"""With a disk that doesn't answer: every dialog is there at once, says that it reads, and no key goes elsewhere."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from datadream.home import labels
from datadream.home.layout import open_home
from tests.tui.lists import walk
from tests.tui.looking import Looker, looking
from tui.screens.lists.listing import ListScreen
from tui.screens.shared.modals import READING, AskText, Choose, Confirm, Panel
from tui.services import data as services


class Disk:
    """Questions to the registry, and reads of labels, wait while it is `stuck`."""

    def __init__(self) -> None:
        self._free = threading.Event()
        self._free.set()

    def stick(self) -> None:
        """Answer no more."""
        self._free.clear()

    def answer(self) -> None:
        """Answer what was asked, and all that comes."""
        self._free.set()

    def wait(self) -> None:
        """As a thread of the pool that reads."""
        assert self._free.wait(60)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    found = Disk()
    registry, read = services.Data.registry, labels.read_labels

    def slow_registry(self: services.Data) -> object:
        found.wait()
        return registry(self)

    def slow_labels(home: object, subject: str) -> labels.Labels:
        found.wait()
        return read(home, subject)  # type: ignore[arg-type]

    monkeypatch.setattr(services.Data, "registry", slow_registry)
    monkeypatch.setattr(labels, "read_labels", slow_labels)
    yield found
    found.answer()


Steps = Callable[[Looker, ListScreen], Awaitable[None]]


def test_columns_can_be_chosen_before_all_are_known(ran_copy: Path, disk: Disk) -> None:
    async def steps(looker: Looker, screen: ListScreen) -> None:
        disk.stick()
        await looker.press("c")
        assert isinstance(looker.app.screen, Choose) and "Columns" in looker.text()
        await looker.press("down", "space")
        disk.answer()
        await looker.see("classifier")
        await looker.press("enter")
        await looker.see(lambda: "state" not in [column.name for column in screen.table.columns])

    walk(ran_copy, "runs", (120, 40), steps)


def test_what_is_typed_into_a_box_that_reads_comes_after_what_it_reads(ran_copy: Path, disk: Disk) -> None:
    home = open_home(ran_copy)

    async def steps(looker: Looker, screen: ListScreen) -> None:
        run = screen.table.cursor_id
        disk.answer()
        labels.tag(home, run, ["old"])
        labels.note(home, run, "first")
        disk.stick()
        await looker.press("t")
        assert isinstance(looker.app.screen, AskText)
        assert f"Tags of run {run[:8]}" in looker.text() and READING in looker.text()
        await looker.type("new X")
        await looker.press("enter")
        assert isinstance(looker.app.screen, AskText)
        disk.answer()
        await looker.see(lambda: labels.read_labels(home, run).tags == ("X", "new", "old"))
        disk.stick()
        await looker.press("e")
        await looker.type("then q")
        assert READING in looker.text()
        disk.answer()
        await looker.see("first then q")
        await looker.press("escape")
        assert labels.read_labels(home, run).note == "first" and looker.app.screen is screen

    walk(ran_copy, "runs", (120, 40), steps)


def test_labels_that_can_not_be_read_are_a_sentence_in_the_box(ran_copy: Path) -> None:
    home = open_home(ran_copy)

    async def steps(looker: Looker, screen: ListScreen) -> None:
        path = home.label(screen.table.cursor_id)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(9))
        await looker.press("t")
        await looker.see("holds only NUL")
        await looker.type("new")
        await looker.press("enter")
        assert isinstance(looker.app.screen, AskText) and path.read_bytes() == bytes(9)
        await looker.press("escape")
        assert looker.app.screen is screen

    walk(ran_copy, "runs", (120, 40), steps)


def test_a_question_can_not_be_answered_before_it_says_how_many(ran_copy: Path, disk: Disk) -> None:
    async def steps(looker: Looker, screen: ListScreen) -> None:
        def scrolled_away() -> None:
            disk.stick()
            screen.table.forget()
            screen.table._rows.clear()  # rows that were scrolled away from are held no longer

        await looker.press("space", "space")
        scrolled_away()
        for key, deed in (("R", "Retry"), ("D", "Remove")):
            await looker.press(key)
            assert isinstance(looker.app.screen, Confirm)
            assert f"{deed} 2 jobs?" in looker.text() and READING in looker.text()
            await looker.press("y", "y")
            assert isinstance(looker.app.screen, Confirm)
            await looker.press("n")
            assert looker.app.screen is screen
        await looker.press("D")
        disk.answer()
        await looker.see("this can't be undone")
        await looker.press("n")
        scrolled_away()
        await looker.press("R")
        disk.answer()
        await looker.see("is done; to recompute it")  # nothing of it can be retried, and only leaving is left
        await looker.press("y")
        assert isinstance(looker.app.screen, Confirm)
        await looker.press("escape")

    walk(ran_copy, "jobs", (120, 40), steps)


def test_facts_and_the_gallery_are_there_before_what_they_show(ran_copy: Path, disk: Disk) -> None:
    async def steps(looker: Looker, screen: ListScreen) -> None:
        disk.stick()
        await looker.press("enter")
        assert isinstance(looker.app.screen, Panel)
        assert f"Adapter {screen.table.cursor_id[:8]}" in looker.text() and READING in looker.text()
        await looker.press("j", "k")
        disk.answer()
        await looker.see("rank")
        await looker.press("escape")
        disk.stick()
        await looker.press("i")
        assert "Few-shot sets" in looker.text()
        disk.answer()
        await looker.see("zero")

    walk(ran_copy, "adapters", (120, 40), steps)


def test_a_new_experiment_is_typed_while_its_plan_is_read(ran_copy: Path, disk: Disk) -> None:
    async def go() -> None:
        async with looking(ran_copy) as looker:
            disk.stick()
            await looker.press("8")
            assert "New experiment" in looker.text() and "Plan" in looker.text()
            await looker.press("space", "down", "space")
            disk.answer()
            await looker.see("methods (space selects)")

    asyncio.run(go())


def test_more_seeds_are_asked_for_at_once(ran_copy: Path, disk: Disk) -> None:
    async def go() -> None:
        async with looking(ran_copy) as looker:
            await looker.press("7")
            await looker.see(lambda: getattr(looker.app.screen, "_cell", None) is not None)
            from tui.screens.compare import read as compare_read

            offer = compare_read.offer

            def slow(*arguments: object) -> object:
                disk.wait()
                return offer(*arguments)  # type: ignore[arg-type]

            compare_read.offer, kept = slow, compare_read.offer  # type: ignore[assignment]
            try:
                disk.stick()
                await looker.press("a")
                assert isinstance(looker.app.screen, Confirm) and READING in looker.text()
                await looker.press("y", "q", "8")
                assert isinstance(looker.app.screen, Confirm)
                disk.answer()
                await looker.see("seeds")
                await looker.press("n")
            finally:
                compare_read.offer = kept

    asyncio.run(go())
