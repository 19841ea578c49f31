"""Every question to the registry. Rows are plain dicts; `store/nouns.py` says what they hold."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Sequence
from typing import Any

from sqlmodel import Session

from datadream.errors import UserError
from store.nouns import NOUNS, a, columns, is_number
from store.registry import Registry
from store.tables import STATES
from store.where import Condition

SQL = {"=": "=", "!=": "!=", ">": ">", "<": "<", ">=": ">=", "<=": "<="}
IDS_MAX = 500  # asked for at once
TIMES = ("created", "submitted", "started", "ended")
TIME = re.compile(
    r"\d{4}(-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01])(T[0-2]\d(:[0-5]\d(:[0-5]\d(\.\d*)?(\+00:00)?)?)?)?)?)?-?"
)
SHORT_ID = re.compile(r"[0-9a-f]{4,15}")


def page(
    registry: Registry,
    noun: str,
    where: Sequence[Condition] = (),
    sort: str = "",
    limit: int = 50,
    offset: int = 0,
) -> list[dict[str, Any]]:
    """Rows `offset` to `offset + limit`, newest first or by `sort` (a column, `-` before it for descending).

    Raises UserError for a column that isn't one.
    """
    with registry.reading() as session:
        return _rows(session, noun, _keys(session, noun, where, sort, (limit, offset)))


def keys(registry: Registry, noun: str, where: Sequence[Condition] = (), sort: str = "") -> list[str]:
    """The ids of all rows, ordered as `page` orders them. Raises UserError for a column that isn't one."""
    with registry.reading() as session:
        return _keys(session, noun, where, sort)


def rows_of(registry: Registry, noun: str, ids: Sequence[str]) -> list[dict[str, Any]]:
    """The rows with these ids, in this order; those that are gone are left out."""
    with registry.reading() as session:
        return _rows(session, noun, ids)


def _keys(
    session: Session, noun: str, where: Sequence[Condition], sort: str, part: tuple[int, int] | None = None
) -> list[str]:
    """`part`: limit and offset. All are asked for without a limit, which would make SQLite sort half as fast."""
    found = NOUNS[noun]
    clause, values = _clause(noun, where)
    name = sort.removeprefix("-")
    if name:
        _check(noun, name, sort=True)
    way = "DESC" if sort.startswith("-") or not name else "ASC"
    key, by = found.columns["id"], found.columns[name or found.newest]
    chosen = f"SELECT {key} AS id FROM {found.source}{clause} ORDER BY {by} {way}, {key} {way}"  # noqa: S608
    chosen += " LIMIT ? OFFSET ?" if part else ""
    # Joined by SQLite: 100,000 rows fetched one by one would keep every other thread waiting for the interpreter.
    text = f"SELECT group_concat(id, ' ') FROM ({chosen})"  # noqa: S608
    return str(session.connection().exec_driver_sql(text, (*values, *(part or ()))).scalar_one() or "").split()


def _rows(session: Session, noun: str, ids: Sequence[str]) -> list[dict[str, Any]]:
    found = NOUNS[noun]
    key, present = found.columns["id"], f" AND {found.present}" if found.present else ""
    listed = ", ".join(f'{expression} AS "{name}"' for name, expression in found.columns.items())
    connection = session.connection()
    rows: dict[str, dict[str, Any]] = {}
    for start in range(0, len(ids), IDS_MAX):
        part = tuple(ids[start : start + IDS_MAX])
        marks = ", ".join("?" * len(part))
        text = f"SELECT {listed} FROM {found.source} WHERE {key} IN ({marks}){present}"  # noqa: S608
        for row in connection.exec_driver_sql(text, part).mappings():
            rows[str(row["id"])] = {**row, "tags": []}
        query = f"SELECT subject, label FROM tag WHERE subject IN ({marks}) ORDER BY label"  # noqa: S608
        for subject, label in connection.exec_driver_sql(query, part):
            if subject in rows:
                rows[subject]["tags"].append(label)
    return [rows[id_] for id_ in ids if id_ in rows]


def count(registry: Registry, noun: str, where: Sequence[Condition] = ()) -> int:
    """How many rows there are."""
    clause, values = _clause(noun, where)
    with registry.reading() as session:
        text = f"SELECT count(*) FROM {NOUNS[noun].source}{clause}"  # noqa: S608
        return int(session.connection().exec_driver_sql(text, tuple(values)).scalar_one())


def resolve(registry: Registry, prefix: str, nouns: Sequence[str]) -> tuple[str, str]:
    """The noun and id of the one thing whose id begins with `prefix`. Raises UserError when none or several do."""
    matches = [(noun, found) for noun in nouns for found in ids(registry, noun, prefix, 5)] if len(prefix) >= 4 else []
    exact = [match for match in matches if match[1] == prefix]
    matches = exact[:1] or matches
    if len({found for _, found in matches}) == 1:
        return matches[0]
    what = " or ".join(nouns) if len(nouns) < 4 else "thing"
    if matches:
        listed = ", ".join(f"{noun} {found[: len(prefix) + 4]}" for noun, found in matches[:5])
        raise UserError(f"ambiguous id {prefix!r}; candidates: {listed}")
    command = {"run": "runs"}.get(nouns[0], nouns[0])
    raise UserError(f"no {what} {prefix!r}", hint=f"give at least 4 characters of an id; see `datadream {command} ls`")


def ids(registry: Registry, noun: str, prefix: str, limit: int = 50) -> list[str]:
    """Ids that begin with `prefix`."""
    found = NOUNS[noun]
    key = found.columns["id"]
    where = f" AND {found.present}" if found.present else ""
    text = f"SELECT {key} FROM {found.source} WHERE {key} >= ? AND {key} < ?{where} ORDER BY 1 LIMIT ?"  # noqa: S608
    with registry.reading() as session:
        rows = session.connection().exec_driver_sql(text, (prefix, prefix + "\U0010ffff", limit))
        return [str(row[0]) for row in rows]


LINEAGE = """
WITH RECURSIVE line(id, role, depth) AS (
    SELECT {there}, role, 1 FROM lineage WHERE {here} = ?
    UNION SELECT l.{there}, l.role, depth + 1 FROM lineage l JOIN line ON l.{here} = line.id WHERE depth < 20
)
SELECT line.id, min(line.role), min(depth), a.kind, a.present FROM line JOIN artifact a ON a.id = line.id
GROUP BY line.id ORDER BY 3, 1
"""


def lineage(registry: Registry, artifact_id: str) -> dict[str, list[dict[str, Any]]]:
    """What it was made from, what was made from it, and the runs that count on it; nearest first."""
    found: dict[str, list[dict[str, Any]]] = {}
    with registry.reading() as session:
        connection = session.connection()
        for direction, there, here in (("ancestors", "parent", "child"), ("descendants", "child", "parent")):
            rows = connection.exec_driver_sql(LINEAGE.format(there=there, here=here), (artifact_id,))
            names = ("id", "role", "depth", "kind", "present")
            found[direction] = [dict(zip(names, row, strict=True)) for row in rows]
        runs = connection.exec_driver_sql(
            "SELECT id, method, data, shots, seed, accuracy FROM run WHERE ? IN "
            "(set_id, classifier_id, synthetic_id, adapter_id) ORDER BY created",
            (artifact_id,),
        )
        found["runs"] = [dict(row) for row in runs.mappings()]
    return found


TWINS = """
SELECT a.id, (SELECT group_concat(id, ' ') FROM (SELECT b.id FROM run b WHERE b.source = a.source AND
    b.method = a.method AND b.data = a.data AND b.shots = a.shots AND b.seed = a.seed AND b.backbone = a.backbone AND
    b.settings = a.settings AND b.id != a.id LIMIT {most}))
FROM run a WHERE a.id IN ({ids})
"""


def twins(registry: Registry, ids: Sequence[str], most: int = 8) -> dict[str, list[str]]:
    """Of these runs, others that look the same in a list, by all that is listed but ids and numbers; at most `most`."""
    found: dict[str, list[str]] = {}
    with registry.reading() as session:
        for start in range(0, len(ids), IDS_MAX):
            part = tuple(ids[start : start + IDS_MAX])
            text = TWINS.format(most=most, ids=", ".join("?" * len(part)))
            for one, others in session.connection().exec_driver_sql(text, part):
                if others:
                    found[str(one)] = str(others).split()
    return found


def metrics(registry: Registry, job: str) -> dict[str, list[tuple[int, float]]]:
    """A job's curves: (step, value) by name, in order."""
    found: dict[str, list[tuple[int, float]]] = {}
    with registry.reading() as session:
        rows = session.connection().exec_driver_sql(
            "SELECT name, step, value FROM metric WHERE job = ? ORDER BY name, step", (job,)
        )
        for name, step, value in rows:
            found.setdefault(name, []).append((step, value))
    return found


def history(registry: Registry, job: str) -> list[dict[str, Any]]:
    """A job's changes of state, oldest first."""
    text = "SELECT seq, at, state, reason, attempt FROM transition WHERE job = ? ORDER BY seq"
    with registry.reading() as session:
        return [dict(row) for row in session.connection().exec_driver_sql(text, (job,)).mappings()]


def tags(registry: Registry) -> dict[str, list[str]]:
    """Every tag, and the ids that have it."""
    found: dict[str, list[str]] = {}
    with registry.reading() as session:
        for label, subject in session.connection().exec_driver_sql("SELECT label, subject FROM tag ORDER BY 1, 2"):
            found.setdefault(label, []).append(subject)
    return found


def problems(registry: Registry) -> list[tuple[str, str]]:
    """Folders and files that can't be read, and why."""
    with registry.reading() as session:
        rows = session.connection().exec_driver_sql("SELECT path, what FROM problem ORDER BY path")
        return [(str(path), str(what)) for path, what in rows]


COMPARED = (
    *("id", "created", "method", "data", "shots", "seed", "source", "backbone", "split", "set_id", "classifier_id"),
    *("row_key", "place", "draw", "settings", "images", "left_out", "traits", "correct", "total", "steps"),
    *("image_passes", "adapt_seconds", "generate_seconds", "classify_seconds"),
)


def comparison(registry: Registry, where: Sequence[Condition] = ()) -> list[dict[str, Any]]:
    """The runs that count: of each row key, seed and draw the newest with a number, whole; `traits` is their content.

    `replaced` says whether another classifier stood in its place before.
    """
    listed = ", ".join(f"x.{name}" for name in COMPARED)
    clause, values = _clause("run", where)
    counted = f"FROM run r{clause}{' AND' if clause else ' WHERE'} r.accuracy IS NOT NULL AND"
    same = "r.row_key = {0}.row_key AND r.seed = {0}.seed AND r.draw = {0}.draw"
    text = (
        # Of two of one moment the greater id is the newer. All that is grouped and looked up is in ix_run_comparison.
        f"WITH newest AS (SELECT r.row_key, r.seed, r.draw, max(r.created) AS created {counted} r.row_key <> '' "  # noqa: S608
        f"GROUP BY r.row_key, r.seed, r.draw) SELECT {listed}, "
        f"EXISTS (SELECT 1 {counted} {same.format('x')} AND r.classifier_id <> x.classifier_id) AS replaced "
        f"FROM newest n JOIN run x ON x.id = (SELECT max(r.id) {counted} {same.format('n')} AND r.created = n.created) "
        "ORDER BY x.created, x.id"
    )
    with registry.reading() as session:
        connection = session.connection()
        rows = [dict(row) for row in connection.exec_driver_sql(text, tuple(values) * 3).mappings()]
        traits = {
            str(id_): json.loads(found) for id_, found in connection.exec_driver_sql("SELECT id, content FROM trait")
        }
    return [{**row, "traits": traits.get(row["traits"], {}), "replaced": bool(row["replaced"])} for row in rows]


def untold(registry: Registry, where: Sequence[Condition] = ()) -> int:
    """How many runs have a number and no row of the comparison: what was run can't be told."""
    clause, values = _clause("run", where)
    text = (
        f"SELECT count(*) FROM run r {clause}{' AND' if clause else ' WHERE'} r.row_key = '' AND r.accuracy IS NOT NULL"  # noqa: S608
    )
    with registry.reading() as session:
        return int(session.connection().exec_driver_sql(text, tuple(values)).scalar_one())


def refused(registry: Registry, where: Sequence[Condition] = ()) -> list[tuple[str, str, str]]:
    """Runs that are no part of the comparison as their evidence is no good: id, method and data, and why.

    Of one whose record can't be believed nothing else is known, so that it is there whatever `where` says.
    """
    clause, values = _clause("run", where)
    text = (
        "SELECT substr(p.path, 6, length(p.path) - 10), '', p.what FROM problem p "  # noqa: S608
        "WHERE p.path LIKE 'runs/%.json' UNION ALL "
        "SELECT r.id, r.method || ' ' || r.data, p.what FROM run r "
        f"JOIN problem p ON p.path = 'artifacts/classifier/' || r.classifier_id{clause} ORDER BY 1"
    )
    with registry.reading() as session:
        rows = session.connection().exec_driver_sql(text, tuple(values))
        return [(str(row[0]), str(row[1]), str(row[2])) for row in rows]


def _check(noun: str, name: str, sort: bool = False) -> None:
    known = [column for column in columns(noun) if not (sort and column == "tags")] + ([] if sort else ["tag"])
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        what = f"unknown {'sort ' if sort else ''}column {name!r}"
        if near:
            raise UserError(what, hint=f"did you mean {near[0]}?")
        raise UserError(f"{what}; columns: {', '.join(known)}")


def _clause(noun: str, where: Sequence[Condition]) -> tuple[str, list[str]]:
    found = NOUNS[noun]
    parts = [found.present] if found.present else []
    values: list[str] = []
    for condition in where:
        _check(noun, condition.name)
        if condition.name in ("tag", "tags"):
            exists = f"EXISTS (SELECT 1 FROM tag t WHERE t.subject = {found.columns['id']} AND "  # noqa: S608
            test = "instr(t.label, ?))" if condition.op == "~" else "t.label = ?)"
            parts.append(("NOT " if condition.op == "!=" else "") + exists + test)
            values.append(condition.value)
            continue
        column = found.columns[condition.name]
        if condition.op != "~":
            _check_value(noun, condition)
        begins = condition.name in TIMES or (condition.name in ("id", "row") and SHORT_ID.fullmatch(condition.value))
        if condition.op == "=" and begins:  # a day holds its hours, and the start of an id stands for it
            parts.append(f"substr({column}, 1, length(?)) = ?")
            values += [condition.value, condition.value]
        elif condition.op == "~":
            parts.append(f"instr(lower(coalesce({column}, '')), lower(?)) > 0")
            values.append(condition.value)
        else:
            parts.append(f"{column} {SQL[condition.op]} ?")
            values.append(condition.value)  # as text: the column's affinity makes it a number where it has one
    return (f" WHERE {' AND '.join(parts)}" if parts else ""), values


def _check_value(noun: str, condition: Condition) -> None:
    """Raise UserError for a value that no row could ever have: it was meant otherwise."""
    name, value = condition.name, condition.value
    said = repr(value) if value else "nothing"
    if is_number(NOUNS[noun], name):
        try:
            known = not math.isnan(float(value))
        except ValueError:
            known = False
        if not known:
            what = f"{name} of {a(noun)} is a number; {said} is not"
            raise UserError(what, hint=f"e.g. {name}{condition.op}4")
    elif name in TIMES and not TIME.fullmatch(value):
        what = f"{name!r} is a time in UTC; {said} is not"
        raise UserError(what, hint=f"e.g. {name}{condition.op}2026-01-31, or a prefix of such a time")
    elif name == "state" and value not in (states := (*STATES, "missing") if noun == "run" else STATES):
        raise UserError(f"no {noun} is ever {said}", hint=f"states: {', '.join(states)}")


def evidence(registry: Registry, limit: int) -> list[tuple[str, str, str, int]]:
    """Of the newest `limit` runs: id, classifier, set, and the mark of their evidence when it was last looked at."""
    text = (
        "SELECT r.id, r.classifier_id, r.set_id, coalesce(m.value, 0) FROM run r "
        "LEFT JOIN mark m ON m.path = 'evidence/' || r.id ORDER BY r.created DESC, r.id DESC LIMIT ?"
    )
    with registry.reading() as session:
        rows = session.connection().exec_driver_sql(text, (limit,))
        return [(str(row[0]), str(row[1]), str(row[2]), int(row[3])) for row in rows]
