"""Few-shot sets of a home: made once, found by name or id."""

from __future__ import annotations

import difflib
import json
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
from datadream.jobs.lease import lease

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
    held = json.loads(durable.read_bytes(path)) if path.exists() else None
    if held and held["id"] != shots.id:
        raise UserError(f"the name {name!r} stands for another set", at=path, hint="choose another --name")
    with lease(durable.make_dir(home.path / "artifacts" / "set") / ".lease"):
        if home.has("set", shots.id) and _folder_is_gone(load_set(home, shots.id)):
            durable.remove_dir(home.artifact("set", shots.id))  # the same images, now in another place
        if not home.has("set", shots.id):
            staged = home.staging("set", shots.id)
            durable.remove_dir(staged)
            durable.write_bytes(durable.make_dir(staged) / FILE, shots.to_json_bytes())
            spec: dict[str, Any] = {"source": shots.source, "shots": shots.shots, "seed": shots.seed}
            publish(home, "set", shots.id, spec, {})
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
    return ShotSet.parse(durable.read_bytes(home.artifact("set", set_id) / FILE))


def _folder_is_gone(shots: ShotSet) -> bool:
    path = shots.source.get("path")
    return path is not None and not Path(path).is_dir()


def list_sets(home: Home) -> list[NamedSet]:
    """Every named set, by name."""
    found = []
    for path in (home.path / "names" / "set").glob("*.json"):
        entry = json.loads(durable.read_bytes(path))
        found.append(NamedSet(entry["name"], entry["id"], load_set(home, entry["id"])))
    return sorted(found, key=lambda entry: entry.name)


def find_set(home: Home, name: str) -> NamedSet:
    """The set called `name`, or whose id begins with it. Raises UserError naming the nearest."""
    if not _is_text(name):
        raise UserError(f"no set called {name!r}", at=home.path, hint="see `datadream set ls`")
    path = home.set_name(short_id(name))
    if path.exists():
        entry = json.loads(durable.read_bytes(path))
        return NamedSet(entry["name"], entry["id"], load_set(home, entry["id"]))
    sets = list_sets(home)
    matches = {entry.id: entry for entry in sets if len(name) >= 4 and entry.id.startswith(name)}
    if len(matches) == 1:
        return next(iter(matches.values()))
    near = difflib.get_close_matches(name, [entry.name for entry in sets], n=1)
    hint = f"did you mean {near[0]!r}?" if near else "make one with `datadream set make`, or see `datadream set ls`"
    raise UserError(f"no set called {name!r}", at=home.path, hint=hint)
