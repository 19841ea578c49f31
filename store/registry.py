"""Opening the registry: pragmas, one writer, migrations, backups, and what to do with a damaged or newer file.

DO: hold `writing` for a transaction that ends soon; open a `reading` session for a page and close it.
Nobody waits for ever: a lock that isn't had within `patience` seconds is a LockHeld that names its holder, and whatever
else SQLite refuses is a UserError (`trouble`).
DON'T: open, copy or hash the database file in a process that has it open: closing any descriptor drops SQLite's own
locks (https://sqlite.org/howtocorrupt.html). `backup` copies it the right way.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, QueuePool, event
from sqlmodel import Session, SQLModel, create_engine

from datadream import durable, locks
from datadream.errors import UserError
from datadream.storage import MOUNTS, mount_of
from store import tables  # noqa: F401 - fills SQLModel's metadata
from store.trouble import INDEX, told

REVISIONS = ("0001", "0002", "0003", "0004", "0005")
REVISION = REVISIONS[-1]
REMOTE = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "lustre", "gpfs", "beegfs", "ceph", "fuse.sshfs", "afs")
SETTLE_SECONDS = 2.0
Guard = Callable[[float, locks.Notice], AbstractContextManager[object]]  # as `locks.flocked`: for how long, and told


class Registry:
    """An open registry. Sessions see one state of it; a file that was replaced or deleted meanwhile is opened anew."""

    def __init__(
        self,
        path: Path,
        lock: Path,
        notices: locks.Notice = locks.silent,
        mounts: Path = MOUNTS,
        patience: float | None = None,
        guard: Guard | None = None,
    ) -> None:
        """Use `Registry.open`."""
        self.path, self._lock, self._notices, self._guard = path, lock, notices, guard
        self._journal = "TRUNCATE" if guard or is_remote(path, mounts) else "WAL"
        self._patience = locks.PATIENCE_SECONDS if patience is None else patience
        self.on_close: Callable[[], object] = lambda: None
        self._inside = threading.local()
        self._engine: Engine | None = None
        self._inode = 0

    @classmethod
    def open(
        cls,
        path: Path,
        lock: Path,
        *,
        notices: locks.Notice = locks.silent,
        mounts: Path = MOUNTS,
        patience: float | None = None,
        guard: Guard | None = None,
    ) -> Registry:
        """The registry at `path`, made or migrated if need be; `lock` is held by whoever writes.

        Where the file system's locks keep nobody out, SQLite's don't either: then `guard` gives a lock that does, and
        whoever reads holds it too. Raises UserError when the registry is from a newer version, or the disk refuses;
        LockHeld when it had to be made and somebody has the lock for longer than `patience` seconds
        (locks.PATIENCE_SECONDS when None). A damaged file is kept beside, and a new one begun.
        """
        registry = cls(path, lock, notices, mounts, patience, guard)
        if registry._journal != "WAL" and not path.exists():
            notices(
                f"{path.parent} is on a network file system: the registry is slower there; jobs do not depend on it"
            )
        with told(path):
            registry._connect()
        return registry

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that only looks. No writer waits for it, save on a network file system."""
        with told(self.path), self._guarded(), Session(self._current()) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A session in one transaction, with no other writer about; committed at the end, undone on an error."""
        with told(self.path), self.alone(), Session(self._current()) as session:
            yield session
            session.commit()

    def close(self) -> None:
        """Let go of the file."""
        self._dispose()
        self.on_close()

    def _dispose(self) -> None:
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    def backup(self, target: Path) -> None:
        """A consistent copy at `target`, while others read and write (SQLite's online backup). It is private, or its
        group's when both the registry and `target` lie in a folder that is shared.
        """
        partial = durable.scratch(target)
        try:
            with told(target):
                self._copy(partial, durable.file_mode(self.path) & durable.file_mode(target))
                durable.replace_file(partial, target)
        except OSError as error:
            if durable.is_full(error):
                raise durable.no_space(target) from error
            raise UserError(f"can't back up the registry: {error}", at=target, hint="choose another path") from error
        finally:
            remove(partial)

    def _copy(self, target: Path, mode: int) -> None:
        """A closed database of the same content, private from its first moment."""
        os.close(durable.open_file(target, os.O_RDWR))  # SQLite would make it with the umask's mode
        with suppress(PermissionError):  # a file system without modes, as a memory stick's
            target.chmod(mode)
        plain = self._guard is not None
        with (
            self._guarded(),
            closing(_raw(self.path, plain, self._patience)) as source,
            closing(_raw(target, plain)) as copy,
        ):
            source.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")

    def problems(self) -> list[str]:
        """What SQLite's own checks say; empty when the file is sound."""
        with self.reading() as session:
            connection = session.connection()
            found = [str(row[0]) for row in connection.exec_driver_sql("PRAGMA integrity_check")]
            keys = [
                f"a row of {row[0]} refers to nothing" for row in connection.exec_driver_sql("PRAGMA foreign_key_check")
            ]
        return [line for line in found if line != "ok"] + keys

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep every other writer out for a while; within itself it does nothing more.

        Raises LockHeld when one stays for longer than `patience`.
        """
        if getattr(self._inside, "alone", False):
            yield
            return
        if self._guard is not None:
            held = self._guard(self._patience, self._notices)
        else:
            held = locks.flocked(self._lock, seconds=self._patience, told=self._notices)
        with held:
            self._inside.alone = True
            try:
                yield
            finally:
                self._inside.alone = False

    def _guarded(self) -> AbstractContextManager[None]:
        """What a reader needs: nothing, where SQLite's own locks are good."""
        return self.alone() if self._guard else nullcontext()

    def _current(self) -> Engine:
        if self._engine is None or _inode(self.path) != self._inode:
            self._dispose()
            self._connect()
        assert self._engine is not None
        return self._engine

    def _connect(self) -> None:
        with self._guarded():
            if self._guard is not None:
                _leave_wal(self.path)
            found = self._revision()
        if found != REVISION:
            with self.alone():
                self._prepare()
        self._engine = _engine(self.path, self._journal, self._guard is not None, self._patience)
        self._inode = _inode(self.path)

    def _prepare(self) -> None:
        """Under the lock: see to it that there is a database of this revision."""
        found = self._revision()
        if found == REVISION:
            return
        if found == "damaged":
            aside = self.path.with_name(f"{self.path.name}.damaged-{time.time_ns()}")
            durable.replace_file(self.path, aside)
            self._notices(f"the registry was damaged: kept as {aside.name} and rebuilt from the folders")
            found = ""
        if not found:
            create(self.path, self._guard is not None, self._journal)
        elif found in REVISIONS:
            self._migrate(found)
        else:
            raise UserError(
                f"the registry was written by a newer DataDream (schema {found}; this version supports {REVISION})",
                at=self.path,
                hint="update DataDream, or choose another --home",
            )

    def _migrate(self, found: str) -> None:
        """Migrate a copy, and put it in the place of the old, which is there as it was until that is done."""
        from store.migrations.run import upgrade

        kept = self.path.with_name(f"{self.path.name}.before-{REVISION}")
        fresh = durable.scratch(self.path)
        try:
            with told(self.path):
                self.backup(kept)
                self._notices(
                    f"the registry's schema is upgraded from {found} to {REVISION}; the old copy is {kept.name}"
                )
                self._copy(fresh, durable.file_mode(self.path))
                engine = _engine(fresh, "DELETE", self._guard is not None)
                try:
                    upgrade(engine)
                finally:
                    engine.dispose()
                install(fresh, self.path, self._guard is not None)
        except (OSError, UserError) as error:
            if not durable.is_full(error):
                raise
            remove(kept)
            raise UserError(
                f"no space left to upgrade the registry from schema {found} to {REVISION}; it is unchanged",
                at=self.path,
                hint=f"free {3 * self.path.stat().st_size >> 20 or 1} MiB, or remove {self.path.name}: {INDEX}",
            ) from error
        finally:
            remove(fresh)

    def _revision(self) -> str:
        """Of the file: its schema's revision, "" when there is none, `damaged` when SQLite can't read it."""
        if not self.path.exists() or not self.path.stat().st_size:
            return ""
        try:
            with closing(_raw(self.path, self._guard is not None, self._patience)) as connection:
                rows = connection.execute("SELECT version_num FROM alembic_version").fetchall()
                connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return "damaged"
            if not self.path.exists():
                return ""
            raise
        except sqlite3.DatabaseError:
            return "damaged"
        return str(rows[0][0]) if rows else "damaged"


def create(path: Path, plain: bool = False, journal: str = "WAL") -> None:
    """An empty registry of this revision at `path`, there at once or not at all.

    It is in its journal's mode from the start: to change that, nobody else may have it open.
    """
    partial = durable.scratch(path)
    try:
        with told(path):
            os.close(durable.open_file(partial, os.O_RDWR))
            engine = _engine(partial, "DELETE", plain)
            try:
                fill(engine)
            finally:
                engine.dispose()
            if journal == "WAL" and not plain:
                with closing(_raw(partial, plain)) as database:
                    database.execute("PRAGMA journal_mode = WAL")
            partial.chmod(durable.file_mode(path))
            install(partial, path, plain)
    except OSError as error:
        raise durable.user_error(error, path) from error
    finally:
        remove(partial)


def fill(engine: Engine) -> None:
    """Make the tables of this revision."""
    SQLModel.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
        connection.exec_driver_sql("INSERT INTO alembic_version VALUES (?)", (REVISION,))


def install(partial: Path, path: Path, plain: bool = False) -> None:
    """Put the closed database `partial` in the place of `path`; call it under the writers' lock.

    Whoever dies over it leaves the one or the other: what the old one's log holds is first written into it, so that it
    can do without, since another file's log must not be played into the new one. A damaged one has nothing to lose.
    """
    if not plain:
        with suppress(sqlite3.Error), closing(_raw(path, False, SETTLE_SECONDS)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    for tail in ("-wal", "-shm", "-journal"):
        path.with_name(path.name + tail).unlink(missing_ok=True)
    durable.replace_file(partial, path)


def remove(path: Path) -> None:
    """No database at `path`, nor what SQLite keeps beside one."""
    for tail in ("", "-wal", "-shm", "-journal"):
        with suppress(OSError):
            path.with_name(path.name + tail).unlink(missing_ok=True)


def is_remote(path: Path, mounts: Path = MOUNTS) -> bool:
    """Whether `path` lies on a network file system, where SQLite's WAL doesn't work (proc_pid_mountinfo(5))."""
    return mount_of(path, mounts).kind in REMOTE


def _raw(path: Path, plain: bool, seconds: float = locks.PATIENCE_SECONDS, mode: str = "rw") -> sqlite3.Connection:
    """A connection to a database that is there; a `plain` one asks for no locks, where the system has none."""
    address = f"{path.as_uri()}?mode={mode}{'&vfs=unix-none' if plain else ''}"
    return sqlite3.connect(address, uri=True, timeout=seconds, check_same_thread=False)


def _leave_wal(path: Path) -> None:
    """Have a database that was made where locks are good do without shared memory."""
    try:
        with path.open("rb") as file:
            is_wal = file.read(20)[18:] == b"\x02\x02"  # https://sqlite.org/fileformat.html
    except FileNotFoundError:
        return
    if is_wal:
        with suppress(sqlite3.Error), closing(_raw(path, True)) as connection:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("PRAGMA journal_mode = TRUNCATE").fetchall()


def _engine(path: Path, journal: str, plain: bool = False, patience: float = locks.PATIENCE_SECONDS) -> Engine:
    engine = create_engine("sqlite://", creator=lambda: _raw(path, plain, patience, "rwc"), poolclass=QueuePool)
    begin_as_asked(engine, journal)
    return engine


def begin_as_asked(engine: Engine, journal: str) -> None:
    """Every connection as we want it, and transactions that begin when they are said to."""

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # SQLAlchemy says BEGIN below, not the driver when it sees fit
        for pragma in (f"journal_mode = {journal}", "foreign_keys = ON", "synchronous = NORMAL", "temp_store = MEMORY"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN")


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return -1
