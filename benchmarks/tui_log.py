"""The log view on a log of 1 GB: `python -m benchmarks.tui_log [MEGABYTES]`.

Prints how long its end takes to show, to count it, to search it, and how it follows 5,000 lines a second; what it finds
is compared with Python's own splitting of the same bytes. Nothing is asserted on time.
"""

from __future__ import annotations

import asyncio
import re
import statistics
import sys
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

from textual.app import App, ComposeResult

from tui.services.log_index import Found, LogFile
from tui.services.log_text import Wanted
from tui.widgets.log_view import LogView

RATE, SECONDS = 5000, 6


def make(path: Path, megabytes: int) -> int:
    """A log of that size; how many lines it has."""
    lines = [
        f"2026-11-25 05:{i // 60 % 60:02}:{i % 60:02} {'WARNING' if i % 997 == 0 else 'INFO'} step {i} loss {1 / (i + 1):.6f} on cuda:0"
        for i in range(10_000)
    ]
    block = ("\n".join(lines) + "\n").encode()
    times = megabytes * 1_000_000 // len(block)
    with path.open("wb") as file:
        file.write(b"RuntimeError: the only one, and at the very beginning\n")
        for _ in range(times):
            file.write(block)
    return times * len(lines) + 1


def report(name: str, began: float, more: str = "") -> None:
    print(f"{name:<58} {1000 * (time.perf_counter() - began):9.1f} ms  {more}", flush=True)


def parity(path: Path) -> None:
    """Counted, filtered and searched as Python does it, on the first 64 MB."""
    with path.open("rb") as file:
        data = file.read(64_000_000)
    part = path.with_name("part.txt")
    part.write_bytes(data)
    lines = data.split(b"\n")
    lines = lines if lines[-1] else lines[:-1]
    file_ = LogFile(part)
    file_.open()
    for wanted, matches in (
        (Wanted(), lambda line: True),
        (Wanted("warnings"), lambda line: b"WARNING" in line or b"RuntimeError" in line),
        (Wanted("all", "step 12"), lambda line: b"step 12" in line),
        (Wanted("all", r"re:step \d*7 "), lambda line: re.search(rb"step \d*7 ", line)),
    ):
        found, began = Found(file_, wanted), time.perf_counter()
        while not found.complete:
            found.step()
        report(f"64 MB: {wanted.level} {wanted.pattern!r}", began, f"{found.total:,} lines")
        expected = [line.decode() for line in lines if matches(line)]
        assert found.total == len(expected)
        for row in (0, len(expected) // 2, len(expected) - 1):
            assert [file_.line(*place) for place in found.rows(row, 1)] == [expected[row]]
    file_.close()
    part.unlink()


class Viewer(App[None]):
    """Nothing but the view."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    def compose(self) -> ComposeResult:
        yield LogView(self.path)


class Beat:
    """How late the UI thread is: what a key would wait."""

    def __init__(self) -> None:
        self.late: list[float] = []

    async def run(self) -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.01)
            self.late.append(1000 * (time.perf_counter() - began - 0.01))

    def told(self) -> str:
        late, self.late = sorted(self.late) or [0.0], []
        return f"UI late: median {statistics.median(late):.1f}, p95 {late[int(0.95 * (len(late) - 1))]:.1f}, worst {late[-1]:.0f} ms"


async def until(what: Callable[[], bool], seconds: float = 300.0) -> None:
    end = time.perf_counter() + seconds
    while not what():
        assert time.perf_counter() < end
        await asyncio.sleep(0.002)


async def watch(path: Path, lines: int) -> None:
    """In the app: open, count, search, jump, follow."""
    app = Viewer(path)
    async with app.run_test(size=(120, 40)) as pilot:
        beat = Beat()
        task = asyncio.create_task(beat.run())
        began = time.perf_counter()
        view = app.query_one(LogView)
        await until(lambda: bool(view.view.lines))
        report("the end is on screen", began)
        await until(lambda: view.view.counted == 1)
        report(f"all is counted: {view.view.total:,} lines", began, beat.told())
        assert view.view.total == lines
        print(f"{'index':<58} {view._reader._lines.size / 1024:9.0f} KiB, {len(view.view.lines)} lines held")
        for row in (0, lines // 2):
            began = time.perf_counter()
            view.scroll_to(y=row, animate=False, immediate=True)
            await until(lambda r=row: view.view.first <= r < view.view.first + len(view.view.lines))
            report(f"jump to line {row:,}", began)
        view.set_following(True)
        await pilot.pause()
        beat.told()
        for pattern in ("step 9999 ", "the only one", r"re:loss 0\.0001\d+ on cuda:\d$"):
            began = time.perf_counter()
            view.find(pattern)
            await until(lambda p=pattern: view.view.pattern == p and view.view.hit >= 0)
            report(f"first hit of {pattern!r}", began)
            await until(lambda: view.view.searched == 1)
            report(f"all hits of {pattern!r}: {view.view.hits:,}", began, beat.told())
        view.find("")
        began = time.perf_counter()
        view.set_level("warnings")
        await until(lambda: view.view.level == "warnings" and view.view.counted == 1)
        report(f"only warnings and errors: {view.view.total:,}", began, beat.told())
        view.set_level("all")
        await until(lambda: view.view.level == "all" and view.view.counted == 1)
        view.set_following(True)
        await follow(path, view, lines, beat)
        task.cancel()


async def follow(path: Path, view: LogView, lines: int, beat: Beat) -> None:
    """5,000 lines a second from another thread."""
    behind: list[int] = []
    written = 0

    def write() -> None:
        nonlocal written
        began = time.perf_counter()
        with path.open("a") as file:
            while written < RATE * SECONDS:
                due = min(RATE * SECONDS, int(RATE * (time.perf_counter() - began)))
                file.write(
                    "".join(
                        f"2026-11-25 06:00:00 INFO followed line number {i} with some words\n"
                        for i in range(written, due)
                    )
                )
                file.flush()
                written = due
                time.sleep(0.01)

    await asyncio.sleep(0.5)
    beat.told()
    paints, thread, began = view.paints, threading.Thread(target=write), time.perf_counter()
    thread.start()
    while thread.is_alive():
        await asyncio.sleep(0.05)
        behind.append(lines + written - view.view.total)
    thread.join()
    await until(lambda: view.view.total == lines + RATE * SECONDS)
    report(f"{RATE * SECONDS:,} lines came and are shown", began, beat.told())
    last = view.view.lines[-1]
    assert last == f"2026-11-25 06:00:00 INFO followed line number {RATE * SECONDS - 1} with some words"
    print(
        f"{'followed':<58} {(view.paints - paints) / SECONDS:9.1f} repaints/s, at most {max(behind):,} lines "
        f"({max(behind) / RATE:.2f} s) behind"
    )


def main(megabytes: int) -> None:
    """All of it in a folder that goes away."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.txt"
        began = time.perf_counter()
        lines = make(path, megabytes)
        report(f"made {path.stat().st_size / 1e9:.2f} GB, {lines:,} lines", began)
        parity(path)
        tracemalloc.start()
        file = LogFile(path)
        file.open()
        found = Found(file)
        while not found.complete:
            found.step()
        found.rows(0, 50)
        print(f"{'memory of counting all, at most':<58} {tracemalloc.get_traced_memory()[1] / 2**20:9.1f} MiB")
        tracemalloc.stop()
        file.close()
        asyncio.run(watch(path, lines))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
