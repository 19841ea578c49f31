"""Speed of the lists of datadream-tui: `python -m benchmarks.tui_table [RUNS ...]`, 10,000 and 100,000 unless told.

The real app without a terminal (120x40), on a registry that `benchmarks.registry` fills. Times run from the key to the
painted screen and include the question to SQLite; each is the median of several, with lowest and highest, and the CPU
time of the whole process beside it, which other work on the machine doesn't lengthen. What the screen holds is checked
against the registry.
"""

from __future__ import annotations

import asyncio
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.registry import fill
from datadream.home.layout import open_home
from store import queries
from store.registry import Registry
from store.where import parse_where
from tui.app import DataDreamApp
from tui.screens.lists.listing import ListScreen
from tui.widgets.table import VirtualTable

TIMES = 7
FILTERS = ("shots>=4", "method=datadream-dset shots>=4", "settings~a=7", "accuracy>99")


def painted(table: VirtualTable) -> bool:
    """Whether every row on the screen is there and drawn."""
    return bool(table.ids) and all(table.row(table.ids[n]) is not None for n in table.window)


async def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not done():
        if time.monotonic() > end:
            raise TimeoutError
        await asyncio.sleep(0.001)


async def drawn(app: DataDreamApp) -> None:
    """Until what was asked for is painted."""
    event = asyncio.Event()
    app.screen.call_after_refresh(event.set)
    await event.wait()


class Clock:
    """Milliseconds since it was made, by the wall and of CPU."""

    def __init__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        return 1000 * (time.perf_counter() - self._began[0]), 1000 * (time.process_time() - self._began[1])


def say(name: str, times: list[tuple[float, float]], aim: float) -> None:
    walls, cpus = zip(*times, strict=True)
    middle, cpu = statistics.median(walls), statistics.median(cpus)
    verdict = "" if middle <= aim else "  over"
    print(
        f"  {name:<42} {middle:7.1f} ms  [{min(walls):.1f}, {max(walls):.1f}]  cpu {cpu:6.1f}  aim {aim:.0f}{verdict}"
    )


async def opened(app: DataDreamApp) -> tuple[float, float]:
    """Open the list of an app that hasn't shown it yet."""
    clock = Clock()
    app.go("runs")
    await until(lambda: isinstance(app.screen, ListScreen) and app.screen.is_mounted and painted(app.screen.table))
    await drawn(app)
    return clock.read()


async def look(home: Path, registry: Registry, runs: int) -> None:
    times = []
    for _ in range(TIMES):
        app = DataDreamApp(open_home(home))
        async with app.run_test(size=(120, 40)) as pilot:
            await pilot.pause(1.0)
            times.append(await opened(app))
    say("open, the first time", times, 150)
    app = DataDreamApp(open_home(home))
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause(1.0)
        await opened(app)
        screen = app.screen
        assert isinstance(screen, ListScreen)
        table = screen.table
        assert list(table.ids) == queries.keys(registry, "run") and len(table.ids) == runs

        async def ask(where: str, sort: str, check: bool = True) -> tuple[float, float]:
            clock = Clock()
            screen._read(where, sort, to_top=True)
            await until(lambda: (screen.where, screen.sort) == (where, sort) and painted(table))
            await drawn(app)
            took = clock.read()
            assert not check or list(table.ids) == queries.keys(registry, "run", parse_where(where), sort), (
                where,
                sort,
            )
            return took

        for sort in ("-accuracy", "method", "settings", "-created"):
            say(f"sort by {sort}", [await ask("", sort if i % 2 else "") for i in range(2 * TIMES)][1::2], 100)
        for where in FILTERS:
            say(f"filter {where}", [await ask(where if i % 2 else "", "") for i in range(2 * TIMES)][1::2], 100)
        await ask("", "")

        times = []
        for i in range(200):
            clock = Clock()
            table.action_move(1 if i < 150 else -3)
            times.append(clock.read())
        say("cursor, one key", times, 1)
        times = []
        for _ in range(60):
            clock = Clock()
            table.action_move(1)
            await drawn(app)
            times.append(clock.read())
        say("cursor, one key, painted", times, 50)
        times = []
        for i in range(TIMES):
            clock = Clock()
            table.move_to((i + 1) * runs // (TIMES + 1))
            await until(lambda: painted(table))
            await drawn(app)
            times.append(clock.read())
        say("jump anywhere, rows there and painted", times, 100)

        slowest, stop = 0.0, False

        async def heart() -> None:
            nonlocal slowest
            while not stop:
                began = time.perf_counter()
                await asyncio.sleep(0.001)
                slowest = max(slowest, 1000 * (time.perf_counter() - began))

        task = asyncio.create_task(heart())
        for i in range(TIMES):
            await ask("shots>=4" if i % 2 else "", "-accuracy", check=False)
        stop = True
        await task
        say("longest the screen stood still, sorting", [(slowest, 0)], 50)
    print(f"  peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB")


def main(sizes: list[int]) -> None:
    for runs in sizes:
        with tempfile.TemporaryDirectory() as folder:
            home = open_home(Path(folder) / "home")
            registry = Registry.open(home.registry, home.registry_lock)
            fill(registry, runs)
            print(f"{runs:,} runs")
            asyncio.run(look(home.path, registry, runs))
            registry.close()


if __name__ == "__main__":
    main([int(text) for text in sys.argv[1:]] or [10_000, 100_000])
