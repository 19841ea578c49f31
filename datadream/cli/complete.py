"""What the shell offers after TAB. Never an error, never anything heavy."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps

Complete = Callable[[str], list[str]]
OFFERED_MAX = 50


def _quiet(find: Complete) -> Complete:
    @wraps(find)
    def safe(incomplete: str) -> list[str]:
        try:
            return find(incomplete)[:OFFERED_MAX]
        except Exception:  # noqa: BLE001 - a shell that completes has no place for an error
            return []

    return safe


@_quiet
def jobs(incomplete: str) -> list[str]:
    """Ids of jobs, the newest folders first."""
    from datadream.jobs.home import Home, default_home
    from datadream.jobs.state import is_id

    folder = Home(default_home()).path / "jobs"
    with os.scandir(folder) as entries:
        found = [entry for entry in entries if entry.name.startswith(incomplete) and is_id(entry.name)]
    return [entry.name for entry in sorted(found, key=lambda entry: -entry.stat().st_mtime_ns)]


def _artifacts(*kinds: str) -> Complete:
    @_quiet
    def find(incomplete: str) -> list[str]:
        from datadream.jobs.home import Home, default_home
        from datadream.jobs.state import is_id

        root = Home(default_home()).path / "artifacts"
        names = [path.name for kind in kinds for path in (root / kind).glob(f"{incomplete}*")]
        return sorted(name for name in names if is_id(name))

    return find


adapters, synthetics, classifiers = _artifacts("adapter"), _artifacts("synthetic"), _artifacts("classifier")


@_quiet
def recipes(incomplete: str) -> list[str]:
    """Names of built-in recipes."""
    from datadream.recipes.recipe import built_in_names

    return [name for name in built_in_names() if name.startswith(incomplete)]


@_quiet
def sets(incomplete: str) -> list[str]:
    """Users' names for sets."""
    from datadream.jobs.home import Home, default_home
    from datadream.jobs.state import read_dict

    found = [read_dict(path) or {} for path in (Home(default_home()).path / "names" / "set").glob("*.json")]
    return sorted(str(entry["name"]) for entry in found if str(entry.get("name", "")).startswith(incomplete))


@_quiet
def runs(incomplete: str) -> list[str]:
    """Ids of runs."""
    from datadream.jobs.home import Home, default_home

    return sorted(path.stem for path in (Home(default_home()).path / "runs").glob(f"{incomplete}*.json"))


@_quiet
def anything(incomplete: str) -> list[str]:
    """Ids of whatever can be tagged."""
    found = _artifacts("set", "adapter", "synthetic", "classifier")(incomplete) + runs(incomplete) + jobs(incomplete)
    return list(dict.fromkeys(found))
