"""States as glyph, word and style, so that colour is never alone. ASCII where the locale has no Unicode."""

from __future__ import annotations

import os

from rich.text import Text

from datadream.text import shown


def _is_ascii() -> bool:
    """Whether the locale's own variables promise no UTF-8 (Python makes LC_CTYPE=C.UTF-8 of a C locale, PEP 538)."""
    given = {name: os.environ.get(name, "").lower() for name in ("LC_ALL", "LC_CTYPE", "LANG")}
    if given["LC_CTYPE"] == "c.utf-8" and given["LANG"] in ("", "c", "posix"):
        given["LC_CTYPE"] = ""
    value = given["LC_ALL"] or given["LC_CTYPE"] or given["LANG"]
    return not any(word in value for word in ("utf-8", "utf8"))


ASCII = _is_ascii()
# state: glyph, ASCII glyph, style (names of theme variables that every theme of ours has as CSS and Rich colours)
STATES = {
    "queued": ("○", "o", ""),
    "blocked": ("◌", ".", ""),
    "running": ("●", "*", "bold cyan"),
    "cancelling": ("◐", "-", "yellow"),
    "done": ("✓", "+", "green"),
    "failed": ("✗", "x", "bold red"),
    "cancelled": ("⊘", "/", "yellow"),
    "lost": ("?", "?", "bold yellow"),
    "missing": ("–", "-", "dim"),
    "paused": ("‖", "=", "yellow"),
}
BLOCKS = "_.-=*#" if ASCII else "▁▂▃▄▅▆▇█"
ARROW, DOT, DASH, ELLIPSIS = (">", "|", "-", "...") if ASCII else ("›", "·", "–", "…")
UP, DOWN = ("^", "v") if ASCII else ("↑", "↓")


def state_text(state: str, paused: bool = False) -> Text:
    """`✓ done`, styled."""
    name = "paused" if paused and state in ("queued", "blocked") else state
    glyph, plain, style = STATES.get(name, ("?", "?", ""))
    return Text(f"{plain if ASCII else glyph} {shown(name)}", style)


def bar(part: float, width: int) -> str:
    """A bar of `width` cells, filled to `part` of 0 to 1."""
    full = max(0, min(width, round(part * width)))
    return ("#" * full + "." * (width - full)) if ASCII else "█" * full + "░" * (width - full)


def spark(values: tuple[float, ...], width: int) -> str:
    """The last `width` finite values as blocks."""
    finite = [value for value in values if value == value and abs(value) != float("inf")][-width:]
    if not finite:
        return ""
    low, high = min(finite), max(finite)
    top = len(BLOCKS) - 1
    return "".join(BLOCKS[round((value - low) / (high - low) * top) if high > low else 0] for value in finite)


def duration(seconds: float | None) -> str:
    """`48s`, `3m 20s`, `2h 05m`, `3d 4h`; a dash when unknown."""
    if seconds is None:
        return DASH
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h {whole % 3600 // 60:02}m"
    return f"{whole // 86400}d {whole % 86400 // 3600}h"
