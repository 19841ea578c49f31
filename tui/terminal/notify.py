"""Bell and desktop notification at the end of a job, as escape sequences: they reach the user's own terminal over SSH.

OSC 9 is known to iTerm2, Windows Terminal, WezTerm and others, OSC 777 to urxvt, foot, Ghostty and VTE; a terminal
takes the one it knows. No terminal answers, so nobody can say whether a notification was seen.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Mapping
from typing import Any

from textual.app import App

from tui import private

TEXT_MAX = 200
BELL = "\a"
UNSENT = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def sequence(mode: str, title: str, text: str, environ: Mapping[str, str]) -> str:
    """What to write to the terminal: "" when off, a bell, or with `both` a bell and a notification.

    Nothing in title and text can end the sequence, steer the terminal, or pass for another of its fields. Inside tmux
    the notification is wrapped, which tmux hands on where allow-passthrough is on; the bell goes through by itself.
    """
    if mode not in ("bell", "both"):
        return ""
    if mode == "bell":
        return BELL
    head, body = _plain(title).replace(";", ","), _plain(text)
    # The title comes first: OSC 9 with a number's field first, as 9;4, is a progress bar to some terminals.
    osc = f"\x1b]9;{head}: {body}\x1b\\\x1b]777;notify;{head};{body.replace(';', ',')}\x1b\\"
    if environ.get("TMUX"):
        osc = "\x1bPtmux;" + osc.replace("\x1b", "\x1b\x1b") + "\x1b\\"
    elif environ.get("STY"):
        osc = "".join(f"\x1bP{part}\x1b\\" for part in _for_screen(osc))
    return osc + BELL


def send(app: App[Any], mode: str, title: str, text: str) -> None:
    """Write it to the terminal, through the driver so that it doesn't fall into a frame. For the UI thread."""
    if not app.is_headless:
        found = sequence(mode, title, text, os.environ)
        if found:
            private.write(app, found)


def _plain(text: str) -> str:
    """Printable characters of one line, no longer than TEXT_MAX."""
    clean = "".join(" " if unicodedata.category(c) in UNSENT else c for c in text)
    words = " ".join(clean.split())
    return words if len(words) <= TEXT_MAX else words[: TEXT_MAX - 1] + "…"


def _for_screen(osc: str) -> list[str]:
    """GNU screen ends a passthrough at the first string terminator; a bell ends an OSC just as well."""
    return [part + "\a" for part in osc.split("\x1b\\") if part]
