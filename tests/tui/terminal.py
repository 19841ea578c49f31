"""`datadream-tui` in a real pseudo-terminal: keys in, bytes out, hang-up."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time
from pathlib import Path

PLAIN = {rb"\x1b\[c": b"\x1b[?6c"}  # what it is asked and answers: it is a VT102, as every terminal says of itself


class Terminal:
    """The app as a child with a terminal of its own; `close` hangs up, as a lost SSH connection does.

    Each of `answers` is given whenever its pattern is written.
    """

    def __init__(
        self,
        home: Path,
        size: tuple[int, int] = (120, 40),
        command: list[str] | None = None,
        answers: dict[bytes, bytes] = PLAIN,
        **environment: str,
    ) -> None:
        self._answers, self._heard = answers, b""
        words = command or [sys.executable, "-m", "tui.main", "--home", str(home)]
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            kept = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", **environment}
            for name in ("COLUMNS", "LINES", "TMUX", "NO_COLOR"):
                if name not in environment:
                    kept.pop(name, None)
            os.execve(words[0], words, kept)
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", size[1], size[0], 0, 0))
        self.seen = b""

    def read(self, seconds: float) -> int:
        """Take what is drawn for so long; the number of bytes."""
        end, count = time.monotonic() + seconds, 0
        while (left := end - time.monotonic()) > 0:
            ready, _, _ = select.select([self._fd], [], [], left)
            if ready:
                try:
                    data = os.read(self._fd, 65536)
                except OSError:
                    break
                if not data:
                    break
                self.seen += data
                count += len(data)
                self._answer(data)
        return count

    def _answer(self, data: bytes) -> None:
        """What is asked in `data`, in order."""
        self._heard += data
        while found := [(m.start(), m.end(), q) for q in self._answers if (m := re.search(q, self._heard))]:
            _, end, question = min(found)
            self._heard = self._heard[end:]
            os.write(self._fd, self._answers[question])
        self._heard = self._heard[-200:]

    def until(self, what: bytes, seconds: float = 30.0) -> None:
        """Read until `what` was drawn."""
        end = time.monotonic() + seconds
        while what not in self.seen:
            assert time.monotonic() < end, f"{what!r} was not drawn; the end is {self.seen[-2000:]!r}"
            self.read(0.1)

    def press(self, keys: str) -> None:
        """Type."""
        os.write(self._fd, keys.encode())

    def hang_up(self) -> None:
        """The terminal is gone."""
        os.close(self._fd)
        self._fd = -1

    def wait(self, seconds: float = 15.0) -> int:
        """The exit status, once it has left."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = 0
                return os.waitstatus_to_exitcode(status)
            if self._fd >= 0:
                self.read(0.05)
            else:
                time.sleep(0.05)
        raise AssertionError(f"it has not left within {seconds} s")

    def close(self) -> None:
        """Make an end of it, whatever it does."""
        if self._fd >= 0:
            os.close(self._fd)
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
