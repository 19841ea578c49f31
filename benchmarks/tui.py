"""`datadream-tui` measured through a pseudo-terminal: `python -m benchmarks.tui [RUNS] [MINUTES]`.

First paint against Textual's own smallest app, with RUNS runs in the registry (100,000); bytes on the wire with nothing
to say, and with four live jobs; keys to what they show while eight jobs tell 50 events a second each; memory over MINUTES
(3) of that. Lists and logs have benchmarks of their own: `benchmarks.tui_table`, `benchmarks.tui_log`.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.registry import fill
from datadream.home import state
from datadream.home.layout import Home, open_home
from store.registry import Registry
from tests.runners import kill_all, until
from tests.tui.terminal import Terminal

MINIMAL = """
from textual.app import App
from textual.widgets import Static
class Smallest(App):
    def compose(self):
        yield Static("smallest app")
Smallest().run()
"""
TIMES = 7
KEYS = 60


def first_paint(words: list[str], what: bytes) -> float:
    """Seconds from the start of a process to `what` on its terminal."""
    began = time.monotonic()
    terminal = Terminal(Path(), command=words)
    try:
        terminal.until(what)
        return time.monotonic() - began
    finally:
        terminal.close()


def rehearse(home: Home, jobs: int, step_seconds: float) -> None:
    """`jobs` long rehearsals at once, running."""
    slots = ",".join(f"cpu:0/{i}" for i in range(jobs))
    base = [sys.executable, "-m", "datadream"]
    subprocess.run(
        [*base, "queue", "set", "--slots", slots, "--home", str(home.path)], check=True, stdout=subprocess.DEVNULL
    )
    words = ["rehearse", "--jobs", str(jobs), "--steps", "10000000", "--step-seconds", str(step_seconds)]
    words += ["--checkpoint-steps", "1000", "--detach", "--home", str(home.path)]
    subprocess.run([*base, *words], check=True, stdout=subprocess.DEVNULL)

    def running() -> bool:
        names = [path.name for path in home.queue.iterdir()]
        return len(names) == jobs and all(state.derive(home, name).state == "running" for name in names)

    until(running)


def wire(home: Home, seconds: float = 10.0) -> float:
    """Bytes a second on the dashboard."""
    terminal = Terminal(home.path)
    try:
        terminal.until(b"Open jobs")
        terminal.read(7.0)
        return terminal.read(seconds) / seconds
    finally:
        terminal.close()


def keys(home: Home, minutes: float) -> tuple[list[float], list[float]]:
    """Seconds from a key to its screen, and memory in MiB at the start and every half minute."""
    terminal = Terminal(home.path)
    took, memory = [], []
    try:
        terminal.until(b"running")
        terminal.read(3.0)
        process = psutil.Process(terminal.pid)
        for number in range(KEYS + 4):
            key, what = ("3", b"Few-shot sets") if number % 2 == 0 else ("1", b"Open jobs")
            terminal.read(0.3)
            terminal.seen = b""
            began = time.monotonic()
            terminal.press(key)
            while what not in terminal.seen:
                terminal.read(0.002)
                assert time.monotonic() - began < 10
            if number >= 4:  # the first opening of a screen imports it
                took.append(time.monotonic() - began)
        terminal.press("1")
        end = time.monotonic() + 60 * minutes
        memory.append(process.memory_info().rss / 2**20)
        while time.monotonic() < end:
            terminal.read(min(30.0, max(0.1, end - time.monotonic())))
            terminal.seen = b""
            memory.append(process.memory_info().rss / 2**20)
        return took, memory
    finally:
        terminal.close()


def main() -> None:
    """Print each figure as it comes."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    minutes = float(sys.argv[2]) if len(sys.argv) > 2 else 3.0
    with tempfile.TemporaryDirectory() as folder:
        large, small, busy = (open_home(Path(folder) / name) for name in ("large", "small", "busy"))
        registry = Registry.open(large.registry, large.registry_lock)
        fill(registry, runs)
        registry.close()
        pairs = []
        for _ in range(TIMES):
            smallest = first_paint([sys.executable, "-c", MINIMAL], b"smallest app")
            ours = first_paint([sys.executable, "-m", "tui.main", "--home", str(large.path)], b"Open jobs")
            pairs.append((smallest, ours))
        low, high = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"first paint with {runs:,} runs: {high:.2f} s; Textual's smallest app {low:.2f} s; +{high - low:.2f} s")
        print(f"nothing changes: {wire(small):.0f} bytes/s")
        rehearse(small, 4, 0.02)
        print(f"four live jobs on the dashboard: {wire(small) / 1000:.1f} kB/s")
        kill_all(small)
        rehearse(busy, 8, 0.02)
        took, memory = keys(busy, minutes)
        kill_all(busy)
        took.sort()
        print(
            f"key to its screen, 8 jobs at 50 events/s: median {1000 * statistics.median(took):.0f} ms, "
            f"p95 {1000 * took[int(0.95 * len(took))]:.0f} ms of {len(took)}"
        )
        print(f"memory over {minutes:g} minutes: {memory[0]:.0f} -> {memory[-1]:.0f} MiB, at most {max(memory):.0f}")


if __name__ == "__main__":
    main()
