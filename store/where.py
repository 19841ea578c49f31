"""Filters as a user types them: `method=datadream-dset shots>=4 tag=best title~"two words"`."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from datadream.errors import UserError

# A filter of each, to learn from.
EXAMPLES = {
    "run": "method=datadream-dset shots>=4 tag=best",
    "job": "state=failed stage=generate submitted>2026-01-31",
    "set": "source=digits shots>=4",
    "adapter": "shots>=4 created>2026-01-31",
    "synth": "images_per_class>=500 tag=best",
    "classifier": "data=real+synth accuracy>=80",
    "experiment": "name~first done>=4",
}
OPERATORS = ("!=", ">=", "<=", "=", ">", "<", "~")
_PART = re.compile(r"([A-Za-z_]+)(!=|>=|<=|=|>|<|~)(.*)", re.DOTALL)


@dataclass(frozen=True)
class Condition:
    """`name op value`; `~` means contains."""

    name: str
    op: str
    value: str


def parse_where(text: str) -> tuple[Condition, ...]:
    """Conditions that must all hold. Raises UserError for what is none."""
    try:
        parts = shlex.split(text)
    except ValueError as error:
        raise UserError(f"--where has an open quote in {text!r}", hint="close the quote") from error
    found = []
    for part in parts:
        match = _PART.fullmatch(part)
        if match is None:
            raise UserError(
                f"can't parse {part!r} in --where",
                hint=f"use NAME, one of {' '.join(OPERATORS)} and a value, without spaces, e.g. shots>=4",
            )
        name, op, value = match.groups()
        try:
            value.encode()
        except UnicodeEncodeError:
            raise UserError(f"the value of {name} in --where is not UTF-8", hint="use UTF-8") from None
        found.append(Condition(name, op, value))
    return tuple(found)
