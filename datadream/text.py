"""Text from elsewhere, made safe to look at."""

from __future__ import annotations

import unicodedata

# Characters that steer a terminal or the direction of text, or that aren't characters at all.
UNSHOWN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
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
