"""Worker processes as the runner holds them: one a slot, fed with one job after another."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from datadream import durable
from datadream.home import identity, lines, state, variables
from datadream.home.layout import Home
from datadream.home.variables import Asked
from datadream.jobs import spawn

LOG = "worker.log"
READY = "ready"  # what a worker says first, as of a job


@dataclass
class Hand:
    """A worker on a slot.

    It takes no job before it is `ready`. `job` is what it was given last, until that is over; one that is `leaving`
    takes no more, and has done so since `left_at`. `variables` are those it was started with, for a job that was asked
    for with `asked`; a job that wants others gets another worker.
    """

    slot: str
    process: subprocess.Popen[bytes]
    who: identity.Process
    told: int
    log_start: int = 0
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    asked: Asked = None
    job: str | None = None
    ready: bool = False
    left_at: float | None = None
    _heard: bytes = field(default=b"", repr=False)
    _signals: int = 0

    @property
    def leaving(self) -> bool:
        """Whether it takes no more jobs."""
        return self.left_at is not None

    def give(self, job_id: str, attempt: int) -> bool:
        """Hand it a job; False when it is gone."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(f"{job_id} {attempt}\n".encode())
            self.process.stdin.flush()
        except OSError:
            return False
        self.job = job_id
        return True

    def listen(self) -> list[str]:
        """Jobs it says are over since the last time."""
        with suppress(BlockingIOError):
            while chunk := os.read(self.told, 4096):
                self._heard += chunk
        *said, self._heard = self._heard.split(b"\n")
        told = [line.split() for line in said if line]
        self.ready = self.ready or bool(told)
        if any(words[1:] != [b"0"] for words in told):
            self._leave()
        over = [words[0].decode("utf-8", "replace") for words in told if words[0] != READY.encode()]
        if self.job in over:
            self.job = None
        return over

    @property
    def gone(self) -> bool:
        """Whether the process has ended; collects it."""
        return self.process.poll() is not None

    def dismiss(self) -> None:
        """No more jobs: it finishes what it has and leaves."""
        assert self.process.stdin is not None
        self._leave()
        with suppress(OSError):
            self.process.stdin.close()

    def hurry(self, grace: float) -> None:
        """End its whole group when it has had nothing to do for `grace` seconds and is still here, at last by force."""
        if self.left_at is None or self.job is not None:
            return
        for number, wanted in enumerate((signal.SIGTERM, signal.SIGKILL), 1):
            if self._signals < number and time.monotonic() - self.left_at > number * grace:
                self._signals = number
                identity.signal_group(self.who, wanted)

    def last_words(self, home: Home) -> str:
        """How it ended, and the last line it left."""
        code = self.process.returncode
        how = f"by signal {-code}" if code is not None and code < 0 else f"with status {code}"
        said = lines.last_text(home.runner / LOG, self.log_start)
        return f"ended {how}{f': {said}' if said else ''}"

    def close(self) -> None:
        """Forget it."""
        self.dismiss()
        os.close(self.told)

    def _leave(self) -> None:
        self.left_at = time.monotonic() if self.left_at is None else self.left_at


def variables_for(home: Home, job_id: str, device: str | None) -> dict[str, str]:
    """What a worker for the job is started with: the settings it was asked for with, and `device` unless it is None."""
    request = state.read_request(home, job_id)
    found = variables.of_worker(spawn.environment(home), request.environment, request.noted)
    return {**found, variables.DEVICE: device} if device else found


def hire(home: Home, slot: str, slot_fd: int, env: Mapping[str, str], asked: Asked = None) -> Hand:
    """A new worker with these variables that inherits the slot's lock, so that it, and any child of its, holds it."""
    log = durable.make_dir(home.runner) / LOG
    start = durable.size_of(log)
    heard, told = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        process = spawn.start(
            home,
            ["worker", "--home", str(home.path), "--feed", "--told", str(told)],
            log,
            stdin=subprocess.PIPE,
            keep=[slot_fd, told],
            env=env,
        )
    except BaseException:
        os.close(heard)
        raise
    finally:
        os.close(told)
    who = identity.identify(process.pid)
    if who is None:  # it is over already; that is told as of one that never was ready
        who = identity.Process(process.pid, -1, identity.boot_id(), "")
    return Hand(slot, process, who, heard, start, env, asked)
