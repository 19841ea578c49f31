"""Which methods there are, ours and other packages', told without importing any.

Another package adds to a table by an entry point of the group `datadream.TABLE`, whose name a recipe then writes:

    [project.entry-points."datadream.starts"]
    blurred = "my_package:blurred"

What such a method is (name, distribution, version) is part of a job's spec, and so of the id of what it makes.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from datadream.errors import UserError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

TABLES: dict[str, dict[str, str]] = {  # as entry points name them: nothing is imported to list them
    "starts": {"noise": "datadream.methods.starts:from_noise", "shots": "datadream.methods.starts:from_shots"},
    "guidance": {
        "constant": "datadream.methods.guidance:constant",
        "interval": "datadream.methods.guidance:interval",
    },
    "selection": {"all": "datadream.methods.selection:every", "clip": "datadream.methods.selection:clip_filter"},
    "losses": {"mixed": "datadream.methods.losses:mixed", "pooled": "datadream.methods.losses:pooled"},
}
FIELDS = {"start": "starts", "cfg": "guidance", "by": "selection", "loss": "losses"}  # of settings


def names(table: str) -> list[str]:
    """Every name that a recipe can write there, ours first."""
    return [*TABLES[table], *sorted(set(_entries(table)) - set(TABLES[table]))]


def check(table: str, name: str) -> None:
    """Raise ValueError for a name that is none, naming the nearest."""
    if name in TABLES[table]:
        return
    known = names(table)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        raise ValueError(f"there is no {name!r}: " + (f"did you mean {near[0]!r}?" if near else ", ".join(known)))


def preload(fields: Iterable[str]) -> None:
    """Import the built-in methods that settings with these fields choose among, so that nothing of ours is imported
    later, when it may be another version's.
    """
    for table in [FIELDS[field] for field in fields if field in FIELDS]:
        for place in TABLES[table].values():
            import_module(place.partition(":")[0])


def find(table: str, name: str) -> Any:
    """The function of that name, ours or another package's. Raises UserError when that can't be imported."""
    if name in TABLES[table]:
        module, _, function = TABLES[table][name].partition(":")
        return getattr(import_module(module), function)
    entry = _entries(table).get(name)
    if entry is None:
        raise UserError(f"no method {name!r} in {table}", hint="install the package that brings it")
    try:
        return entry.load()
    except Exception as error:  # another package's code
        what = f"the method {name!r} of {_origin(entry)} can't be imported: {error}"
        raise UserError(what, hint="mend or update that package") from error


def used(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """`TABLE NAME DISTRIBUTION VERSION` of each method of another package that these settings name."""
    found = []
    for field, table in FIELDS.items():
        name = settings.get(field)
        if name and name not in TABLES[table] and name in (entries := _entries(table)):
            found.append(f"{table} {name} {_origin(entries[name])}")
    return tuple(found)


def check_used(settings: Mapping[str, Any], asked: tuple[str, ...]) -> None:
    """Raise UserError when the methods of other packages aren't those that were asked for."""
    if (now := used(settings)) != asked:
        raise UserError(
            f"asked for with {', '.join(asked) or 'none'}, and {', '.join(now) or 'none'} is installed now",
            hint="install that version, or run the same command again to ask for what is installed",
        )


def installed() -> dict[str, str]:
    """The version of every package that brings a method."""
    found = [entry.dist for table in TABLES for entry in _entries(table).values()]
    return {dist.name: dist.version for dist in found if dist is not None}


def _entries(table: str) -> dict[str, EntryPoint]:
    from importlib import metadata  # slow, and seldom needed

    return {entry.name: entry for entry in metadata.entry_points(group=f"datadream.{table}")}


def _origin(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown package"
