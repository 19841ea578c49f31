"""What a line of a log looks like, and which lines are wanted. The same text is shown, searched and filtered."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from datadream.errors import UserError
from datadream.text import shown

CUT = 1000  # characters of a line that are shown
ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
Level = Literal["all", "warnings", "errors"]
LEVELS: tuple[Level, ...] = ("all", "warnings", "errors")
LEVEL_WORDS = {"all": "all lines", "warnings": "warnings and errors", "errors": "errors"}
ERRORS = ("error", "critical", "fatal", "exception", "traceback", "killed", "out of memory")
NEEDLES: dict[Level, tuple[str, ...]] = {"all": (), "warnings": (*ERRORS, "warn"), "errors": ERRORS}
REGEX = "re:"
Words = Callable[[str], str]


def clean(data: bytes, words: Words | None = None) -> list[str]:
    """The lines of `data` (its pieces between newlines) as a terminal would leave them.

    Escape sequences are gone, of a line that was drawn over only what follows the last carriage return is left, what
    is no UTF-8 is replaced. Controls are still in; `line_shown` writes them out.
    """
    text = data.decode("utf-8", "replace")
    if "\x1b" in text:
        text = ANSI.sub("", text)
    lines = text.split("\n")
    if "\r" in text:
        lines = [line.rstrip("\r").rpartition("\r")[2] if "\r" in line else line for line in lines]
    return [words(line) for line in lines] if words else lines


def line_shown(line: str) -> str:
    """At most `CUT` characters of a cleaned line and a mark that says how many more there are, safe to show."""
    if "\t" in line:
        line = line[: 2 * CUT].expandtabs(8) + line[2 * CUT :]
    rest = len(line) - CUT
    line = line[:CUT]
    if not line.isprintable():  # whatever `shown` writes out isn't printable either
        line = shown(line)
    return f"{line} [+{rest} characters]" if rest > 0 else line


@dataclass(frozen=True)
class Wanted:
    """Which lines: of a level, and with `pattern` in them (any case; a regex after `re:`). "" is every line.

    A regex looks at what is shown of a line, its first `CUT` characters; plain text is found anywhere in it.
    """

    level: Level = "all"
    pattern: str = ""

    @property
    def all(self) -> bool:
        """Whether every line is."""
        return self.level == "all" and not self.pattern

    def numbers(self, lines: Sequence[str]) -> list[int]:
        """The places, from 0, of those that are wanted."""
        found: Sequence[int] = range(len(lines))
        needles, plain, regex = NEEDLES[self.level], self.plain, self.regex
        if needles or plain:
            low = "\n".join(lines).lower()  # one search through all is far faster than one a line
            if needles:
                found = _lines_with(needles, low)
            if plain and found:
                with_plain = _lines_with((plain,), low)
                found = sorted(set(found) & set(with_plain)) if needles else with_plain
        return [number for number in found if regex.search(lines[number][:CUT])] if regex else list(found)

    @property
    def plain(self) -> str:
        """The text to find, in lower case; "" for a regex."""
        return "" if self.pattern.startswith(REGEX) else self.pattern.lower()

    @property
    def regex(self) -> re.Pattern[str] | None:
        """The regex to find, None for plain text."""
        return re.compile(self.pattern[len(REGEX) :], re.IGNORECASE) if self.pattern.startswith(REGEX) else None


def _lines_with(needles: Sequence[str], text: str) -> list[int]:
    """The numbers of the lines of `text` in which one of the needles is."""
    found: set[int] = set()
    for needle in needles:
        number, counted, place = 0, 0, text.find(needle)
        while place >= 0:
            number += text.count("\n", counted, place)
            found.add(number)
            counted = text.find("\n", place)
            place = text.find(needle, counted) if counted >= 0 else -1
    return sorted(found)


def check_pattern(pattern: str) -> None:
    """Raise UserError when the regex is none, or when it may take for ever on one line (a repeat of a repeat)."""
    if not pattern.startswith(REGEX):
        return
    try:
        re.compile(pattern[len(REGEX) :])
    except (re.error, RecursionError, OverflowError) as error:
        raise UserError(f"invalid regex: {error}", hint="omit `re:` to search the plain text") from error
    if _is_slow(pattern[len(REGEX) :]):
        raise UserError("nested repeats in a regex could take forever", hint="remove the outer repeat")


def _is_slow(pattern: str) -> bool:
    """Whether an open repeat has another repeat, or a choice, inside: what backtracking is exponential in."""
    from re import _parser  # type: ignore[attr-defined]

    def walk(node: object, repeated: bool) -> bool:
        if isinstance(node, _parser.SubPattern | list):
            return any(walk(part, repeated) for part in node)
        if not isinstance(node, tuple) or not node:
            return False
        name = str(node[0])
        if name in ("MAX_REPEAT", "MIN_REPEAT"):
            low, high, inside = node[1]
            many = int(high) > 8 and int(high) != int(low)
            return (repeated and many) or walk(inside, repeated or many)
        if name == "BRANCH" and repeated:
            return True
        return any(walk(part, repeated) for part in node[1:] if isinstance(part, tuple | list | _parser.SubPattern))

    return walk(_parser.parse(pattern), False)


def spans(line: str, wanted: Wanted) -> list[tuple[int, int]]:
    """Where the pattern is in a line that is shown."""
    if not wanted.pattern:
        return []
    regex = wanted.regex or re.compile(re.escape(wanted.pattern), re.IGNORECASE)
    return [found.span() for found in regex.finditer(line) if found.end() > found.start()]


def level_of(line: str) -> Level:
    """The narrowest level that shows the line."""
    low = line.lower()
    for level in reversed(LEVELS):
        needles = NEEDLES[level]
        if needles and any(needle in low for needle in needles):
            return level
    return "all"
