"""Text from elsewhere, made safe to look at, and values as a person reads them."""

from __future__ import annotations

import unicodedata
from typing import Any

# Characters that steer a terminal or the direction of text, or that aren't characters at all.
UNSHOWN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
TIMES = ("created", "submitted", "started", "ended")
IDS = ("id", "set", "adapter", "synth", "classifier")
ID_LENGTH = 8  # of an id, as listings show it
JOINERS = "\u200c\u200d"  # inside words of several scripts and in emoji


def shown(text: str) -> str:
    """`text` with controls, escapes, direction marks and lone surrogates written out, as `\\x1b`; all else as it is."""
    return "".join(_escaped(character) if _is_unshown(character) else character for character in text)


def _is_unshown(character: str) -> bool:
    return character not in JOINERS and unicodedata.category(character) in UNSHOWN


def _escaped(character: str) -> str:
    code = ord(character)
    short = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return short.get(character) or (
        f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
    )


def cell(name: str, value: Any) -> str:
    """A value as a person reads it. Text of the user's can't steer the terminal."""
    if value is None:
        return ""
    if isinstance(value, list):
        return shown(" ".join(map(str, value)))
    if name == "progress":
        return f"{100 * value:.0f}%"
    if name == "bytes":
        return size(value)
    if name in TIMES:
        return str(value)[:16].replace("T", " ")
    if name in IDS:
        return str(value)[:ID_LENGTH]
    if isinstance(value, float):
        return f"{value:.2f}" if name in ("accuracy", "mean", "std") else f"{value:g}"
    return shown(str(value))


def size(count: float) -> str:
    """Bytes for people, everywhere: `312 B`, `4.0 KiB`, `1.2 GiB`."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
