"""The view of a log: its keys, what it sends, and how it follows what happens to the file."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual.app import App, ComposeResult
from textual.pilot import Pilot

from tests.tui.looking import SIZES
from tui.services import log_index, log_reader
from tui.widgets.log_view import LogView


class Viewer(App[None]):
    CSS_PATH = Path(log_index.__file__).parents[1] / "styles" / "job.tcss"

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def compose(self) -> ComposeResult:
        yield LogView(self._path)


@asynccontextmanager
async def viewing(path: Path, size: tuple[int, int] = (80, 24)) -> AsyncIterator[tuple[LogView, Pilot[Any]]]:
    app = Viewer(path)
    async with app.run_test(size=size) as pilot:
        view = app.query_one(LogView)
        view.focus()
        yield view, pilot


async def until(pilot: Pilot[Any], view: LogView, what: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not what():
        assert time.monotonic() < end, (view.note, on_screen(view))
        await asyncio.sleep(0.02)
        await pilot.pause()


def on_screen(view: LogView) -> list[str]:
    paints, lines = view.paints, [view.render_line(y).text.rstrip() for y in range(view.size.height)]
    view.paints = paints
    return lines or [""]


def write(path: Path, count: int = 1000) -> Path:
    path.write_text("".join(f"line {i}\n" for i in range(count)))
    return path


@pytest.mark.parametrize("size", SIZES)
def test_every_key_of_the_log(tmp_path: Path, size: tuple[int, int]) -> None:
    height = size[1]

    async def walk() -> None:
        async with viewing(write(tmp_path / "log.txt"), size) as (view, pilot):
            await until(pilot, view, lambda: on_screen(view)[-1] == "line 999")
            top = 1000 - height
            for keys, first in [
                ("k", top - 1), ("up", top - 2), ("j", top - 1), ("down", top), ("pageup", top - height + 1),
                ("pagedown", top), ("g", 0), ("end", top), ("home", 0), ("G", top),
            ]:  # fmt: skip
                await pilot.press(keys)
                await until(pilot, view, lambda f=first: on_screen(view)[0] == f"line {f}")  # type: ignore[misc]
                assert view.following == (first == top)
            await pilot.press("right")
            assert view.scroll_offset.x == 0  # nothing is wider than the screen

    asyncio.run(walk())


def test_long_lines_are_read_sideways(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("0123456789" * 30 + "\n")

    async def walk() -> None:
        async with viewing(tmp_path / "log.txt") as (view, pilot):
            await until(pilot, view, lambda: on_screen(view)[0].startswith("0123"))
            await pilot.press("right")
            assert view.scroll_offset.x == 10
            await pilot.press("right", "left", "left")
            assert view.scroll_offset.x == 0

    asyncio.run(walk())


def test_who_looks_at_an_older_place_stays_there_and_is_told_how_many_came(tmp_path: Path) -> None:
    path = write(tmp_path / "log.txt")

    async def walk() -> None:
        async with viewing(path) as (view, pilot):
            await until(pilot, view, lambda: on_screen(view)[-1] == "line 999")
            await pilot.press("k")
            await until(pilot, view, lambda: on_screen(view)[-1] == "line 998")
            with path.open("a") as log:
                log.write("new\n" * 7)
            await until(pilot, view, lambda: "+7 lines" in view.note)
            assert on_screen(view)[-1] == "line 998"
            view.set_following(True)
            await until(pilot, view, lambda: on_screen(view)[-1] == "new")
            assert "follows" in view.note

    asyncio.run(walk())


def test_following_a_fast_log_loses_nothing_and_repaints_seldom(tmp_path: Path) -> None:
    path = write(tmp_path / "log.txt")

    async def walk() -> None:
        async with viewing(path) as (view, pilot):
            await until(pilot, view, lambda: on_screen(view)[-1] == "line 999")
            paints, began = view.paints, time.monotonic()
            with path.open("a") as log:
                for burst in range(20):
                    log.write("".join(f"new {burst * 500 + i}\n" for i in range(500)))
                    log.flush()
                    await asyncio.sleep(0.1)
            await until(pilot, view, lambda: on_screen(view)[-1] == "new 9999")
            assert view.view.total == 11_000
            assert view.paints - paints <= 5 * (time.monotonic() - began) + 1

    asyncio.run(walk())


def test_the_same_lines_are_not_painted_again(tmp_path: Path) -> None:
    path = write(tmp_path / "log.txt")

    async def walk() -> None:
        async with viewing(path) as (view, pilot):
            await until(pilot, view, lambda: on_screen(view)[-1] == "line 999")
            await pilot.press("g")
            await until(pilot, view, lambda: on_screen(view)[0] == "line 0")
            await asyncio.sleep(0.6)
            await pilot.pause()
            paints = view.paints
            with path.open("a") as log:
                log.write("out of sight\n")
            await until(pilot, view, lambda: view.view.total == 1001)
            await pilot.pause()
            assert view.paints == paints
            assert "+1 line," in view.note

    asyncio.run(walk())


def test_search_goes_up_counts_and_comes_back(tmp_path: Path) -> None:
    async def walk() -> None:
        async with viewing(write(tmp_path / "log.txt", 20_000)) as (view, pilot):
            await until(pilot, view, lambda: on_screen(view)[-1] == "line 19999")
            view.find("LINE 150")
            await until(pilot, view, lambda: view.view.hits == 111 and view.view.searched == 1)
            await until(pilot, view, lambda: "line 15099" in on_screen(view))
            assert (view.view.hit, view.view.hit_number, view.following) == (15099, 1, False)
            view.find_next()
            await until(pilot, view, lambda: (view.view.hit, view.view.hit_number) == (15098, 2))
            view.find_next(1)
            await until(pilot, view, lambda: view.view.hit == 15099)
            view.find_next(1)
            await until(pilot, view, lambda: "no match below" in view.note)
            view.find("re:^line 7$")
            await until(pilot, view, lambda: view.view.hit == 7 and "line 7" in on_screen(view))
            view.find_next()
            await until(pilot, view, lambda: "no match above" in view.note)
            view.find("line 19999")
            await until(pilot, view, lambda: view.view.hit == 19999)  # none above, so below
            view.find("nowhere")
            await until(pilot, view, lambda: "0 found" in view.note)
            view.find("")
            await until(pilot, view, lambda: "found" not in view.note)

    asyncio.run(walk())


def test_the_level_filter_keeps_the_place(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_text(
        "".join(f"{'ERROR' if i % 100 == 0 else 'Warning' if i % 10 == 0 else 'info'} {i}\n" for i in range(5000))
    )

    async def walk() -> None:
        async with viewing(path) as (view, pilot):
            await until(pilot, view, lambda: on_screen(view)[-1] == "info 4999")
            assert view.next_level() == "warnings"
            await until(pilot, view, lambda: view.view.total == 500 and on_screen(view)[-1] == "Warning 4990")
            assert view.next_level() == "errors"
            await until(pilot, view, lambda: view.view.total == 50 and on_screen(view)[-1] == "ERROR 4900")
            await pilot.press("g")
            await until(pilot, view, lambda: on_screen(view)[0] == "ERROR 0")
            assert view.next_level() == "all"
            await until(pilot, view, lambda: view.view.total == 5000 and "ERROR 0" in on_screen(view))
            assert not view.following

    asyncio.run(walk())


def test_a_log_that_is_cut_rotated_removed_and_made_again_is_followed_on(tmp_path: Path) -> None:
    path = write(tmp_path / "log.txt")

    async def walk() -> None:
        async with viewing(path) as (view, pilot):
            await until(pilot, view, lambda: on_screen(view)[-1] == "line 999")
            path.write_text("short\n")
            await until(pilot, view, lambda: on_screen(view)[0] == "short" and "cut: started again" in view.note)
            path.rename(tmp_path / "log.1")
            await until(pilot, view, lambda: "the log was removed" in view.note)
            assert on_screen(view)[0] == "short"
            path.write_text("another\n")
            await until(pilot, view, lambda: on_screen(view)[0] == "another" and "replaced" in view.note)

    asyncio.run(walk())


def test_no_log_is_said_and_a_late_one_is_shown_torn_line_and_all(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"

    async def walk() -> None:
        async with viewing(path) as (view, pilot):
            await until(pilot, view, lambda: view.note == "no log yet")
            path.write_bytes(b"first\n50%\r60%")
            await until(pilot, view, lambda: on_screen(view)[:2] == ["first", "60%"])
            with path.open("ab") as log:
                log.write(b"\r100%\nKilled \xf0\x9f")
            await until(pilot, view, lambda: on_screen(view)[:3] == ["first", "100%", "Killed �"])
            view.set_level("errors")
            await until(pilot, view, lambda: on_screen(view)[:2] == ["Killed �", ""])

    asyncio.run(walk())


def test_a_view_holds_few_lines_of_a_large_log(tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    block = b"".join(
        b"%08d INFO a line as long as lines of logs commonly are, about a hundred signs\n" % i for i in range(1000)
    )
    with path.open("wb") as log:
        for _ in range(200 * (1 << 20) // len(block)):
            log.write(block)
    total = 200 * (1 << 20) // len(block) * 1000

    async def walk() -> None:
        async with viewing(path) as (view, pilot):
            await until(pilot, view, lambda: on_screen(view)[-1].startswith("00000999"))
            await until(pilot, view, lambda: view.view.counted == 1)
            assert view.view.total == total
            for row in (0, total // 2, total // 3):
                view.scroll_to(y=row, animate=False, immediate=True)
                await until(pilot, view, lambda r=row: on_screen(view)[0].startswith(f"{r % 1000:08d}"))  # type: ignore[misc]
            assert len(view.view.lines) <= log_reader.LINES_MAX
            assert view._reader._lines.size < 1 << 20

    asyncio.run(walk())


def test_a_hidden_log_is_not_read(tmp_path: Path) -> None:
    path = write(tmp_path / "log.txt")

    async def walk() -> None:
        async with viewing(path) as (view, pilot):
            await until(pilot, view, lambda: on_screen(view)[-1] == "line 999")
            view.display = False
            await pilot.pause()
            await asyncio.sleep(0.5)
            reads = view._reader._file.reads
            write(path, 2000)
            await asyncio.sleep(0.8)
            assert view._reader._file.reads == reads
            view.display = True
            await until(pilot, view, lambda: on_screen(view)[-1] == "line 1999")

    asyncio.run(walk())


def test_only_what_is_on_screen_is_sent_to_a_narrow_terminal(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("wide \u4f60\u597d " * 40 + "\nplain\n")

    async def walk() -> None:
        async with viewing(tmp_path / "log.txt", (40, 10)) as (view, pilot):
            await until(pilot, view, lambda: on_screen(view)[1] == "plain")
            assert view.render_line(0).cell_length == view.size.width
            assert re.match("wide \u4f60\u597d", view.render_line(0).text)

    asyncio.run(walk())
