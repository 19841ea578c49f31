"""Copying from a terminal, and an honest sentence about it. A file always holds the text as well."""

from __future__ import annotations

import base64
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from datadream import durable
from datadream.paths import user_home
from tui import private

if TYPE_CHECKING:
    from textual.app import App

FILE = "clipboard.txt"
BYTES_MAX = 75_000  # terminals drop longer sequences
SCREEN_CHUNK = 700  # GNU screen passes strings of at most 768 bytes on
TMUX_SECONDS = 3.0


def copy(app: App[None], home: Path, text: str) -> str:
    """Copy, and say where the text is now. Call it in the pool; raises UserError when the home has no room."""
    folder = durable.make_dir(home / "exports")
    path = folder / FILE
    durable.write_text(path, text)
    where = shown_path(path)
    data = text.encode("utf-8", "replace")
    if os.environ.get("TMUX") and to_tmux(data):
        return f"copied to tmux and {where}"
    if len(data) > BYTES_MAX:
        return f"{len(data) / 1000:.0f} kB are too much for a terminal's clipboard; written to {where}"
    if os.environ.get("STY"):
        app.call_from_thread(_write, app, in_screen(data))
    else:
        app.call_from_thread(app.copy_to_clipboard, text)
    return f"sent to the terminal (which may ignore it); also in {where}"


def to_tmux(data: bytes) -> bool:
    """Whether tmux took it into its buffer; what is short enough it gives to its terminal too."""
    outside = ["-w"] if len(data) <= BYTES_MAX else []
    try:
        done = subprocess.run(
            ["tmux", "load-buffer", *outside, "-"],  # noqa: S607 - the user's own tmux
            input=data,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=TMUX_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def in_screen(data: bytes) -> str:
    """OSC 52 in pieces that GNU screen passes on to its terminal."""
    sequence = f"\x1b]52;c;{base64.b64encode(data).decode()}\x07"
    parts = (sequence[i : i + SCREEN_CHUNK] for i in range(0, len(sequence), SCREEN_CHUNK))
    return "".join(f"\x1bP{part}\x1b\\" for part in parts)


def shown_path(path: Path) -> str:
    """With ~ for the user's own folder."""
    own = user_home()
    return f"~/{path.relative_to(own)}" if own and path.is_relative_to(own) else str(path)


def _write(app: App[None], text: str) -> None:
    private.write(app, text)
