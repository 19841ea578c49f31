"""Worker processes as the runner holds them: one a slot, fed with one job after another."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from datadream import durable
from datadream.jobs import identity, spawn, state, variables
from datadream.jobs.home import Home


@dataclass
class Hand:
    """A worker on a slot. `job` is what it was given last, until that is over; one that is `leaving` takes no more.

    `variables` are those it was started with; a job that wants others gets another worker.
    """

    slot: str
    process: subprocess.Popen[bytes]
    who: identity.Process
    told: int
    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    job: str | None = None
    leaving: bool = False
    _heard: bytes = field(default=b"", repr=False)

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
        *lines, self._heard = self._heard.split(b"\n")
        told = [line.split() for line in lines if line]
        over = [words[0].decode() for words in told]
        self.leaving = self.leaving or any(words[1:] != [b"0"] for words in told)
        if self.job in over:
            self.job = None
        return over

    @property
    def gone(self) -> bool:
        """Whether the process has ended; collects it."""
        return self.process.poll() is not None

    def dismiss(self) -> None:
        """No more jobs: it finishes what it has and leaves."""
        self.leaving = True
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.close()

    def close(self) -> None:
        """Forget it."""
        self.dismiss()
        os.close(self.told)


def variables_for(home: Home, job_id: str, device: str | None) -> dict[str, str]:
    """What a worker for the job is started with: the settings it was asked for with, and `device` unless it is None."""
    request = state.read_request(home, job_id)
    found = variables.of_worker(spawn.environment(home), request.environment, request.noted)
    return {**found, variables.DEVICE: device} if device else found


def hire(home: Home, slot: str, slot_fd: int, env: Mapping[str, str]) -> Hand | None:
    """A new worker with these variables that inherits the slot's lock, so that it, and any child of its, holds it."""
    heard, told = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        process = spawn.start(
            home,
            ["worker", "--home", str(home.path), "--feed", "--told", str(told)],
            durable.make_dir(home.runner) / "worker.log",
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
    if who is None:
        os.close(heard)
        return None
    return Hand(slot, process, who, heard, env)
