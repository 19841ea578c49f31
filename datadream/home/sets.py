"""Few-shot sets of a home: made once, found by name or id."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from datadream import durable, records
from datadream.canonical import short_id
from datadream.data.listing import some
from datadream.data.parts import left_out
from datadream.data.shots import Drawn, ShotSet, draw_shot_set
from datadream.data.source import Source, open_source
from datadream.data.twins import Found, find_twins, read_found, sentence
from datadream.errors import UserError
from datadream.home.artifacts import AGAIN_SET, amend_origin, publish, read_manifest
from datadream.home.layout import Home
from datadream.home.lease import lock
from datadream.home.state import is_id

FILE = "set.json"
TWINS = "twins"  # in a set's manifest: what occurs more than once in it
Check = Literal["all", "used"]


@dataclass(frozen=True)
class NamedSet:
    """A user's name and the set it stands for. `notes` is what there was to say while it was made."""

    name: str
    id: str
    shots: ShotSet
    notes: tuple[str, ...] = ()


def add_set(
    home: Home, shots: ShotSet, name: str | None, found: Found | None = None, *, free: bool = False
) -> NamedSet:
    """Keep `shots` and give it `name` (default: source, shots and seed). The same set again is found, not remade; it is
    read from where it was asked for last.

    `found` (what occurs more than once in it) is recorded beside it, for `warnings_of`. Raises UserError when the name
    stands for another set; with `free` it gets a number instead.
    """
    name = name or default_name(shots)
    if not name.strip() or not _is_text(name):
        raise UserError(f"invalid set name {name!r}", hint="use at least one visible character, in UTF-8")
    with lock(durable.make_dir(home.path / "artifacts" / "set") / ".lease"):
        name = free_name(home, name, shots.id) if free else name
        path = home.set_name(short_id(name))
        if _held(home, name) not in ("", shots.id):
            raise UserError(f"the name {name!r} is already used for another set", at=path, hint="choose another --name")
        if not home.has("set", shots.id):
            staged = home.staging("set", shots.id)
            durable.remove_dir(staged)
            durable.write_bytes(durable.make_dir(staged) / FILE, shots.to_json_bytes())
            spec: dict[str, Any] = {"source": shots.source, "shots": shots.shots, "seed": shots.seed}
            publish(home, "set", shots.id, spec, {})
        _record(home, shots.id, found)
        if load_set(home, shots.id).source != shots.source:  # the same images, now in another place
            place = home.place(shots.id)
            durable.make_dir(place.parent)
            durable.write_json(place, {"path": shots.source["path"]})
        durable.make_dir(path.parent)
        durable.write_json(path, {"name": name, "id": shots.id})
    return NamedSet(name, shots.id, shots)


def free_name(home: Home, name: str, set_id: str) -> str:
    """`name`, or with a number behind it the first of its kind that stands for no other set than `set_id`."""
    numbered = (f"{name}-{number}" for number in itertools.count(2))
    return next(found for found in itertools.chain([name], numbered) if _held(home, found) in ("", set_id))


def _held(home: Home, name: str) -> str:
    """The id of the set that a name stands for; "" for none."""
    held = read_name(home.set_name(short_id(name)))
    return str(held["id"]) if held is not None else ""


def _record(home: Home, set_id: str, found: Found | None) -> None:
    """Keep what was found, unless more was looked at before."""
    if found is None:
        return
    old = _recorded(home, set_id)
    if old is None or found.spare or not old.spare:
        amend_origin(home, "set", set_id, {TWINS: found.model_dump(mode="json")})


def _recorded(home: Home, set_id: str) -> Found | None:
    return read_found(read_manifest(home, "set", set_id)["origin"].get(TWINS))


def warnings_of(home: Home, set_id: str) -> list[str]:
    """A sentence for each kind of picture that occurs more than once in a set: count, example, effect on the number.

    By decoded pixels, as recorded when the set was made; of sets made before that was recorded, by bytes. Empty when
    the set is gone or can't be read.
    """
    with suppress(UserError, KeyError, TypeError, AttributeError, OSError):
        found = _recorded(home, set_id) or find_twins(load_set(home, set_id))
        return [sentence(twins) for twins in found.twins]
    return []


def told_of(home: Home, sets: Sequence[NamedSet]) -> list[str]:
    """Lines for whoever made or uses these sets: notes and warnings, each once; which of several sets it is about."""
    names: dict[str, list[str]] = {}
    several = len(sets) > 1
    for entry in sets:
        for line in (
            *(f"note: {text}" for text in entry.notes),
            *(f"warning: {text}" for text in warnings_of(home, entry.id)),
        ):
            names.setdefault(line, []).append(entry.name)
    return [f"{line} [{some(of, 3)}]" if several else line for line, of in names.items()]


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
    return keep(home, opened, draw_shot_set(opened, shots, seed, split_seed=split_seed, check=check), name)


def keep(home: Home, source: Source, drawn: Drawn, name: str | None = None, *, free: bool = False) -> NamedSet:
    """`add_set` of what was drawn from `source`, with notes on what the source left out."""
    made = add_set(home, drawn.shots, name, drawn.found, free=free)
    skipped = left_out(source)
    return replace(made, notes=(skipped,)) if skipped else made


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
    """The set with this id, its source folder where it was asked for last. Raises UserError for a changed one."""
    manifest = read_manifest(home, "set", set_id)
    folder = home.artifact("set", set_id)
    shots = read_set(folder)
    if shots.id != set_id or (manifest["spec"].get("shots"), manifest["spec"].get("seed")) != (shots.shots, shots.seed):
        raise UserError(f"set {set_id} was changed: its hash is not its id", at=folder, hint=AGAIN_SET)
    what, hint = (
        "the place of the set's folder",
        "remove that file, and make the set again from the folder's current place",
    )
    place = records.read(home.place(set_id), {"path": str}, what=what, hint=hint)
    return shots.moved_to(Path(place["path"])) if place else shots


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
            lost.append(records.Unreadable(path, "names a set that does not exist"))
            continue
        found += [entry] if entry is not None else []
    return sorted(found, key=lambda entry: entry.name)


def read_name(path: Path) -> dict[str, Any] | None:
    """What a name's file holds; None when there is none. Raises Unreadable."""
    what, hint = "this set name", "restore that file, or remove it and make the set again"
    found = records.read(path, {"name": str, "id": str}, what=what, hint=hint)
    if found is not None and (short_id(found["name"]) != path.stem or not is_id(found["id"])):
        raise records.Unreadable(path, "holds another name, or none", hint, what)
    return found


def _named(home: Home, path: Path) -> NamedSet | None:
    """The set that the name in this file stands for, None when there is no such name. Raises UserError."""
    found = read_name(path)
    return NamedSet(found["name"], found["id"], load_set(home, found["id"])) if found is not None else None


def find_set(home: Home, name: str) -> NamedSet:
    """The set called `name`, or whose id begins with it. Raises UserError naming the nearest."""
    if not _is_text(name):
        raise UserError(f"no set {name!r}", at=home.path, hint="see `datadream set ls`")
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
    raise UserError(f"no set {name!r}", at=home.path, hint=f"{hint}; {lost}" if lost else hint)
