"""What a home's file system can do: tried before it is relied on, once for each host, boot and mount (`probe`).

The answers are kept in the home's `hosts/`. Kernel locks are trusted when they keep out a second process, and when
they are known to reach every host that may have that file system. Where any host found otherwise, all hosts use lease
files (`leasefiles`) in that home, for good: two kinds of locks beside one another would keep nobody out.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar

from datadream import durable, records
from datadream.canonical import short_id
from datadream.errors import UserError
from datadream.home import identity, probe
from datadream.storage import Mount, mount_of

T = TypeVar("T")
FOLDER = "hosts"
NO_ANSWER = "lock requests hang"
# Whose locks may stay on one host. NFS and Lustre say so in their options, see `_reach`.
ONE_HOST = {"9p", "virtiofs", "cifs", "smb3", "smbfs", "beegfs", "beegfs_nodev", "afs", "ncpfs", "coda", "vboxsf"}
LOCAL_FUSE = {"fuse.fuse-overlayfs", "fuse.mergerfs", "fuse.gocryptfs", "fuse.encfs", "fuse.ntfs-3g", "fuse.unionfs"}


@dataclass(frozen=True)
class Features:
    """A file system as tried. `locks` says why kernel locks aren't trusted, `refused` why no home can be kept there;
    "" where nothing is wrong.
    """

    kind: str = ""
    locks: str = ""
    flock: bool = True
    links: bool = True
    fsync: bool = True
    refused: str = ""


_known: dict[tuple[str, str, str, int], Features] = {}
_distrusted: dict[str, tuple[int, bool]] = {}
_homes: dict[str, Path] = {}


def features(path: Path) -> Features:
    """What the file system can do on which the file `path` lies, or would; its folder must be there.

    Raises UserError naming the file system when a home can't be kept on it.
    """
    key = _key(path)
    found = _known.get(key)
    if found is None:
        found = _known[key] = _recorded(path) or _tried(path)
    if found.refused:
        what = f"this file system can't hold a home ({found.kind or 'unknown type'}): {found.refused}"
        raise UserError(what, at=path.parent, hint="choose another --home, on a local disk or on NFS")
    return found


def has_kernel_locks(path: Path) -> bool:
    """Whether kernel locks keep everybody from `path`, as every host that used this home has found."""
    return not features(path).locks and not _is_distrusted(home_of(path))


def distrust(path: Path, why: str) -> None:
    """No host relies on kernel locks in this home any more."""
    found = _known[_key(path)] = replace(features(path), locks=why)
    _keep(path, found)


def home_of(path: Path) -> Path | None:
    """The home that `path` lies in, at most four folders down: the one with a `hosts` folder; None outside of any."""
    parent = str(path.parent)
    if parent not in _homes:
        found = next((folder for folder in list(path.parents)[:4] if (folder / FOLDER).is_dir()), None)
        if found is None:
            return None
        if len(_homes) > 10_000:
            _homes.clear()
        _homes[parent] = found
    return _homes[parent]


def _key(path: Path) -> tuple[str, str, str, int]:
    folder = path.parent
    return socket.gethostname(), identity.boot_id(), str(home_of(path) or folder), folder.stat().st_dev


def _is_distrusted(home: Path | None) -> bool:
    if home is None:
        return False
    changed = durable.changed_at(home / FOLDER)
    before = _distrusted.get(str(home))
    if before is not None and (before[1] or (before[0] == changed and not durable.is_racy(changed))):
        return before[1]
    found = any(_read(record).locks for record in (home / FOLDER).glob("[!.]*.json"))
    _distrusted[str(home)] = changed, found
    return found


def _read(record: Path) -> Features:
    """What a record says; a damaged one says nothing, and is written anew by its host."""
    try:
        found = records.read(record, {"features": dict})
        return Features(**found["features"]) if found is not None else Features()
    except (records.Unreadable, TypeError):
        return Features()


def _record(path: Path, mount: Mount) -> Path | None:
    home = home_of(path)
    return home and home / FOLDER / f"{short_id([socket.gethostname(), mount.device, mount.root])}.json"


def _content(mount: Mount, found: Features) -> dict[str, object]:
    mounted = {**asdict(mount), "options": list(mount.options)}
    return {"host": socket.gethostname(), "boot": identity.boot_id(), "mount": mounted, "features": asdict(found)}


def _recorded(path: Path) -> Features | None:
    """What this host found in this boot of this mount; None when it found nothing, or that doesn't hold any more."""
    mount = mount_of(path.parent.resolve())
    record = _record(path, mount)
    if record is None or not durable.changed_at(record):  # none, or none that we may see
        return None
    found = _read(record)
    try:
        if records.read(record) != _content(mount, found):
            return None
    except records.Unreadable:
        return None
    return found if found.locks or not _answer(lambda: probe.quick(path.parent), NO_ANSWER) else None


def _keep(path: Path, found: Features) -> None:
    mount = mount_of(path.parent.resolve())
    record = _record(path, mount)
    if record is not None:
        with suppress(OSError, UserError):  # a full disk, or no right to: tried again by the next process
            durable.write_json(record, _content(mount, found))


def _tried(path: Path) -> Features:
    """Everything tried now, and kept."""
    folder = path.parent
    mount = mount_of(folder.resolve())
    try:
        locks = _answer(lambda: probe.fcntl_locks(folder), NO_ANSWER)
        record = _record(path, mount)
        earlier = _read(record).locks if record else ""  # others may have come to rely on that
        found = Features(
            kind=mount.kind,
            locks=locks or _reach(mount) or earlier,
            flock=locks != NO_ANSWER and _answer(lambda: probe.flock_locks(folder), False),
            links=probe.hard_links(folder),
            fsync=probe.syncs(folder),
            refused=probe.refused(folder),
        )
    except (OSError, UserError):  # there is no room or no right to try: whoever writes here is told so then
        return Features(kind=mount.kind, locks=_reach(mount))
    _keep(path, found)
    return found


def _reach(mount: Mount) -> str:
    """Why locks there may not reach another host, "" when they do."""
    options = set(mount.options)
    local = bool(options & {"nolock", "local_lock=all", "local_lock=posix", "local_lock=flock", "localflock"})
    fuse = mount.kind.startswith("fuse.") and mount.kind not in LOCAL_FUSE
    lustre = mount.kind == "lustre" and "flock" not in options
    return f"{mount.kind} locks may not reach other hosts" if local or fuse or lustre or mount.kind in ONE_HOST else ""


def _answer(ask: Callable[[], T], otherwise: T) -> T:
    """What `ask` returns, or `otherwise` when that takes too long: a lock on a server that is gone never answers."""
    told: list[T] = []
    failed: list[Exception] = []

    def run() -> None:
        try:
            told.append(ask())
        except Exception as error:  # noqa: BLE001 - raised below, where it was asked
            failed.append(error)

    thread = threading.Thread(target=run, name="probe", daemon=True)
    thread.start()
    thread.join(2 * probe.SECONDS)
    if failed:
        raise failed[0]
    return told[0] if told else otherwise
