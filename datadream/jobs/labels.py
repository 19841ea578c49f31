"""Tags and notes: the user's words on anything with an id. Stored as they are, in files named by the id."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from datadream import durable
from datadream.errors import UserError
from datadream.jobs import state
from datadream.jobs.home import Home
from datadream.jobs.lease import lease

LENGTH_MAX = 10_000


@dataclass(frozen=True)
class Labels:
    """What the user said of one thing."""

    tags: tuple[str, ...] = ()
    note: str = ""
    updated: str = ""


def read_labels(home: Home, subject: str) -> Labels:
    """Tags and note of the thing with this id; empty when there are none."""
    found = state.read_dict(home.label(subject), durable.RECORD_BYTES) or {}
    tags = found.get("tags")
    listed = tuple(str(tag) for tag in tags) if isinstance(tags, list) else ()
    return Labels(listed, str(found.get("note", "")), str(found.get("updated", "")))


def tag(home: Home, subject: str, add: Iterable[str] = (), remove: Iterable[str] = ()) -> Labels:
    """Add and remove tags. Raises UserError for an empty one."""
    add, remove = list(add), set(remove)
    for word in add:
        _check(word, "tag")
    with lease(durable.make_dir(home.path / "labels") / ".lease"):
        old = read_labels(home, subject)
        return _write(home, subject, Labels(tuple(sorted({*old.tags, *add} - remove)), old.note))


def note(home: Home, subject: str, text: str) -> Labels:
    """Replace the note; an empty one removes it."""
    if text:
        _check(text, "note")
    with lease(durable.make_dir(home.path / "labels") / ".lease"):
        return _write(home, subject, Labels(read_labels(home, subject).tags, text))


def _check(text: str, what: str) -> None:
    if not text.strip() or len(text) > LENGTH_MAX:
        raise UserError(f"a {what} needs 1 to {LENGTH_MAX} characters, one of them visible")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(f"the {what} is no valid text", hint="write it in UTF-8") from error


def _write(home: Home, subject: str, labels: Labels) -> Labels:
    path = home.label(subject)
    if not labels.tags and not labels.note:
        durable.remove_file(path)
        durable.touch_dir(path.parent)
        return labels
    labels = Labels(labels.tags, labels.note, state.now())
    durable.write_json(
        path, {"subject": subject, "tags": list(labels.tags), "note": labels.note, "updated": labels.updated}
    )
    return labels
