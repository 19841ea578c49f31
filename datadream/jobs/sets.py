"""Few-shot sets of a home: made once, found by name or id."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from datadream import durable, records
from datadream.canonical import short_id
from datadream.data.shots import ShotSet, make_shot_set
from datadream.data.source import open_source
from datadream.errors import UserError
from datadream.jobs.artifacts import publish, read_manifest
from datadream.jobs.home import Home
from datadream.jobs.lease import lock
from datadream.jobs.state import is_id

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
        held = read_name(path)
        if held is not None and held["id"] != shots.id:
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
    return read_set(home.artifact("set", set_id))


def read_set(folder: Path) -> ShotSet:
    """The set in an artifact's folder. Raises Unreadable."""
    path = folder / FILE
    data = records.read_bytes(path, records.LISTS_BYTES)
    if data is None:
        raise records.Unreadable(path, "is gone")
    try:
        return ShotSet.parse(data)
    except UserError as error:
        raise records.Unreadable(path, error.message.removeprefix("this ")) from error


def _folder_is_gone(shots: ShotSet) -> bool:
    path = shots.source.get("path")
    return path is not None and not Path(path).is_dir()


def list_sets(home: Home, unreadable: list[records.Unreadable] | None = None) -> list[NamedSet]:
    """Every named set, by name; one that can't be read is left out, and added to `unreadable` where that is given."""
    found: list[NamedSet] = []
    lost = [] if unreadable is None else unreadable
    for path in records.entries(home.path / "names" / "set"):
        try:
            entry = _named(home, path)
        except records.Unreadable as error:
            lost.append(error)
            continue
        except UserError:
            lost.append(records.Unreadable(path, "names a set that is gone"))
            continue
        found += [entry] if entry is not None else []
    return sorted(found, key=lambda entry: entry.name)


def read_name(path: Path) -> dict[str, Any] | None:
    """What a name's file holds; None when there is none. Raises Unreadable."""
    what, hint = "this name of a set", "restore that file, or remove it and make the set again"
    found = records.read(path, {"name": str, "id": str}, what=what, hint=hint)
    if found is not None and (short_id(found["name"]) != path.stem or not is_id(found["id"])):
        raise records.Unreadable(path, "holds another name, or none of a set", hint, what)
    return found


def _named(home: Home, path: Path) -> NamedSet | None:
    """The set that the name in this file stands for, None when there is no such name. Raises UserError."""
    found = read_name(path)
    return NamedSet(found["name"], found["id"], load_set(home, found["id"])) if found is not None else None


def find_set(home: Home, name: str) -> NamedSet:
    """The set called `name`, or whose id begins with it. Raises UserError naming the nearest."""
    if not _is_text(name):
        raise UserError(f"no set called {name!r}", at=home.path, hint="see `datadream set ls`")
    named = _named(home, home.set_name(short_id(name)))
    if named is not None:
        return named
    unreadable: list[records.Unreadable] = []
    sets = list_sets(home, unreadable)
    matches = {entry.id: entry for entry in sets if len(name) >= 4 and entry.id.startswith(name)}
    if len(matches) == 1:
        return next(iter(matches.values()))
    near = difflib.get_close_matches(name, [entry.name for entry in sets], n=1)
    hint = f"did you mean {near[0]!r}?" if near else "make one with `datadream set make`, or see `datadream set ls`"
    lost = records.left_out(unreadable)
    raise UserError(f"no set called {name!r}", at=home.path, hint=f"{hint}; {lost}" if lost else hint)
