"""Makes `data/registry-<revision>.db`: run it once when a revision stops being the newest, and keep the file.

python -m tests.store.make_old 0001
"""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from store.migrations.run import upgrade
from store.registry import _engine

DATA = Path(__file__).parent / "data"
ROWS = {
    "artifact": [
        ("a" * 16, "set", 1, "2026-01-01T00:00:00+00:00", 10, 1, "c" * 64, None, "", None, "", "0.1.0", "", "{}"),
        ("b" * 16, "classifier", 1, "2026-01-02T00:00:00+00:00", 20, 2, "", 1, "mini", 2.5, "cpu", "0.1.0", "", "{}"),
    ],
    "lineage": [("b" * 16, "set", "a" * 16)],
    "shot_set": [("a" * 16, "digits", 4, 1, 0, 10, 40, 40, 719)],
    "set_name": [("ünï", "a" * 16)],
    "classifier": [("b" * 16, "a" * 16, None, "real", "test", 500, 719, 10, 160)],
    "tag": [("b" * 16, "best")],
}  # fmt: skip


def make(revision: str) -> Path:
    path = DATA / f"registry-{revision}.db"
    path.unlink(missing_ok=True)
    engine = _engine(path, "DELETE")
    upgrade(engine, revision)
    engine.dispose()
    with closing(sqlite3.connect(path)) as connection:
        for table, rows in ROWS.items():
            connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)
        connection.commit()
    return path


if __name__ == "__main__":
    sys.stdout.write(f"{make(sys.argv[1])}\n")
