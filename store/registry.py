"""Opening the registry: pragmas, one writer, migrations, backups, and what to do with a damaged or newer file.

DO: hold `writing` for a transaction that ends soon; open a `reading` session for a page and close it.
Nobody waits for ever: a lock that isn't had within `patience` seconds is a LockHeld that names its holder, and whatever
else SQLite refuses is a UserError.
DON'T: open, copy or hash the database file in a process that has it open: closing any descriptor drops SQLite's own
locks (https://sqlite.org/howtocorrupt.html). `backup` copies it the right way.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, event
from sqlalchemy import exc as sqlalchemy_errors
from sqlmodel import Session, SQLModel, create_engine

from datadream import durable, locks
from datadream.errors import UserError
from store import tables  # noqa: F401 - fills SQLModel's metadata

REVISIONS = ("0001", "0002", "0003")
REVISION = REVISIONS[-1]
LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
OURS = (sqlalchemy_errors.IntegrityError, sqlalchemy_errors.DataError, sqlalchemy_errors.ProgrammingError)
REMOTE = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "lustre", "gpfs", "beegfs", "ceph", "fuse.sshfs", "afs")
MOUNTS = Path("/proc/self/mountinfo")


class Registry:
    """An open registry. Sessions see one state of it; a file that was replaced or deleted meanwhile is opened anew."""

    def __init__(
        self,
        path: Path,
        lock: Path,
        notices: locks.Notice = locks.silent,
        mounts: Path = MOUNTS,
        patience: float | None = None,
    ) -> None:
        """Use `Registry.open`."""
        self.path, self._lock, self._notices = path, lock, notices
        self._patience = locks.PATIENCE_SECONDS if patience is None else patience
        self._journal = "TRUNCATE" if is_remote(path, mounts) else "WAL"
        self.on_close: Callable[[], object] = lambda: None
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
    ) -> Registry:
        """The registry at `path`, made or migrated if need be; `lock` is held by whoever writes.

        Raises UserError when it is from a newer version, LockHeld when it had to be made and somebody has the lock for
        longer than `patience` seconds (locks.PATIENCE_SECONDS when None). A damaged file is kept beside.
        """
        registry = cls(path, lock, notices, mounts, patience)
        if registry._journal != "WAL" and not path.exists():
            notices(f"{path.parent} is on a network file system: its registry is slower, and jobs don't depend on it")
        registry._connect()
        return registry

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that only looks. No writer waits for it, save on a network file system."""
        with self._in_words(), Session(self._current()) as session:
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A session in one transaction, with no other writer about; committed at the end, undone on an error."""
        with self._in_words(), self.alone(), Session(self._current(locked=True)) as session:
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
        partial = target.with_name(f".{target.name}.partial-{os.getpid()}")
        try:
            partial.unlink(missing_ok=True)
            os.close(durable.open_file(partial, os.O_RDWR))  # SQLite would make it with the umask's mode
            with suppress(PermissionError):  # a file system without modes, as a memory stick's
                partial.chmod(durable.file_mode(self.path) & durable.file_mode(target))
            source = sqlite3.connect(self.path, timeout=self._patience)
            copy = sqlite3.connect(partial)
            with closing(source), closing(copy):
                source.backup(copy)
                copy.execute("PRAGMA journal_mode = DELETE")
            durable.replace_file(partial, target)
        except (OSError, sqlite3.Error) as error:
            partial.unlink(missing_ok=True)
            raise UserError(f"can't back up the registry: {error}", at=target, hint="choose another place") from error

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
        """Keep every other writer out for a while. Raises LockHeld when one stays for longer than `patience`."""
        with locks.flocked(self._lock, seconds=self._patience, told=self._notices):
            yield

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        """What SQLite refuses as a sentence; a mistake of ours stays what it is."""
        try:
            yield
        except OURS:
            raise
        except (sqlite3.Error, sqlalchemy_errors.DBAPIError) as error:
            raise self._refused(error) from error

    def _refused(self, error: Exception) -> UserError:
        found = getattr(error, "orig", None) or error
        code = (getattr(found, "sqlite_errorcode", None) or 0) & 0xFF
        if code in LOCKED:
            log = self.path.with_name(f"{self.path.name}-shm")  # where a writer's lock is in WAL mode
            holders = locks.of_kernel(log, self.path)
            who = holders[0].in_words if holders else "another program writes in it"
            hint = holders[0].hint if holders else "close that program"
            return locks.LockHeld(f"the registry is locked: {who}", at=self.path, hint=hint)
        if code == sqlite3.SQLITE_FULL:
            return durable.no_space(self.path)
        again = "make it again with `datadream registry rebuild`: only the index is lost"
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return UserError("the registry is damaged", at=self.path, hint=again)
        return UserError(f"the registry can't be used: {found}", at=self.path, hint=f"see its rights, or {again}")

    def _current(self, locked: bool = False) -> Engine:
        if self._engine is None or _inode(self.path) != self._inode:
            self._dispose()
            self._connect(locked)
        assert self._engine is not None
        return self._engine

    def _connect(self, locked: bool = False) -> None:
        with self._in_words():
            if self._revision() != REVISION:
                with nullcontext() if locked else self.alone():
                    self._prepare()
            self._engine = _engine(self.path, self._journal, self._patience)
            self._inode = _inode(self.path)

    def _prepare(self) -> None:
        """Under the lock: see to it that there is a database of this revision."""
        found = self._revision()
        if found == REVISION:
            return
        if found == "damaged":
            aside = self.path.with_name(f"{self.path.name}.damaged-{time.time_ns()}")
            durable.replace_file(self.path, aside)
            self._notices(f"the registry was damaged: it is kept as {aside.name} and made again from the folders")
            found = ""
        if not found:
            create(self.path, self._journal)
        elif found in REVISIONS:
            self._migrate(found)
        else:
            raise UserError(
                f"the registry was written by a newer DataDream (its schema is {found}, this one knows {REVISION})",
                at=self.path,
                hint="update DataDream, or choose another --home",
            )

    def _migrate(self, found: str) -> None:
        from store.migrations.run import upgrade

        copy = self.path.with_name(f"{self.path.name}.before-{REVISION}")
        self.backup(copy)
        self._notices(f"the registry's schema goes from {found} to {REVISION}; a copy of the old is {copy.name}")
        engine = _engine(self.path, self._journal)
        try:
            upgrade(engine)
        finally:
            engine.dispose()

    def _revision(self) -> str:
        """Of the file: its schema's revision, "" when there is none, `damaged` when SQLite can't read it."""
        if not self.path.exists() or not self.path.stat().st_size:
            return ""
        try:
            with closing(
                sqlite3.connect(f"{self.path.as_uri()}?mode=rw", uri=True, timeout=self._patience)
            ) as connection:
                rows = connection.execute("SELECT version_num FROM alembic_version").fetchall()
                connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return "damaged"
            if not self.path.exists():
                return ""
            raise self._refused(error) from error
        except sqlite3.DatabaseError:
            return "damaged"
        return str(rows[0][0]) if rows else "damaged"


def create(path: Path, journal: str = "WAL") -> None:
    """An empty registry of this revision at `path`, there at once or not at all.

    It is in its journal's mode from the start: to change that, nobody else may have it open.
    """
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    partial.unlink(missing_ok=True)
    try:
        engine = _engine(partial, "DELETE")
        SQLModel.metadata.create_all(engine)
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
            connection.exec_driver_sql("INSERT INTO alembic_version VALUES (?)", (REVISION,))
        engine.dispose()
        if journal == "WAL":
            with closing(sqlite3.connect(partial)) as database:
                database.execute("PRAGMA journal_mode = WAL")
        partial.chmod(durable.file_mode(path))
        install(partial, path)
    except OSError as error:
        raise durable.user_error(error, path) from error


def install(partial: Path, path: Path) -> None:
    """Put the closed database `partial` in the place of `path`; call it under the writers' lock."""
    for tail in ("-wal", "-shm", "-journal"):  # another file's log must not be played into this one
        with suppress(FileNotFoundError):
            path.with_name(path.name + tail).unlink()
    durable.replace_file(partial, path)


def is_remote(path: Path, mounts: Path = MOUNTS) -> bool:
    """Whether `path` lies on a network file system, where SQLite's WAL doesn't work (proc_pid_mountinfo(5))."""
    best, kind = -1, ""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    for line in lines:
        left, _, right = line.partition(" - ")
        fields = left.split()
        if len(fields) < 5 or not right:
            continue
        root = Path(fields[4].replace("\\040", " "))
        if (path == root or root in path.parents) and len(root.parts) > best:
            best, kind = len(root.parts), right.split()[0]
    return kind in REMOTE


def _engine(path: Path, journal: str, patience: float = locks.PATIENCE_SECONDS) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(path)),  # a path in an address may hold no "?" and no "%"
        connect_args={"timeout": patience, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # SQLAlchemy says BEGIN below, not the driver when it sees fit
        for pragma in (f"journal_mode = {journal}", "foreign_keys = ON", "synchronous = NORMAL", "temp_store = MEMORY"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return -1
