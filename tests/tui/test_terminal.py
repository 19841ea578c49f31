"""In real terminals: a pseudo-terminal and tmux. Hang-ups, bytes on the wire, and starting again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from datadream.home import state
from datadream.home.layout import Home
from tests.conftest import run_cli
from tests.runners import kill_all, processes_of, steps_done, until
from tests.tui.terminal import Terminal

SLOW = ("--steps", 5000, "--step-seconds", 0.05, "--checkpoint-steps", 20)


@pytest.fixture
def live(home: Home) -> Iterator[tuple[Home, list[str]]]:
    """A home with a long rehearsal running."""
    made = run_cli("rehearse", *SLOW, "--detach", "--json", home=home.path)
    assert made.returncode == 0, made.stderr
    jobs = json.loads(made.stdout)["jobs"]
    until(lambda: steps_done(home, jobs[0]) > 3)
    yield home, jobs
    kill_all(home)


def test_quit_while_running_and_start_again(live: tuple[Home, list[str]]) -> None:
    home, jobs = live
    for _ in range(2):
        terminal = Terminal(home.path)
        try:
            terminal.until(jobs[0][:8].encode())
            terminal.press("q")
            assert terminal.wait() == 0
            assert b"1 job keeps running" in terminal.seen
        finally:
            terminal.close()
        assert state.derive(home, jobs[0]).state == "running"


@pytest.mark.parametrize("how", ["hang-up", "SIGHUP", "SIGTERM", "SIGKILL"])
def test_losing_the_app_changes_nothing(live: tuple[Home, list[str]], how: str) -> None:
    home, jobs = live
    terminal = Terminal(home.path)
    try:
        terminal.until(jobs[0][:8].encode())
        if how == "hang-up":
            terminal.hang_up()
        else:
            os.kill(terminal.pid, getattr(signal, how))
        code = terminal.wait()
        assert how == "SIGKILL" or code in (0, -signal.SIGHUP, 128 + signal.SIGHUP), code
    finally:
        terminal.close()
    before = steps_done(home, jobs[0])
    until(lambda: steps_done(home, jobs[0]) > before + 3)
    until(lambda: not processes_of(home, "tui.main"), 15)
    assert not (home.path / "tui.log").exists()


def test_nothing_is_drawn_when_nothing_changes(ran_copy: Path) -> None:
    terminal = Terminal(ran_copy)
    try:
        terminal.until(b"Open jobs")
        terminal.read(6)  # the registry is brought up to date, and settles
        assert terminal.read(4) == 0
        for key in "267":
            terminal.press(key)
            terminal.read(3)
            assert terminal.read(3) == 0, f"screen {key} draws by itself"
    finally:
        terminal.close()


def test_four_live_jobs_take_little_of_the_wire(home: Home) -> None:
    assert run_cli("queue", "set", "--slots", "cpu:0/0,cpu:0/1,cpu:0/2,cpu:0/3", home=home.path).returncode == 0
    made = run_cli("rehearse", "--jobs", 4, *SLOW, "--detach", home=home.path)
    assert made.returncode == 0, made.stderr
    terminal = Terminal(home.path)
    try:
        terminal.until(b"running")
        terminal.read(8)
        seconds = 6.0
        taken = terminal.read(seconds)
        assert 0 < taken <= 30_000 * seconds
    finally:
        terminal.close()
        kill_all(home)


@pytest.mark.skipif(not shutil.which("tmux"), reason="needs tmux")
def test_in_tmux_typed_keys_and_the_server_hung_up(live: tuple[Home, list[str]], tmp_path: Path) -> None:
    home, jobs = live
    socket = str(tmp_path / "tmux.sock")
    environment = {**os.environ, "TERM": "xterm-256color", "PS1": "$ "}

    def tmux(*words: str) -> str:
        command = ["tmux", "-S", socket, "-f", "/dev/null", *words]
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout

    def see(what: str, seconds: float = 30.0) -> None:
        end = time.monotonic() + seconds
        while what not in (screen := tmux("capture-pane", "-p", "-t", "t")):
            assert time.monotonic() < end, f"{what!r} is not in:\n{screen}"
            time.sleep(0.1)

    tmux("new-session", "-d", "-s", "t", "-x", "80", "-y", "24", "sh")
    try:
        tmux("send-keys", "-t", "t", f"{sys.executable} -m tui.main --home {home.path}", "Enter")
        see(jobs[0][:8])
        tmux("send-keys", "-t", "t", "2")
        see("Jobs")
        see("running")
        tmux("send-keys", "-t", "t", "?")
        see("Keys: Jobs")
        tmux("send-keys", "-t", "t", "Escape")
    finally:
        tmux("kill-server")
    before = steps_done(home, jobs[0])
    until(lambda: steps_done(home, jobs[0]) > before + 3)
    until(lambda: not processes_of(home, "tui.main"), 15)


def test_a_home_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    home = tmp_path / "open to all"
    home.mkdir()
    home.chmod(0o777)
    terminal = Terminal(home)
    try:
        assert terminal.wait() == 2
        said = terminal.seen.decode().strip()
        assert said.startswith("datadream-tui: this home is writable by everyone")
        assert "Traceback" not in said
    finally:
        terminal.close()
