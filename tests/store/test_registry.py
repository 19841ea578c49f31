"""Opening: new, old, newer, damaged, deleted; one writer; copies; network file systems."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.exc import IntegrityError
from sqlmodel import SQLModel

from datadream.errors import UserError
from store import writes
from store.migrations.run import upgrade
from store.registry import REVISION, REVISIONS, Registry, _engine, is_remote
from store.tables import Artifact, Tag

DATA = Path(__file__).parent / "data"


def opened(folder: Path, **more: object) -> Registry:
    return Registry.open(folder / "registry.db", folder / "registry.lock", **more)  # type: ignore[arg-type]


def schema(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT type, name, tbl_name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'")
        found = {" ".join(row) for row in rows}
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            columns = connection.execute(f"PRAGMA table_xinfo({table})").fetchall()
            found |= {f"{table}.{row[1]} {row[2]} {row[3]} {row[5]}" for row in columns}
            keys = connection.execute(f"PRAGMA foreign_key_list({table})").fetchall()
            found |= {f"{table}.{row[3]} -> {row[2]}.{row[4]} {row[6]}" for row in keys}
    return found


def test_migrations_lead_to_the_schema_of_the_models(tmp_path: Path) -> None:
    engine = _engine(tmp_path / "migrated.db", "DELETE")
    upgrade(engine)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), SQLModel.metadata) == []
    engine.dispose()
    opened(tmp_path).close()
    assert schema(tmp_path / "migrated.db") == schema(tmp_path / "registry.db")


@pytest.mark.parametrize("revision", REVISIONS[:-1])
def test_a_registry_of_every_past_schema_is_upgraded_after_a_backup(revision: str, tmp_path: Path) -> None:
    old = DATA / f"registry-{revision}.db"
    shutil.copy(old, tmp_path / "registry.db")
    told: list[str] = []
    registry = opened(tmp_path, notices=told.append)
    with registry.reading() as session:
        assert writes.sql(session, "SELECT name FROM set_name").scalar() == "ünï"
        assert writes.sql(session, "SELECT count(*) FROM artifact").scalar() == 2
        assert writes.sql(session, "SELECT version_num FROM alembic_version").scalar() == REVISION
    assert registry.problems() == []
    registry.close()
    copy = tmp_path / f"registry.db.before-{REVISION}"
    with closing(sqlite3.connect(copy)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == (revision,)
    assert told == [f"the registry's schema is upgraded from {revision} to {REVISION}; the old copy is {copy.name}"]
    opened(tmp_path).close()
    assert schema(tmp_path / "registry.db") >= schema(old) - {"table sqlite_sequence sqlite_sequence"}


def test_runs_and_jobs_are_read_once_more_when_what_is_kept_of_them_grows(tmp_path: Path) -> None:
    """The folders alone say what was run: an older registry forgets how far it had read these, and nothing else."""
    shutil.copy(DATA / "registry-0003.db", tmp_path / "registry.db")
    with closing(sqlite3.connect(tmp_path / "registry.db")) as connection:
        connection.executemany(
            "INSERT INTO mark VALUES (?, 7)",
            [(path,) for path in ("runs", "runs/a.json", "jobs", "jobs/b", "artifacts/set")],
        )
        connection.commit()
    registry = opened(tmp_path)
    with registry.reading() as session:
        assert writes.read_marks(session) == {"jobs/b": 0, "artifacts/set": 7}
    registry.close()


def test_two_processes_that_come_first_migrate_once(tmp_path: Path) -> None:
    shutil.copy(DATA / f"registry-{REVISIONS[0]}.db", tmp_path / "registry.db")
    code = (
        "import sys; from pathlib import Path; from store.registry import Registry; p = Path(sys.argv[1]);"
        "Registry.open(p / 'registry.db', p / 'registry.lock', notices=print)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    said = [process.communicate(timeout=60) for process in started]
    assert [process.returncode for process in started] == [0] * 4, said
    assert sum("is upgraded from" in out for out, _ in said) == 1


def test_a_newer_registry_is_refused_in_a_sentence(tmp_path: Path) -> None:
    opened(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "registry.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    with pytest.raises(UserError, match=r"newer DataDream \(schema 9999.*update DataDream"):
        opened(tmp_path)


@pytest.mark.parametrize("garbage", [b"no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_registry_is_kept_and_begun_anew(garbage: bytes, tmp_path: Path) -> None:
    (tmp_path / "registry.db").write_bytes(garbage)
    told: list[str] = []
    registry = opened(tmp_path, notices=told.append)
    assert registry.problems() == []
    aside = list(tmp_path.glob("registry.db.damaged-*"))
    assert [path.read_bytes() for path in aside] == [garbage]
    assert len(told) == 1
    registry.close()


def test_a_deleted_registry_is_begun_anew_by_whoever_has_it_open(tmp_path: Path) -> None:
    registry = opened(tmp_path)
    with registry.writing() as session:
        writes.put(session, [Tag(subject="x", label="y")])
    for path in tmp_path.glob("registry.db*"):
        path.unlink()
    with registry.writing() as session:
        writes.put(session, [Tag(subject="x", label="z")])
    with registry.reading() as session:
        assert writes.sql(session, "SELECT label FROM tag").scalars().all() == ["z"]
    registry.close()


def test_constraints_hold(tmp_path: Path) -> None:
    registry = opened(tmp_path)
    for statement in (
        "INSERT INTO lineage VALUES ('a', 'set', 'nothing')",
        "INSERT INTO artifact (id, kind, present, created, bytes, files, content, model, device, version, job, spec) "
        "VALUES ('a', 'set', 1, '', -1, 0, '', '', '', '', '', '{}')",
        "INSERT INTO metric VALUES ('no job', 'loss', 1, 0.5)",
    ):
        with pytest.raises(IntegrityError), registry.writing() as session:
            writes.sql(session, statement)
    registry.close()


def test_an_error_in_a_transaction_undoes_it(tmp_path: Path) -> None:
    registry = opened(tmp_path)
    with pytest.raises(ZeroDivisionError), registry.writing() as session:
        writes.put(session, [Artifact(id="a" * 16, kind="set")])
        raise ZeroDivisionError
    with registry.reading() as session:
        assert writes.sql(session, "SELECT count(*) FROM artifact").scalar() == 0
    registry.close()


def _write_many(folder: Path, number: int, count: int) -> None:
    registry = opened(folder)
    for i in range(count):
        with registry.writing() as session:
            writes.put(session, [Tag(subject=f"{number}-{i}", label="x")])
    registry.close()


def test_many_writers_never_meet_a_lock(tmp_path: Path) -> None:
    opened(tmp_path).close()
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_write_many, args=(tmp_path, number, 40)) for number in range(4)]
    for process in processes:
        process.start()
    registry = opened(tmp_path)
    while any(process.is_alive() for process in processes):
        with registry.reading() as session:
            writes.sql(session, "SELECT count(*) FROM tag").scalar()
    assert [process.exitcode for process in processes] == [0] * 4
    with registry.reading() as session:
        assert writes.sql(session, "SELECT count(*) FROM tag").scalar() == 160
    assert registry.problems() == []
    registry.close()


def test_a_backup_is_whole_while_others_write(tmp_path: Path) -> None:
    registry = opened(tmp_path)
    with registry.writing() as session:
        writes.put(session, [Tag(subject=f"{i}", label="x") for i in range(1000)])
    context = multiprocessing.get_context("spawn")
    writer = context.Process(target=_write_many, args=(tmp_path, 7, 100))
    writer.start()
    registry.backup(tmp_path / "copy.db")
    writer.join()
    with closing(sqlite3.connect(tmp_path / "copy.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT count(*) FROM tag").fetchone()[0] >= 1000
    with pytest.raises(UserError, match="can't back up"):
        registry.backup(tmp_path / "nowhere" / "copy.db")
    registry.close()


def test_copies_are_as_private_as_the_registry(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        modes = {}
        for name in ("shared", "private"):
            folder = tmp_path / name
            folder.mkdir()
            folder.chmod(0o2770 if name == "shared" else 0o700)
        for name in ("shared", "private"):
            folder = tmp_path / name
            shutil.copy(DATA / f"registry-{REVISIONS[0]}.db", folder / "registry.db")
            registry = opened(folder)
            registry.backup(tmp_path / f"{name}.db")
            registry.backup(tmp_path / "shared" / f"{name}.db")
            registry.close()
            for place in (f"{name}/registry.db.before-{REVISION}", f"{name}.db", f"shared/{name}.db"):
                modes[place] = (tmp_path / place).stat().st_mode & 0o777
    finally:
        os.umask(mask)
    assert modes == {
        f"private/registry.db.before-{REVISION}": 0o600,
        "private.db": 0o600,
        "shared/private.db": 0o600,
        f"shared/registry.db.before-{REVISION}": 0o660,
        "shared.db": 0o600,
        "shared/shared.db": 0o660,
    }


def test_a_network_file_system_is_told_once_and_gets_no_wal(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"
        f"2 1 0:5 / {tmp_path}/far rw,relatime shared:7 - nfs4 server:/x rw\n"
        f"3 1 0:6 / {tmp_path}/far/near rw - tmpfs tmpfs rw\n"
    )
    far, near = tmp_path / "far", tmp_path / "far" / "near"
    near.mkdir(parents=True)
    assert is_remote(far / "registry.db", mounts)
    assert not is_remote(near / "registry.db", mounts)
    assert not is_remote(tmp_path / "registry.db", mounts)
    told: list[str] = []
    for _ in range(2):
        registry = opened(far, notices=told.append, mounts=mounts)
        with registry.reading() as session:
            assert writes.sql(session, "PRAGMA journal_mode").scalar() == "truncate"
        registry.close()
    assert len(told) == 1
    assert "network file system" in told[0]
