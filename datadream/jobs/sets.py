"""Few-shot sets of a home: made once, found by name or id."""

from __future__ import annotations

import difflib
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from datadream import durable
from datadream.canonical import short_id
from datadream.data.shots import ShotSet, make_shot_set
from datadream.data.source import open_source
from datadream.errors import UserError
from datadream.jobs.artifacts import publish, read_manifest
from datadream.jobs.home import Home
from datadream.jobs.lease import lock

FILE = "set.json"
Check = Literal["all", "used"]


@dataclass(frozen=True)
class NamedSet:
    """A user's name and the set it stands for."""

    name: str
    id: str
    shots: ShotSet


def add_set(home: Home, shots: ShotSet, name: str | None) -> NamedSet:
    """Keep `shots` and give it `name` (default: source, shots and seed). The same set again is found, not remade.

    Raises UserError when the name stands for another set.
    """
    name = name or default_name(shots)
    if not name.strip() or not _is_text(name):
        raise UserError(f"{name!r} can't be a set's name", hint="use at least one visible character, in UTF-8")
    path = home.set_name(short_id(name))
    with lock(durable.make_dir(home.path / "artifacts" / "set") / ".lease"):
        if path.exists() and _read_name(path)[1] != shots.id:
            raise UserError(f"the name {name!r} stands for another set", at=path, hint="choose another --name")
        there = home.has("set", shots.id)
        if not there or _folder_is_gone(load_set(home, shots.id)):  # the same images, now in another place
            staged = home.staging("set", shots.id)
            durable.remove_dir(staged)
            durable.write_bytes(durable.make_dir(staged) / FILE, shots.to_json_bytes())
            spec: dict[str, Any] = {"source": shots.source, "shots": shots.shots, "seed": shots.seed}
            publish(home, "set", shots.id, spec, {}, instead=there)
        durable.make_dir(path.parent)
        durable.write_json(path, {"name": name, "id": shots.id})
    return NamedSet(name, shots.id, shots)


def _read_name(path: Path) -> tuple[str, str]:
    """A name and the set it stands for. Raises UserError when that can't be read."""
    try:
        entry = json.loads(durable.read_bytes(path))
        return str(entry["name"]), str(entry["id"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        hint = "restore that file, or remove it and make the set again"
        raise UserError("this name of a set can't be read", at=path, hint=hint) from error


def _is_text(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def make_set(
    home: Home, source: str, shots: int, seed: int, *, split_seed: int, name: str | None, check: Check
) -> NamedSet:
    """Draw a few-shot set from `source` (digits, or a folder) and keep it."""
    opened = open_source(source)
    return add_set(home, make_shot_set(opened, shots, seed, split_seed=split_seed, check=check), name)


def default_name(shots: ShotSet) -> str:
    """As `digits-4shot-seed1`."""
    label = source_label(shots)
    tail = "" if shots.split_seed == 0 else f"-split{shots.split_seed}"
    return f"{label}-{shots.shots}shot-seed{shots.seed}{tail}"


def source_label(shots: ShotSet) -> str:
    """What a table calls the data: the built-in name, or the folder's."""
    path = str(shots.source.get("path", ""))
    return path.rstrip("/").rsplit("/", 1)[-1] if path else str(shots.source["kind"])


def load_set(home: Home, set_id: str) -> ShotSet:
    """The set with this id."""
    read_manifest(home, "set", set_id)
    return ShotSet.parse(durable.read_bytes(home.artifact("set", set_id) / FILE))


def _folder_is_gone(shots: ShotSet) -> bool:
    path = shots.source.get("path")
    return path is not None and not Path(path).is_dir()


def list_sets(home: Home) -> list[NamedSet]:
    """Every named set that can be read, by name; `datadream registry check` tells of others."""
    found = []
    for path in (home.path / "names" / "set").glob("[!.]*.json"):
        with suppress(UserError):
            name, set_id = _read_name(path)
            found.append(NamedSet(name, set_id, load_set(home, set_id)))
    return sorted(found, key=lambda entry: entry.name)


def find_set(home: Home, name: str) -> NamedSet:
    """The set called `name`, or whose id begins with it. Raises UserError naming the nearest."""
    if not _is_text(name):
        raise UserError(f"no set called {name!r}", at=home.path, hint="see `datadream set ls`")
    path = home.set_name(short_id(name))
    if path.exists():
        known, set_id = _read_name(path)
        return NamedSet(known, set_id, load_set(home, set_id))
    sets = list_sets(home)
    matches = {entry.id: entry for entry in sets if len(name) >= 4 and entry.id.startswith(name)}
    if len(matches) == 1:
        return next(iter(matches.values()))
    near = difflib.get_close_matches(name, [entry.name for entry in sets], n=1)
    hint = f"did you mean {near[0]!r}?" if near else "make one with `datadream set make`, or see `datadream set ls`"
    raise UserError(f"no set called {name!r}", at=home.path, hint=hint)
