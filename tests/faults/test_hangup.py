"""The terminal goes away while jobs run: nothing stops, and another terminal shows them again."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from datadream.home import state
from datadream.home.layout import Home, open_home
from datadream.plans import enqueue
from tests.faults.scale import record
from tests.runners import kill_all, rehearsals, steps_done, until, wait_for_end


def on_terminal(home: Home, *words: str) -> tuple[int, int]:
    """`datadream WORDS` on a terminal of its own: (pid, the terminal's other end)."""
    pid, master = pty.fork()
    if pid == 0:
        os.environ |= {"DATADREAM_HOME": str(home.path), "TERM": "xterm", "COLUMNS": "100"}
        os.execv(sys.executable, [sys.executable, "-m", "datadream", *words])
    return pid, master


def read_until(master: int, word: bytes, seconds: float = 60.0) -> bytes:
    found, end = b"", time.monotonic() + seconds
    while word not in found:
        assert time.monotonic() < end, found
        try:
            found += os.read(master, 4096)
        except OSError as gone:
            raise AssertionError(f"it left without {word!r}: {found[-2000:]!r}") from gone
    return found


@pytest.mark.parametrize("detach", [False, True])
def test_a_closed_terminal_stops_nothing(detach: bool, tmp_path: Path) -> None:
    home = open_home(tmp_path / "home")
    steps = 700
    pid, master = on_terminal(
        home, "rehearse", "--steps", str(steps), "--step-seconds", "0.03", *(["--detach"] if detach else [])
    )
    jobs = home.path / "jobs"  # where a job that is being written has a name with a dot
    until(lambda: list(jobs.glob("[!.]*/spec.json")))
    job = next(jobs.glob("[!.]*")).name
    until(lambda: steps_done(home, job) > 5)
    os.close(master)
    os.waitpid(pid, 0)
    pid, master = on_terminal(home, "job", "watch")
    assert b"rehearsal 1" in read_until(master, b"/700")
    os.close(master)
    os.waitpid(pid, 0)
    assert 0 < steps_done(home, job) < steps
    wait_for_end(home)
    status = state.derive(home, job)
    assert (status.state, status.attempts) == ("done", 1)
    kill_all(home)
    record("terminal-hang-up", detached=detach, outcome="went on, and was watched again from another terminal")


def test_ctrl_c_asks_and_the_answer_is_heeded(tmp_path: Path) -> None:
    home = open_home(tmp_path / "home")
    answers = ((b"d\n", "done", b"jobs keep running"), (b"c\n", "cancelled", b"jobs cancelled"))
    for answer, expected, told in answers:
        pid, master = on_terminal(home, "rehearse", "--step-seconds", "0.15", "--seed", str(answer[0]))
        read_until(master, b"/100")
        os.write(master, b"\x03")
        read_until(master, b"[d]etach")
        os.write(master, answer)
        read_until(master, b"interrupted; " + told)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
        os.close(master)
        wait_for_end(home)
        states = [state.derive(home, path.name).state for path in (home.path / "jobs").iterdir()]
        assert expected in states
    kill_all(home)


def test_ctrl_c_while_watching_looks_away(tmp_path: Path) -> None:
    home = open_home(tmp_path / "home")
    enqueue.enqueue(home, rehearsals(1, steps=400), {})
    pid, master = on_terminal(home, "job", "watch")
    read_until(master, b"/400")
    os.write(master, b"\x03")
    told = read_until(master, b"interrupted; jobs keep running")
    assert b"[c]ancel" not in told
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    os.close(master)
    kill_all(home)


def test_ctrl_c_while_it_starts_is_quiet(tmp_path: Path) -> None:
    """Commands take a tenth of a second to import."""
    for delay in (0.03, 0.06, 0.09, 0.12):
        command = [sys.executable, "-m", "datadream", "job", "ls", "--home", str(tmp_path / "home")]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
        # before Python runs a line of ours nothing can be caught
        assert b"datadream/cli" not in told and b"interrupted; jobs keep running" not in told, told
