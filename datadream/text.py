"""The one owner of showing: text from elsewhere as text in every output, and values as a person reads them.

`shown` is for terminals, logs, pictures and screens; `json_text`, `csv_cell`, `markdown`, `html` and `latex` are for
what they say. Each lets every letter through, and nothing that its reader would take for more than that.
"""

from __future__ import annotations

import json
import re
import unicodedata
from html import escape
from typing import Any

# Characters that steer a terminal or the direction of text, or that aren't characters at all.
UNSHOWN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
TIMES = ("created", "submitted", "started", "ended")
IDS = ("id", "set", "adapter", "synth", "classifier", "row")
ID_LENGTH = 8  # of an id, as listings show it
JOINERS = "\u200c\u200d"  # inside words of several scripts and in emoji
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # what spreadsheets take for the start of one
NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
OTHERS = re.compile(r"[^\n\x20-\x7e]")  # than plain letters and line breaks
# of Markdown: not an underscore within a word nor brackets of no link, but addresses, which would become links
MARKS = re.compile(r"[\\`*|~$@]|\](?=[(\[:])|(?<![^\W_])_|_(?![^\W_])|(?<=:)//|(?<=[wW]{3})\.")
# of a line of Markdown, where it would make a heading, a rule or a list of it
BEGINNING = re.compile(r"^(\d*)([.)](?=\s|$)|[#=+-](?=[#=+\s-]|$)|\[(?=[ xX]\]))")
ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
TEX = {"&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}"}
TEX |= {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "±": r"$\pm$"}
TEX |= {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}
TEX |= {"≈": r"$\approx$", "–": "--", "·": r"$\cdot$", "−": "$-$"}
TEX |= {mark: f"$^{digit}$" for digit, mark in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")}


def shown(text: str) -> str:
    """`text` with controls, escapes, direction marks and lone surrogates written out, as `\\x1b`; all else as it is."""
    return "".join(_escaped(character) if is_unshown(character) else character for character in text)


def is_unshown(character: str) -> bool:
    """Whether a character steers a terminal or the direction of text, or isn't one at all."""
    return character not in JOINERS and unicodedata.category(character) in UNSHOWN


def _escaped(character: str) -> str:
    code = ord(character)
    short = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return short.get(character) or (
        f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
    )


def shown_lines(text: str) -> str:
    """`text` shown line by line: its line breaks stay."""
    return "\n".join(shown(line) for line in text.split("\n"))


def log_text(text: str) -> str:
    """What a library or a person says, for a log: line breaks, tabs and returns stay, the rest is shown."""
    return "".join(c if c in "\n\t\r" or not is_unshown(c) else _escaped(c) for c in text)


def json_text(value: Any, indent: int | None = None) -> str:
    """`value` as JSON of the same text, with everything that isn't shown as an escape. Raises ValueError for NaN."""
    found = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)
    return OTHERS.sub(lambda match: json.dumps(match[0])[1:-1] if is_unshown(match[0]) else match[0], found)


def csv_cell(value: Any) -> Any:
    """A value for a cell: numbers stay, text is shown, and one that a spreadsheet would calculate begins with '."""
    if not isinstance(value, str) or NUMBER.fullmatch(value):
        return value
    return f"'{shown(value)}" if value.lstrip(" ").startswith(FORMULA) else shown(value)


def markdown(text: str) -> str:
    """`text` within a line or a table's cell of Markdown, GitHub's too: no mark-up, HTML or link comes of it."""
    line = " ".join(shown(part) for part in text.split())
    line = "".join(ENTITIES.get(character, character) for character in line)
    line = MARKS.sub(lambda found: "".join(f"\\{character}" for character in found[0]), line)
    return BEGINNING.sub(r"\1\\\2", line, count=1)


def html(text: str) -> str:
    """`text` in HTML or SVG, also within a quoted attribute."""
    return escape(shown(text))


def latex(text: str) -> str:
    """`text` in a line of LaTeX; no command but those of the signs it holds."""
    line = " ".join(shown(part) for part in text.split())
    found = "".join(TEX.get(character, character) for character in line)
    return f"{{}}{found}" if found[:1] in ("[", "*") else found  # either would be an argument of what stands before


def cell(name: str, value: Any) -> str:
    """A value as a person reads it. Text of the user's can't steer the terminal."""
    if value is None:
        return ""
    if isinstance(value, list):
        return shown(" ".join(map(str, value)))
    if name == "progress" and isinstance(value, int | float):
        return f"{100 * value:.0f}%"
    if name == "bytes" and isinstance(value, int | float):
        return size(value)
    if name in TIMES:
        return shown(str(value)[:16].replace("T", " "))
    if name in IDS:
        return shown(str(value)[:ID_LENGTH])
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


def counted(number: int, noun: str) -> str:
    """A number and its noun: `1 shot`, `2 shots`, `0 classes`, `1,200 images`."""
    ending = "es" if noun.endswith("s") else "s"
    return f"{number:,} {noun}{ending * (number != 1)}"
