"""The comparison shows the command line's numbers; each of its keys does what it says."""

from __future__ import annotations

import asyncio
import json
import shlex
from pathlib import Path

import pytest

from datadream.jobs import spawn, state
from datadream.jobs.follow import open_jobs
from datadream.jobs.home import Home
from datadream.report.tables import top1
from tests.conftest import run_cli
from tests.tui.looking import SIZES, Looker, looking
from tui.screens.compare import CompareScreen
from tui.screens.compare_read import next_seeds


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


@pytest.mark.parametrize("size", SIZES)
def test_views_follow_each_other_and_escape_comes_back(ran: Path, size: tuple[int, int]) -> None:
    async def walk() -> None:
        async with looking(ran, size) as looker:
            await opened(looker)
            await at_end(looker)
            await looker.press("v")
            await looker.see("Compare › Accuracy over shots")
            await looker.press("m")
            await looker.see("choose a cell of the table first")
            await looker.press("v")
            await looker.see("Compare › Accuracy over images a class")
            await looker.press("v")
            await looker.see("McNemar p =")
            await looker.press("escape")
            await looker.see("Compare › Table")
            await looker.press("v", "v", "v", "v")
            await looker.see("Compare › Table")

    asyncio.run(walk())


def test_two_marked_runs_are_compared(ran: Path) -> None:
    ids = sorted(path.stem for path in (ran / "runs").glob("*.json"))[:2]

    async def walk() -> None:
        async with looking(ran) as looker:
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


def test_a_filter_leaves_what_it_says_and_escape_drops_it(ran: Path) -> None:
    async def walk() -> None:
        async with looking(ran) as looker:
            await opened(looker)
            await looker.press("slash")
            await looker.see("Which runs count")
            await looker.type("data=real")
            await looker.press("enter")
            await looker.see(lambda: "name-only" not in looker.text())
            assert "real-only" in looker.text()
            assert screen(looker).command("filter") == "datadream runs ls --where data=real"
            await looker.press("escape")
            await looker.see("name-only")
            await looker.press("slash")
            await looker.type("colour=red")
            await looker.press("enter")
            await looker.see("a run has no 'colour' to ask by")
            await looker.see("name-only")
            await looker.press("slash")
            await looker.type("shots>99")
            await looker.press("enter")
            await looker.see("no run fits the filter")
            await looker.press("m")
            assert "no run fits the filter" in looker.toasts()

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


def test_exactly_what_a_cell_lacks_is_queued(ran_copy: Path) -> None:
    """Another seed of one method makes every other row lack it."""
    made = run_cli("run", "zero-shot", "--source", "digits", "--shots", 2, "--seeds", 5, "-o", "classify.steps=4",
                   "-o", "classify.batch_size=16", home=ran_copy)  # fmt: skip
    assert made.returncode == 0, made.stderr

    async def walk() -> None:
        async with looking(ran_copy) as looker:
            await opened(looker)
            await looker.see("lacks seed 5")
            await looker.see("n=2")
            await looker.press("m")
            await looker.see("this cell lacks no seed")
            await at_end(looker)
            await looker.press("m")
            await looker.see("Queue 3 jobs for seed 5?")
            await looker.press("y")
            await looker.see("3 jobs queued")

    asyncio.run(walk())
    assert len(open_jobs(Home(ran_copy))) == 3


def test_exports_are_written_and_their_paths_told(ran_copy: Path) -> None:
    async def walk() -> None:
        async with looking(ran_copy) as looker:
            await opened(looker)
            await looker.press("E")
            await looker.see("Export as")
            await looker.press("down", "space", "down", "space", "down", "space", "down", "space", "enter")
            await looker.see("written: ")

    asyncio.run(walk())
    found = sorted(path.suffix for path in (ran_copy / "exports").iterdir())
    assert found == [".csv", ".html", ".md", ".png", ".tex"]


def test_the_table_is_copied_as_markdown(ran_copy: Path) -> None:
    async def walk() -> None:
        async with looking(ran_copy) as looker:
            await opened(looker)
            await looker.press("y")
            await looker.see("clipboard.txt")

    asyncio.run(walk())
    assert "| datadream-cls" in (ran_copy / "exports" / "clipboard.txt").read_text()


def test_images_and_runs_of_a_cell_are_opened(ran: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened_: list[str] = []

    async def walk() -> None:
        async with looking(ran) as looker:
            monkeypatch.setattr(type(looker.app), "open_gallery", lambda self, found: opened_.append(found))
            await opened(looker)
            await looker.press("i")
            await looker.see("there are no synthetic images behind this cell")
            await at_end(looker)
            await looker.press("i")
            assert screen(looker).command("images") == f"datadream synth show {opened_[0]}"
            await looker.press("enter")
            await looker.see(lambda: looker.app.current_mode == "runs")
            await looker.see(lambda: len(looker.app.screen.table.ids) == 1)  # type: ignore[attr-defined]

    asyncio.run(walk())


def test_an_empty_home_says_what_to_do(home: Home) -> None:
    async def walk() -> None:
        async with looking(home, (80, 24)) as looker:
            await looker.press("7")
            await looker.see("no numbers yet")
            await looker.press("m", "a", "E", "y", "i", "enter", "v", "v", "v", "v")
            await looker.see("no numbers yet")

    asyncio.run(walk())


def test_seeds_come_in_the_paper_s_order() -> None:
    assert next_seeds([]) == [1, 5]
    assert next_seeds([1]) == [5, 10]
    assert next_seeds([1, 5, 10]) == [2, 3]
    assert next_seeds([1, 2, 3, 4, 5, 10]) == [6, 7]
