"""The comparison shows the command line's numbers; each of its keys does what it says."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from datadream.home import control, state
from datadream.home.layout import Home
from datadream.jobs import follow, leader, spawn
from datadream.jobs.follow import open_jobs
from datadream.report import collect
from datadream.report.judge import RUNS_MAX
from datadream.report.pivot import Pivot
from datadream.report.tables import top1
from store import index
from tests.conftest import run_cli
from tests.runners import until
from tests.tui.looking import SIZES, Looker, looking
from tui.screens.compare.read import next_seeds
from tui.screens.compare.screen import CompareScreen
from tui.screens.shared.error import ErrorScreen


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No runner is started, and no terminal multiplexer is asked."""
    monkeypatch.setattr(spawn, "ensure_runner", lambda home: None)
    for name in ("TMUX", "STY"):
        monkeypatch.delenv(name, raising=False)


def screen(looker: Looker) -> CompareScreen:
    assert isinstance(looker.app.screen, CompareScreen)
    return looker.app.screen


async def opened(looker: Looker) -> None:
    await looker.press("7")
    await looker.see("datadream-cls")
    await looker.see(lambda: screen(looker)._judged != set() and screen(looker)._cell is not None)


async def at_end(looker: Looker) -> None:
    """The cursor on the last row, and what its keys would do known."""
    await looker.press("G")
    await looker.see(lambda: screen(looker)._cell is not None)


@pytest.mark.parametrize("size", SIZES)
def test_it_shows_the_numbers_of_the_command(ran: Path, size: tuple[int, int]) -> None:
    plain = json.loads(run_cli("compare", "--format", "json", home=ran).stdout)

    async def walk() -> None:
        async with looking(ran, size) as looker:
            await opened(looker)
            pivot = screen(looker)._pivot
            assert pivot is not None
            by_id = {row.run_ids[0]: row for row in pivot.table}
            assert set(by_id) == {row["run_ids"][0] for row in plain}
            for row in plain:
                shown = by_id[row["run_ids"][0]]
                assert (shown.mean, shown.std, shown.seeds) == (row["mean"], row["std"], row["seeds"])
                line = next(line for line in looker.lines() if top1(shown) in line)
                assert f"{100 * row['mean']:.1f}" in line
            best = max(plain, key=lambda row: row["mean"])
            assert any("*" in line and f"{100 * best['mean']:.1f} [" in line for line in looker.lines())

    asyncio.run(walk())


def test_the_numbers_are_drawn_beside_the_table_where_there_is_room(ran: Path) -> None:
    async def walk() -> None:
        async with looking(ran, (120, 40)) as looker:
            await opened(looker)
            pivot = screen(looker)._pivot
            assert pivot is not None
            found = []
            for i, row in enumerate(cells[0].row for cells in pivot.cells):
                assert row is not None
                line = next(line for line in looker.lines() if shown_label(pivot, i) in line)
                assert 0 <= line.index("├") <= line.index("●") <= line.index("┤")
                found.append((row.mean, line.index("●")))
            assert [place for _, place in sorted(found)] == sorted(place for _, place in found)
            await looker.pilot.resize_terminal(60, 24)
            await looker.see(lambda: "●" not in looker.text())

    asyncio.run(walk())


def shown_label(pivot: Pivot, i: int) -> str:
    return f" {pivot.row_label(i)} "


@pytest.mark.parametrize("size", SIZES)
def test_views_follow_each_other_and_escape_comes_back(ran: Path, size: tuple[int, int]) -> None:
    async def walk() -> None:
        async with looking(ran, size) as looker:
            await opened(looker)
            await at_end(looker)
            await looker.press("v")
            await looker.see("Compare › Against real-only, and notes")
            await looker.see("real+synth − real-only")
            await looker.press("v")
            await looker.see("Compare › Accuracy over shots")
            await looker.press("m")
            await looker.see("choose a cell first")
            await looker.press("v")
            await looker.see("Compare › Accuracy over images per class")
            await looker.press("v")
            await looker.see("McNemar p =")
            await looker.press("escape")
            await looker.see("Compare › Table")
            await looker.press("v", "v", "v", "v", "v")
            await looker.see("Compare › Table")

    asyncio.run(walk())


@pytest.mark.parametrize("size", SIZES)
def test_two_marked_runs_are_compared(ran: Path, size: tuple[int, int]) -> None:
    ids = sorted(path.stem for path in (ran / "runs").glob("*.json"))[:2]

    async def walk() -> None:
        async with looking(ran, size) as looker:
            looker.app.compare_runs(ids)
            await looker.see("McNemar p =")
            for run_id in ids:
                assert run_id[:8] in looker.text()
            assert "Settings that differ" in looker.text()

    asyncio.run(walk())


@pytest.mark.parametrize("size", SIZES)
def test_rows_and_columns_are_chosen_and_kept(ran_copy: Path, size: tuple[int, int]) -> None:
    async def walk() -> None:
        async with looking(ran_copy, size) as looker:
            await opened(looker)
            await looker.press("r")
            await looker.see("Rows: one for each")
            await looker.press("j", "space", "enter")  # data goes
            await looker.see("Columns: one for each")
            await looker.press("g", "home", "space", "enter")  # and comes back as columns, beside shots
            await looker.see("– never run")
            found = screen(looker)
            assert (found._rows, found._columns) == (("method",), ("data", "shots"))
            assert found.command("rows") == "datadream compare --pivot method,data+shots"
            await looker.press("right")
            await looker.see(lambda: found._cell is not None)
            await looker.press("l", "h")
            await looker.see(lambda: found._cell is not None)

    asyncio.run(walk())
    assert json.loads((ran_copy / "tui.json").read_text())["compare"]["rows"] == ["method"]


@pytest.mark.parametrize("size", SIZES)
def test_a_filter_leaves_what_it_says_and_escape_drops_it(ran: Path, size: tuple[int, int]) -> None:
    async def walk() -> None:
        async with looking(ran, size) as looker:
            await opened(looker)
            await looker.press("slash")
            await looker.see("Filter runs")
            await looker.type("data=real")
            await looker.press("enter")
            await looker.see(lambda: "name-only" not in looker.text())
            assert "real-only" in looker.text()
            assert screen(looker).command("filter").endswith(" --where data=real")
            await looker.press("escape")
            await looker.see("name-only")
            await looker.press("slash")
            await looker.type("colour=red")
            await looker.press("enter")
            await looker.see("unknown column 'colour'")
            await looker.see("name-only")
            await looker.press("slash")
            await looker.type("shots>99")
            await looker.press("enter")
            await looker.see("no matching run")
            await looker.press("m")
            assert "no matching run" in looker.toasts()

    asyncio.run(walk())


@pytest.mark.parametrize("size", SIZES)
def test_two_more_seeds_are_queued_as_the_command_would_and_undone(ran_copy: Path, size: tuple[int, int]) -> None:
    async def walk() -> None:
        async with looking(ran_copy, size) as looker:
            await opened(looker)
            await at_end(looker)
            line = screen(looker).command("seeds")
            assert line.startswith("datadream run --detach datadream-cls --source digits --shots 2 --seeds 5,10")
            await looker.press("a")
            await looker.see("Queue 6 jobs for seeds 5, 10?")
            await looker.press("n")
            assert not open_jobs(Home(ran_copy))
            await looker.press("a")
            await looker.see("Queue 6 jobs for seeds 5, 10?")
            await looker.press("y")
            await looker.see("6 jobs queued; u undoes it")
            assert len(open_jobs(Home(ran_copy))) == 6
            assert looker.app.log_of_commands[-1][1] == line
            await looker.press("u")
            await looker.see("undone: 6 jobs queued")

    asyncio.run(walk())
    home = Home(ran_copy)  # without a runner they are only asked to stop
    assert all(state.read_control(home, job_id).cancel for job_id in open_jobs(home))


def test_the_command_it_shows_asks_for_the_same_jobs(ran_copy: Path) -> None:
    lines: list[str] = []

    async def walk() -> None:
        async with looking(ran_copy) as looker:
            await opened(looker)
            await at_end(looker)
            lines.append(screen(looker).command("seeds"))
            await looker.press("a")
            await looker.see("Queue 6 jobs")
            await looker.press("y")
            await looker.see("6 jobs queued")

    asyncio.run(walk())
    again = run_cli(*shlex.split(lines[0])[1:], home=ran_copy)
    assert again.returncode == 0, again.stderr
    assert len(open_jobs(Home(ran_copy))) == 6


@pytest.mark.parametrize("size", SIZES)
def test_exactly_what_a_cell_lacks_is_queued(ran_copy: Path, size: tuple[int, int]) -> None:
    """Another seed of one method makes every other row lack it."""
    made = run_cli("run", "zero-shot", "--source", "digits", "--shots", 2, "--seeds", 5, "-o", "classify.steps=4",
                   "-o", "classify.batch_size=16", home=ran_copy)  # fmt: skip
    assert made.returncode == 0, made.stderr
    until(lambda: not leader.is_led(Home(ran_copy)))

    async def walk() -> None:
        async with looking(ran_copy, size) as looker:
            await opened(looker)
            await looker.see("lacks seed 5")
            await looker.see("n=2")
            await looker.press("m")
            await looker.see("no missing seeds in this cell")
            await at_end(looker)
            await looker.press("m")
            await looker.see("Queue 3 jobs for seed 5?")
            await looker.press("y")
            await looker.see("3 jobs queued")
            await at_end(looker)
            await looker.press("m")
            await looker.see("already queued")
            await looker.press("escape")  # the question was open before that was known
            for job in open_jobs(Home(ran_copy)):
                control.cancel(Home(ran_copy), job)  # and there is no runner to take it off the queue
            await at_end(looker)
            await looker.press("m")
            await looker.see("Queue 3 jobs for seed 5?")
            await looker.press("y")
            await looker.see(lambda: len(follow.waiting(Home(ran_copy), open_jobs(Home(ran_copy)))) == 3)

    asyncio.run(walk())
    assert len(open_jobs(Home(ran_copy))) == 3


@pytest.mark.parametrize("size", SIZES)
def test_exports_are_written_and_their_paths_told(ran_copy: Path, size: tuple[int, int]) -> None:
    async def walk() -> None:
        async with looking(ran_copy, size) as looker:
            await opened(looker)
            await looker.press("E")
            await looker.see("Export as")
            await looker.press("down", "space", "down", "space", "down", "space", "down", "space", "enter")
            await looker.see("written: ")
            lines = looker.app.log_of_commands[-1][1].splitlines()
            assert lines[1] == "datadream compare --pivot method+data,shots --format latex --output compare.tex"
            assert len(lines) == 5

    asyncio.run(walk())
    found = sorted(path.suffix for path in (ran_copy / "exports").iterdir())
    assert found == [".csv", ".html", ".md", ".png", ".tex"]


def test_the_command_it_shows_prints_the_same_table(ran_copy: Path) -> None:
    lines: list[str] = []

    async def walk() -> None:
        async with looking(ran_copy) as looker:
            await opened(looker)
            await looker.press("slash")
            await looker.type("data=real")
            await looker.press("enter")
            await looker.see(lambda: "name-only" not in looker.text())
            await looker.see(lambda: len(screen(looker)._judged) == len(screen(looker)._table or ()))
            lines.extend(screen(looker).command(action) for action in ("view", "rows", "export", "copy"))
            await looker.press("y")
            await looker.see("clipboard.txt")

    asyncio.run(walk())
    turned = "datadream compare --pivot method+data,shots --where data=real"
    assert lines == [turned, turned, f"{turned} --format html --output compare.html", f"{turned} --format md"]
    again = run_cli(*shlex.split(lines[3])[1:], home=ran_copy)
    assert again.stdout.strip() == (ran_copy / "exports" / "clipboard.txt").read_text().strip()


@pytest.mark.parametrize("size", SIZES)
def test_the_table_is_copied_as_markdown(ran_copy: Path, size: tuple[int, int]) -> None:
    async def walk() -> None:
        async with looking(ran_copy, size) as looker:
            await opened(looker)
            await looker.press("y")
            await looker.see("clipboard.txt")

    asyncio.run(walk())
    assert "| datadream-cls" in (ran_copy / "exports" / "clipboard.txt").read_text()


@pytest.mark.parametrize("size", SIZES)
def test_images_and_runs_of_a_cell_are_opened(
    ran: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened_: list[str] = []

    async def walk() -> None:
        async with looking(ran, size) as looker:
            monkeypatch.setattr(type(looker.app), "open_gallery", lambda self, found: opened_.append(found))
            await opened(looker)
            await looker.press("i")
            await looker.see("no synthetic images in this cell")
            await at_end(looker)
            await looker.press("i")
            assert screen(looker).command("images") == f"datadream synth show {opened_[0]}"
            await looker.press("enter")
            await looker.see(lambda: looker.app.current_mode == "runs")
            await looker.see(lambda: len(looker.app.screen.table.ids) == 1)  # type: ignore[attr-defined]

    asyncio.run(walk())


@pytest.mark.parametrize("size", SIZES)
def test_an_empty_home_says_what_to_do(home: Home, size: tuple[int, int]) -> None:
    async def walk() -> None:
        async with looking(home, size) as looker:
            await looker.press("7")
            await looker.see("no results yet")
            await looker.press("m", "a", "E", "y", "i", "enter", "v", "v", "v", "v", "v")
            await looker.see("no results yet")

    asyncio.run(walk())


def test_validation_runs_are_shown_only_when_asked_for(ran_copy: Path) -> None:
    options = ("-o", "classify.evaluate=val", "-o", "classify.steps=4", "-o", "classify.batch_size=16")
    made = run_cli("run", "zero-shot", "--set", "d2", *options, home=ran_copy)
    assert made.returncode == 0, made.stderr

    def splits(looker: Looker) -> set[str]:
        return {row.split for row in screen(looker)._table or ()}

    async def filtered(looker: Looker, text: str) -> None:
        await looker.press("slash")
        await looker.type(text)
        await looker.press("enter")

    async def walk() -> None:
        async with looking(ran_copy) as looker:
            await opened(looker)
            assert splits(looker) == {"test"}
            await filtered(looker, "split=val")
            await looker.see(lambda: splits(looker) == {"val"})
            await looker.see("filter split=val")
            assert screen(looker).command("view").endswith(" --where split=val")
            await looker.press("escape")
            await looker.see(lambda: splits(looker) == {"test"})
            await filtered(looker, "settings~evaluate")  # leaves nothing of the test images
            await looker.see(lambda: splits(looker) == {"val"})
            assert screen(looker).command("view").endswith(" --where 'settings~evaluate' --split val")

    asyncio.run(walk())


@pytest.mark.parametrize("size", SIZES[-1:])
def test_a_hundred_thousand_runs_are_compared_and_few_files_read(
    many: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every key works; the predictions, which a fabricated home lacks, are made up."""
    questions: list[int] = []

    def answers(home: Home, ids: Iterable[str]) -> dict[str, collect.Answered]:
        wanted = list(ids)
        questions.append(len(wanted))
        return {run: collect.Answered("", np.array([letter < "8" for letter in run])) for run in wanted}

    monkeypatch.setattr(collect, "answers", answers)
    monkeypatch.setattr(index, "recheck", lambda *_, **__: 0)  # there are no files behind these rows

    async def walk() -> None:
        async with looking(many, size) as looker:
            await looker.press("7")
            await looker.see("1 shot data0")
            await looker.see(lambda: any(found.without for found in screen(looker)._verdicts))
            await looker.see("256 rows are not tested")
            found = screen(looker)
            assert found._pivot is not None and len(found._pivot.column_keys) == 30
            await looker.press("G", "pageup", "pagedown", "g", "l", "h", "j", "k", "down", "up", "right", "left")
            for _ in found._pivot.column_keys:
                await looker.press("right")
            assert found.grid.column == 29
            await looker.see(lambda: len(found._judged) == len(found._table or ()))
            await looker.press("m", "a", "i")
            await looker.press("v", "v")
            await looker.see("Compare › Accuracy over shots")
            await looker.press("v", "v", "v", "escape")
            await looker.see("Compare › Table")
            await looker.press("r", "escape", "E", "escape", "y")
            await looker.see("clipboard.txt")
            await looker.press("slash")
            await looker.type("source=data3")
            await looker.press("enter")
            await looker.see("filter source=data3")
            await looker.press("enter")
            await looker.see(lambda: looker.app.current_mode == "runs")
            assert not any(isinstance(found, ErrorScreen) for found in looker.app.screen_stack)

    asyncio.run(walk())
    assert max(questions) <= RUNS_MAX and sum(questions) <= 2 * RUNS_MAX


def test_seeds_come_in_the_paper_s_order() -> None:
    assert next_seeds([]) == [1, 5]
    assert next_seeds([1]) == [5, 10]
    assert next_seeds([1, 5, 10]) == [2, 3]
    assert next_seeds([1, 2, 3, 4, 5, 10]) == [6, 7]
