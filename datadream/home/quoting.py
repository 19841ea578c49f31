"""The one owner of quoting: words for a shell, in a batch script or in a command line to be copied."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from datadream.text import is_unshown

WORD = re.compile(r"[\w@%+=:,./-]+")  # of which no shell and no scheduler takes anything apart
OPTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def command_line(words: Sequence[str]) -> str:
    """A line that bash reads as exactly these words, whatever is in them."""
    return " ".join(map(bash_word, words))


def bash_word(text: str) -> str:
    """`text` as one word of bash, of characters that are shown: a line break in a name must not begin a line that a
    scheduler reads, nor a control act on the terminal it is pasted into.
    """
    if not any(map(is_unshown, text)):
        return shlex.quote(text)
    return "$'" + "".join(_escaped(character) for character in text) + "'"


def is_word(text: str) -> bool:
    """Whether it can stand unquoted in a scheduler's directive."""
    return WORD.fullmatch(text) is not None


def is_directive_value(text: str) -> bool:
    """Whether it can stand between double quotes in a scheduler's directive."""
    return bool(text) and not any(character in '"\\' or is_unshown(character) for character in text)


def is_option(text: str) -> bool:
    """Whether it can be the name of a scheduler's option, without dashes."""
    return OPTION.fullmatch(text) is not None


def _escaped(character: str) -> str:
    if character in "'\\":
        return f"\\{character}"
    if is_unshown(character):
        lone = "surrogateescape" if "\udc80" <= character <= "\udcff" else "surrogatepass"
        return "".join(f"\\x{byte:02x}" for byte in character.encode(errors=lone))
    return character
