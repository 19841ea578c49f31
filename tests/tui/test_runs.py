"""The list of runs and a run of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from datadream.home.layout import open_home
from tests.tui.lists import walk
from tests.tui.looking import SIZES, Looker
from tui.drawing import glyphs
from tui.screens.lists.listing import ListScreen
from tui.screens.run.screen import RunScreen


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
        assert "mark two runs" in looker.toasts() and "first; 1 marked" in looker.toasts() and not compared
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
        await looker.see("scores are missing")

    walk(ran_copy, "runs", (120, 40), steps)
