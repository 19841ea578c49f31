"""What the shell offers after TAB. Never an error, never anything heavy.

The shells' scripts put in what is offered as it is, unquoted: nothing may be offered that a shell would take apart.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING

from typer import Context

if TYPE_CHECKING:
    from datadream.home.layout import Home

Complete = Callable[[Context, str], list[str]]
OFFERED_MAX = 50


def _quiet(find: Complete) -> Complete:
    @wraps(find)
    def safe(ctx: Context, incomplete: str) -> list[str]:
        try:
            return find(ctx, incomplete)[:OFFERED_MAX]
        except Exception:  # noqa: BLE001 - a shell that completes has no place for an error
            return []

    return safe


def _home(ctx: Context) -> Home:
    """The home of `--home` if the line has that already, else the default one."""
    from datadream.home.layout import Home, place

    return Home(place(ctx.params.get("home") or None))


@_quiet
def jobs(ctx: Context, incomplete: str) -> list[str]:
    """Ids of jobs, the newest folders first."""
    from datadream.home.state import is_id

    with os.scandir(_home(ctx).path / "jobs") as entries:
        found = [entry for entry in entries if entry.name.startswith(incomplete) and is_id(entry.name)]
    return [entry.name for entry in sorted(found, key=lambda entry: -entry.stat().st_mtime_ns)]


def _artifacts(*kinds: str) -> Complete:
    @_quiet
    def find(ctx: Context, incomplete: str) -> list[str]:
        from datadream.home.state import is_id

        root = _home(ctx).path / "artifacts"
        names = [path.name for kind in kinds for path in (root / kind).glob("*")]
        return sorted(name for name in names if name.startswith(incomplete) and is_id(name))

    return find


adapters, synthetics, classifiers = _artifacts("adapter"), _artifacts("synthetic"), _artifacts("classifier")


@_quiet
def recipes(ctx: Context, incomplete: str) -> list[str]:
    """Names of built-in recipes."""
    from datadream.recipes.recipe import built_in_names

    return [name for name in built_in_names() if name.startswith(incomplete)]


@_quiet
def sets(ctx: Context, incomplete: str) -> list[str]:
    """Users' names for sets."""
    return _names(_home(ctx).path / "names" / "set", incomplete)


@_quiet
def experiments(ctx: Context, incomplete: str) -> list[str]:
    """Names of experiments."""
    return _names(_home(ctx).path / "experiments", incomplete)


@_quiet
def runs(ctx: Context, incomplete: str) -> list[str]:
    """Ids of runs."""
    from datadream.home.state import is_id

    names = (path.stem for path in (_home(ctx).path / "runs").glob("[!.]*.json"))
    return sorted(name for name in names if name.startswith(incomplete) and is_id(name))


@_quiet
def anything(ctx: Context, incomplete: str) -> list[str]:
    """Ids of whatever can be tagged, and the names of what has one."""
    finders = (sets, experiments, _artifacts("set", "adapter", "synthetic", "classifier"), runs, jobs)
    return list(dict.fromkeys(word for find in finders for word in find(ctx, incomplete)))


def _names(folder: Path, incomplete: str) -> list[str]:
    """The names that the records in `folder` give; the id in the place of one that a shell would take apart."""
    from datadream.home.state import read_dict

    records = [read_dict(path) or {} for path in folder.glob("[!.]*.json")]
    words = {_word(str(record.get("name", "")), str(record.get("id", ""))) for record in records}
    return sorted(word for word in words if word and word.startswith(incomplete))


def _word(name: str, id_: str) -> str:
    return name if shlex.quote(name) == name and not name.startswith("-") else id_
