"""Every change to the registry's rows, in SQL. Call them inside `Registry.writing`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import insert
from sqlmodel import Session, SQLModel

from store.tables import Artifact

# Columns that name an artifact which may be gone, and of what kind it was.
REFERENCES = (
    ("run", "set_id", "set"),
    ("run", "classifier_id", "classifier"),
    ("run", "synthetic_id", "synthetic"),
    ("run", "adapter_id", "adapter"),
    ("set_name", "set_id", "set"),
    ("adapter", "set_id", "set"),
    ("synthetic_set", "adapter_id", "adapter"),
    ("classifier", "set_id", "set"),
    ("classifier", "synthetic_id", "synthetic"),
    ("lineage", "parent", ""),
)
HELD = "held/"  # begins the mark of why nothing starts
DETAILS = {"set": "shot_set", "adapter": "adapter", "synthetic": "synthetic_set", "classifier": "classifier"}
SCORE = """
UPDATE run SET
    split = coalesce((SELECT split FROM classifier c WHERE c.id = run.classifier_id), ''),
    correct = (SELECT correct FROM classifier c WHERE c.id = run.classifier_id),
    total = (SELECT total FROM classifier c WHERE c.id = run.classifier_id),
    accuracy = (SELECT 100.0 * correct / nullif(total, 0) FROM classifier c WHERE c.id = run.classifier_id),
    steps = coalesce((SELECT steps FROM classifier c WHERE c.id = run.classifier_id), 0),
    image_passes = coalesce((SELECT image_passes FROM classifier c WHERE c.id = run.classifier_id), 0),
    seconds = (SELECT round(sum(a.seconds), 2) FROM artifact a
               WHERE a.id IN (run.classifier_id, run.synthetic_id, run.adapter_id)),
    adapt_seconds = (SELECT a.seconds FROM artifact a WHERE a.id = run.adapter_id),
    generate_seconds = (SELECT a.seconds FROM artifact a WHERE a.id = run.synthetic_id),
    classify_seconds = (SELECT a.seconds FROM artifact a WHERE a.id = run.classifier_id)
WHERE {} = ?
"""


def sql(session: Session, text: str, *values: object) -> Any:
    """Run one statement."""
    return session.connection().exec_driver_sql(text, values)


def defer_references(session: Session) -> None:
    """Foreign keys are looked at when the transaction ends, not before."""
    sql(session, "PRAGMA defer_foreign_keys = ON")


def put(session: Session, rows: Iterable[SQLModel]) -> None:
    """Add rows; one with the same key is replaced."""
    by_table: dict[type[SQLModel], list[dict[str, Any]]] = {}
    for row in rows:
        by_table.setdefault(type(row), []).append(row.model_dump())
    for table, values in by_table.items():
        session.connection().execute(insert(table).prefix_with("OR REPLACE"), values)


def read_marks(session: Session) -> dict[str, int]:
    """How far everything has been read."""
    return {str(path): int(value) for path, value in sql(session, "SELECT path, value FROM mark")}


def read_mark(session: Session, path: str) -> int:
    """How far `path` has been read; 0 when it hasn't."""
    return int(sql(session, "SELECT value FROM mark WHERE path = ?", path).scalar() or 0)


def mark(session: Session, path: str, value: int) -> None:
    """Remember how far `path` has been read."""
    sql(session, "INSERT OR REPLACE INTO mark VALUES (?, ?)", path, value)


def unmark(session: Session, path: str) -> None:
    """Forget `path`, and its problems."""
    sql(session, "DELETE FROM mark WHERE path = ?", path)
    solve(session, path)


def solve(session: Session, path: str, below: bool = True) -> None:
    """Forget the problem of `path`, and those of what is `below` it."""
    sql(session, "DELETE FROM problem WHERE path = ?", path)
    if below:
        sql(session, "DELETE FROM problem WHERE path > ? AND path < ?", f"{path}/", f"{path}0")


def remove_artifact(session: Session, kind: str, artifact_id: str) -> None:
    """Its rows and its lineage; who refers to it gets a stub by `mend_references`."""
    sql(session, "DELETE FROM lineage WHERE child = ?", artifact_id)
    if kind in DETAILS:
        sql(session, f"DELETE FROM {DETAILS[kind]} WHERE id = ?", artifact_id)  # noqa: S608 - one of our own words
    sql(session, "DELETE FROM artifact WHERE id = ?", artifact_id)


def score_runs(session: Session, artifact_id: str) -> None:
    """Fill in what the artifact says into the runs that are made of it."""
    for column in ("classifier_id", "synthetic_id", "adapter_id"):
        sql(session, SCORE.format(column), artifact_id)


def score_run(session: Session, run_id: str) -> None:
    """Fill in what its artifacts say into one run."""
    sql(session, SCORE.format("id"), run_id)


def runs_of_selections(session: Session, classifier_id: str) -> list[str]:
    """The runs of a classifier that was trained on a selection; none of any other."""
    text = (
        "SELECT r.id FROM lineage l JOIN run r ON r.classifier_id = l.child WHERE l.child = ? AND l.role = 'selection'"
    )
    return [str(row[0]) for row in sql(session, text, classifier_id)]


def remove_run(session: Session, run_id: str) -> None:
    """Its row."""
    sql(session, "DELETE FROM run WHERE id = ?", run_id)


@dataclass(frozen=True)
class Known:
    """What is in of a job: `offset` bytes of its events, with `bad_lines` unreadable ones among them."""

    state: str
    reason: str
    bad_lines: int
    offset: int


def known_job(session: Session, job_id: str) -> Known | None:
    """What is known of a job; None when nothing is."""
    text = (
        "SELECT j.state, j.reason, j.bad_lines, coalesce(m.value, 0) FROM job j LEFT JOIN mark m ON m.path = ? "
        "WHERE j.id = ?"
    )
    found = sql(session, text, f"offset/{job_id}", job_id).first()
    return Known(str(found[0]), str(found[1]), int(found[2]), int(found[3])) if found else None


def put_job(session: Session, rows: list[SQLModel], offset: int, new: bool) -> None:
    """A job's row (the first), its inputs and history anew; `offset` bytes of its events are in."""
    job = rows[0].model_dump()
    job_id = job["id"]
    if new:
        put(session, rows[:1])
    else:
        for table in ("transition", "job_input"):
            sql(session, f"DELETE FROM {table} WHERE job = ?", job_id)  # noqa: S608 - one of our own words
        changes = ", ".join(f"{name} = ?" for name in job)
        sql(session, f"UPDATE job SET {changes} WHERE id = ?", *job.values(), job_id)  # noqa: S608 - columns of ours
    put(session, rows[1:])
    if new:
        mark(session, f"offset/{job_id}", offset)


def add_points(session: Session, job_id: str, points: dict[tuple[str, int], float], bad: int, offset: int) -> None:
    """More points of a job's curves, and `bad` more unreadable lines; now `offset` bytes of its events are in."""
    if points:
        session.connection().exec_driver_sql(
            "INSERT OR REPLACE INTO metric (job, name, step, value) VALUES (?, ?, ?, ?)",
            [(job_id, name, step, value) for (name, step), value in points.items()],
        )
    if bad:
        sql(session, "UPDATE job SET bad_lines = bad_lines + ? WHERE id = ?", bad, job_id)
    mark(session, f"offset/{job_id}", offset)


def kind_of(session: Session, job_id: str) -> str:
    """What a job makes; "" when it isn't known."""
    return str(sql(session, "SELECT kind FROM job WHERE id = ?", job_id).scalar() or "")


def live_jobs(session: Session) -> frozenset[str]:
    """Jobs that ran when they were last read."""
    found = sql(session, "SELECT id FROM job WHERE state IN ('running', 'cancelling', 'lost')")
    return frozenset(str(job_id) for (job_id,) in found)


def waiting_for(session: Session, parent: str, kind: str) -> list[str]:
    """Jobs that may wait for this input of that kind; whose shard it is isn't known here."""
    waiting = (
        "SELECT j.id FROM job_input i JOIN job j ON j.id = i.job "
        "WHERE i.parent = ? AND j.state IN ('queued', 'blocked')"
    )
    found = [str(job_id) for (job_id,) in sql(session, waiting, parent)]
    if kind == "shard":
        found += [str(i) for (i,) in sql(session, "SELECT id FROM job WHERE state = 'blocked' AND stage = 'generate'")]
    return found


def held_mark(reason: str, cause: str) -> str:
    """The mark that this is why nothing starts."""
    return f"{HELD}{cause}/{reason}"


def hold(session: Session, reason: str, cause: str) -> None:
    """Say of every job that could start why nothing does; "" when that is over."""
    known = [str(path) for (path,) in sql(session, f"SELECT path FROM mark WHERE path LIKE '{HELD}%'")]  # noqa: S608
    if known == [held_mark(reason, cause)]:
        return
    for path in {HELD + "/", *known}:
        old_cause, _, old = path.removeprefix(HELD).partition("/")
        sql(
            session,
            "UPDATE job SET reason = ?, cause = ? WHERE state = 'queued' AND reason = ? AND cause = ?",
            *(reason, cause, old, old_cause),
        )
    for path in known:
        sql(session, "DELETE FROM mark WHERE path = ?", path)
    mark(session, held_mark(reason, cause), 1)


def remove_job(session: Session, job_id: str) -> None:
    """All its rows."""
    for table in ("transition", "job_input", "metric"):
        sql(session, f"DELETE FROM {table} WHERE job = ?", job_id)  # noqa: S608 - one of our own words
    sql(session, "DELETE FROM job WHERE id = ?", job_id)
    sql(session, "DELETE FROM mark WHERE path = ?", f"offset/{job_id}")


def set_names(session: Session) -> list[str]:
    """The users' names for sets."""
    return [str(name) for (name,) in sql(session, "SELECT name FROM set_name")]


def remove_name(session: Session, name: str) -> None:
    """A user's name for a set."""
    sql(session, "DELETE FROM set_name WHERE name = ?", name)


def remove_labels(session: Session, subject: str) -> None:
    """All tags and the note of one thing."""
    sql(session, "DELETE FROM tag WHERE subject = ?", subject)
    sql(session, "DELETE FROM note WHERE subject = ?", subject)


def remove_experiment(session: Session, experiment_id: str) -> None:
    """Its rows."""
    sql(session, "DELETE FROM experiment_run WHERE experiment = ?", experiment_id)
    sql(session, "DELETE FROM experiment WHERE id = ?", experiment_id)


def mend_references_of(session: Session, artifact_id: str) -> None:
    """The same for one artifact that was read just now, without a look at all the others."""
    if not sql(session, "SELECT 1 FROM artifact WHERE id = ?", artifact_id).first():
        mend_references(session)
        return
    missing = sql(
        session,
        "SELECT DISTINCT parent, role FROM lineage l WHERE child = ? "
        "AND NOT EXISTS (SELECT 1 FROM artifact a WHERE a.id = l.parent)",
        artifact_id,
    )
    put(session, [Artifact(id=str(parent), kind=str(role), present=False) for parent, role in missing])


def mend_references(session: Session) -> None:
    """What is referred to and isn't there gets a stub; a stub nobody refers to any more goes, and so do traits."""
    stubs: dict[str, str] = {}
    for table, column, kind in reversed(REFERENCES):
        role = "role" if not kind else f"'{kind}'"
        missing = sql(
            session,
            f"SELECT DISTINCT {column}, {role} FROM {table} WHERE {column} IS NOT NULL "  # noqa: S608
            f"AND NOT EXISTS (SELECT 1 FROM artifact WHERE artifact.id = {table}.{column})",
        )
        stubs |= {str(found): str(what) for found, what in missing}
    put(session, [Artifact(id=found, kind=kind, present=False) for found, kind in sorted(stubs.items())])
    used = " UNION ALL ".join(
        f"SELECT 1 FROM {table} WHERE {table}.{column} = artifact.id"  # noqa: S608
        for table, column, _ in REFERENCES
    )
    sql(session, f"DELETE FROM artifact WHERE NOT present AND NOT EXISTS ({used})")  # noqa: S608
    sql(session, "DELETE FROM trait WHERE NOT EXISTS (SELECT 1 FROM run WHERE run.traits = trait.id)")
