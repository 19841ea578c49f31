"""The app as a whole: modes, keys, themes, trouble, and what it never does."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from datadream.home import queue
from datadream.home.layout import Home
from datadream.jobs import spawn
from tests.conftest import run_cli
from tests.runners import kill_all
from tests.tui.looking import SIZES, looking
from tui.actions import ACTIONS, SCREENS, actions
from tui.app import DataDreamApp, screen_class
from tui.drawing.themes import THEMES
from tui.help import document
from tui.screens.shared.error import ErrorScreen
from tui.widgets.key_line import KeyLine

ROOT = Path(__file__).parents[2]


def test_no_screen_has_a_key_twice_and_every_action_a_plain_one() -> None:
    for screen in SCREENS:
        keys = Counter(key for action in (*actions(screen), *actions("app")) for key in action.keys.split(","))
        if screen != "app":
            assert [key for key, count in keys.items() if count > 1] == []
    for action in ACTIONS:
        assert any("+" not in key for key in action.keys.split(",")), action.name


def test_the_docs_table_of_keys_is_the_apps() -> None:
    assert document() in (ROOT / "docs" / "tui.md").read_text(encoding="utf-8")


def test_every_action_has_its_method() -> None:

    for action in ACTIONS:
        if action.screen == "app":
            assert hasattr(DataDreamApp, f"do_{action.id}") or action.id in DataDreamApp.MODES, action.name
            continue
        assert callable(getattr(screen_class(action.screen), f"do_{action.id}", None)), action.name


@pytest.mark.parametrize("size", SIZES)
def test_digits_go_to_every_screen_and_escape_comes_back(ran: Path, size: tuple[int, int]) -> None:
    async def walk() -> None:
        async with looking(ran, size) as looker:
            for key, action in [(str(i), actions("app")[i - 1]) for i in range(1, 10)]:
                await looker.press(key)
                await looker.see(SCREENS[action.id])
                assert looker.app.current_mode == action.id
                assert max(map(len, looker.lines())) <= size[0]
            await looker.press("escape")
            assert looker.app.current_mode == "dashboard"
            await looker.press("escape", "escape")
            assert looker.app.is_running

    asyncio.run(walk())


def test_the_line_of_keys_cuts_no_key_in_two_and_a_click_presses_it(ran: Path) -> None:
    async def walk() -> None:
        async with looking(ran, (80, 24)) as looker:
            await looker.see("? Help")
            await looker.press("6")
            await looker.see("Runs")
            await looker.see(lambda: looker.lines()[-1].endswith("…"))
            for width in (61, 47):
                await looker.pilot.resize_terminal(width, 24)
                await looker.see(lambda width=width: len(looker.lines()[-1]) <= width)  # type: ignore[misc]
                labels = {action.label for action in (*actions("runs"), *actions("app"))}
                entries = looker.lines()[-1].removesuffix("…").strip().split("  ")
                assert {entry.split(" ", 1)[1] for entry in entries} <= labels
            await looker.pilot.resize_terminal(80, 24)
            await looker.see("? Help")
            await looker.pilot.click(KeyLine, offset=(looker.lines()[-1].index("? Help"), 0))
            await looker.see("Keys: Runs")

    asyncio.run(walk())


def run_apart(code: str, *arguments: Path) -> None:
    """`code` in an interpreter of its own, which must end well."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert result.returncode == 0, result.stderr[-3000:]


def test_the_app_imports_no_torch_and_its_start_no_database() -> None:
    code = (
        "import sys\nimport tui.app, tui.main\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'open_clip', 'sklearn', 'numpy', 'PIL', 'sqlmodel'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    run_apart(code)


def test_no_screen_brings_torch(ran: Path) -> None:
    code = (
        "import asyncio, sys\nfrom pathlib import Path\nfrom tests.tui.looking import looking\n"
        "async def walk():\n"
        "    async with looking(Path(sys.argv[1])) as looker:\n"
        "        for key in '123456789':\n"
        "            await looker.press(key)\n"
        "            await asyncio.sleep(0.5)\n"
        "asyncio.run(walk())\n"
        "assert not {'torch', 'diffusers', 'transformers', 'open_clip'} & set(sys.modules)\n"
    )
    run_apart(code, ran)


def test_keys_pressed_before_the_database_is_imported_are_answered(ran_copy: Path) -> None:
    """Poller and questions import it at once; a slow import makes what is a race on a busy machine certain."""
    code = (
        "import asyncio, importlib.machinery, sys, time\n"
        "from tests.tui.looking import Looker\nfrom tui.app import DataDreamApp\nfrom pathlib import Path\n"
        "load = importlib.machinery.SourceFileLoader.exec_module\n"
        "def slow(self, module):\n"
        "    time.sleep(3 * (module.__name__ == 'sqlalchemy.util'))\n"
        "    load(self, module)\n"
        "importlib.machinery.SourceFileLoader.exec_module = slow\n"
        "async def walk():\n"
        "    app = DataDreamApp(Path(sys.argv[1]))\n"
        "    async with app.run_test(size=(120, 40)) as pilot:\n"
        "        looker = Looker(app, pilot)\n"
        "        await looker.see(lambda: 'sqlalchemy' in sys.modules)\n"
        "        assert 'sqlalchemy.engine' not in sys.modules\n"
        "        await pilot.press('5')\n"
        "        await looker.see('1 of 3')\n"
        "asyncio.run(walk())\n"
    )
    run_apart(code, ran_copy)


def test_help_palette_and_commands(ran: Path) -> None:
    async def walk() -> None:
        async with looking(ran) as looker:
            await looker.press("question_mark")
            await looker.see("Pause queue")
            await looker.press("escape", "at")
            await looker.see("datadream queue pause")
            await looker.press("escape", "colon")
            await looker.type("accuracy")
            await looker.see("The accuracy table")
            await looker.press("down", "enter")
            await looker.see(lambda: looker.app.current_mode == "compare")

    asyncio.run(walk())


def test_keys_can_be_remapped_and_a_wrong_name_is_told(ran_copy: Path) -> None:
    (ran_copy / "tui.json").write_text('{"keys": {"app.runs": "f", "app.nonsense": "g"}}')

    async def walk() -> None:
        async with looking(ran_copy) as looker:
            await looker.press("6")
            assert looker.app.current_mode == "dashboard"
            await looker.press("f")
            assert looker.app.current_mode == "runs"
            assert "app.nonsense" in looker.toasts()

    asyncio.run(walk())


def test_themes_follow_one_another_and_are_kept(ran_copy: Path) -> None:
    async def walk() -> None:
        async with looking(ran_copy) as looker:
            seen = [looker.app.theme]
            for _ in THEMES[1:]:
                await looker.press("T")
                seen.append(looker.app.theme)
            assert seen == [theme.name for theme in THEMES]
        async with looking(ran_copy) as looker:
            assert looker.app.theme == THEMES[-1].name

    asyncio.run(walk())


def test_the_queue_is_paused_and_undone(ran_copy: Path) -> None:
    home = Home(ran_copy)

    async def walk() -> None:
        async with looking(home) as looker:
            await looker.press("P")
            await looker.see("queue paused")
            assert queue.read_settings(home).paused
            await looker.press("u")
            await looker.see("undone")
            assert not queue.read_settings(home).paused
            await looker.press("at")
            await looker.see("datadream queue pause")

    asyncio.run(walk())
    kill_all(home)


def test_frozen_screens_stay_while_reading_goes_on(home: Home) -> None:
    async def walk() -> None:
        async with looking(home) as looker:
            await looker.press("z")
            await looker.see("frozen")
            assert run_cli("rehearse", "--steps", 3, "--detach", home=home.path).returncode == 0
            await looker.see(lambda: bool(looker.app.snapshot and looker.app.snapshot.finished))
            assert "rehears" not in looker.text().lower()
            await looker.press("z")
            await looker.see("✓ done")

    asyncio.run(walk())
    kill_all(home)


def test_an_exception_in_a_screen_is_a_panel_with_a_way_back(ran_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tui.screens.lists import runs

    def broken(self: object) -> None:
        raise ZeroDivisionError("the canary")

    async def walk() -> None:
        async with looking(ran_copy) as looker:
            with monkeypatch.context() as patch:
                patch.setattr(runs.RunsScreen, "do_open", broken)
                await looker.press("6")
                await looker.see("real-only")
                await looker.press("enter")
                await looker.see("the canary")
                assert isinstance(looker.app.screen, ErrorScreen)
            await looker.press("escape")
            await looker.see("Dashboard")
            await looker.press("6")
            await looker.see("real-only")
        assert "ZeroDivisionError: the canary" in (ran_copy / "tui.log").read_text()

    asyncio.run(walk())


def test_a_registry_of_a_newer_version_is_a_banner(ran_copy: Path) -> None:
    with closing(sqlite3.connect(ran_copy / "registry.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()

    async def walk() -> None:
        async with looking(ran_copy, (80, 24)) as looker:
            await looker.see("written by a newer DataDream")
            await looker.press("6")
            await looker.press("1")
            assert looker.app.is_running

    asyncio.run(walk())


def test_a_locked_registry_stops_nothing(ran_copy: Path) -> None:
    async def walk() -> None:
        with closing(sqlite3.connect(ran_copy / "registry.db", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            async with looking(ran_copy) as looker:
                await looker.press("6", "7", "1")
                assert looker.app.is_running
            other.execute("ROLLBACK")

    asyncio.run(walk())


def test_a_registry_deleted_while_open_comes_back(ran_copy: Path) -> None:
    async def walk() -> None:
        async with looking(ran_copy) as looker:
            await looker.press("6")
            await looker.see("real-only")
            for tail in ("", "-wal", "-shm"):
                (ran_copy / f"registry.db{tail}").unlink(missing_ok=True)
            looker.app.poke()
            await looker.see(lambda: (ran_copy / "registry.db").exists())
            await looker.press("1", "6")
            await looker.see("real-only")

    asyncio.run(walk())


def test_a_home_that_vanishes_is_told(ran_copy: Path) -> None:
    async def walk() -> None:
        async with looking(ran_copy) as looker:
            await looker.press("6")
            while ran_copy.exists():  # a file that is made meanwhile keeps its folder
                shutil.rmtree(ran_copy, ignore_errors=True)
            looker.app.poke()
            await looker.see("the home no longer exists")
            await looker.press("7", "1")
            assert looker.app.is_running

    asyncio.run(walk())


def test_a_dead_runner_is_a_banner_and_one_key_starts_it(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(spawn, "ensure_runner", lambda home: None)
        from datadream.plans import enqueue
        from tests.runners import rehearsals

        specs = rehearsals(1, steps=2)
        enqueue.enqueue(home, specs, {})

    async def walk() -> None:
        async with looking(home) as looker:
            await looker.see("no runner for the waiting jobs")
            await looker.press("U")
            await looker.see("✓ done")

    asyncio.run(walk())
    kill_all(home)


def test_small_terminals_say_so_and_come_back(ran: Path) -> None:
    async def walk() -> None:
        async with looking(ran, (80, 24)) as looker:
            for size in ((20, 5), (39, 30), (100, 9)):
                await looker.pilot.resize_terminal(*size)
                await looker.see("too small" if size[0] > 20 else "terminal")
            await looker.pilot.resize_terminal(80, 24)
            await looker.see("Open jobs")

    asyncio.run(walk())


@pytest.mark.parametrize("term", ["dumb", "", None])
def test_without_a_terminal_it_is_a_sentence(term: str | None, tmp_path: Path) -> None:
    environment = {**os.environ, "TERM": term or ""}
    result = subprocess.run(
        [sys.executable, "-m", "tui.main", "--home", str(tmp_path / "h")],
        capture_output=True, text=True, env=environment, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert result.returncode == 2
    assert re.fullmatch(r"datadream-tui: [^\n]+\n", result.stderr)
