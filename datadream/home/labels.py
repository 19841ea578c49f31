"""Tags and notes: the user's words on anything with an id. Stored as they are, in files named by the id."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from datadream import durable, records
from datadream.errors import UserError
from datadream.home import state
from datadream.home.layout import Home
from datadream.home.lease import lock

LENGTH_MAX = 10_000


@dataclass(frozen=True)
class Labels:
    """What the user said of one thing."""

    tags: tuple[str, ...] = ()
    note: str = ""
    updated: str = ""


def read_labels(home: Home, subject: str) -> Labels:
    """Tags and note of the thing with this id; empty when there are none.

    Raises Unreadable for a damaged file: what it says must not be written over, nor pass for nothing.
    """
    path = home.label(subject)
    what, hint = "these tags and this note", "restore that file, or remove it"
    found = records.read(path, {"tags": list, "note": str, "updated": str}, durable.RECORD_BYTES, what=what, hint=hint)
    if found is None:
        return Labels()
    if not all(isinstance(word, str) for word in found["tags"]):
        raise records.Unreadable(path, "has a tag that is not text", hint, what)
    return Labels(tuple(found["tags"]), found["note"], found["updated"])


def labels_to_show(home: Home, subject: str) -> Labels:
    """The same for a page about that thing, which goes on without them: a damaged file's note says what is wrong."""
    try:
        return read_labels(home, subject)
    except records.Unreadable as error:
        return Labels(note=f"(tags and note can't be read: the file {error.reason})")


def tag(home: Home, subject: str, add: Iterable[str] = (), remove: Iterable[str] = ()) -> Labels:
    """Add and remove tags. Raises UserError for an empty one."""
    add, remove = list(add), set(remove)
    for word in add:
        _check(word, "tag")
    with _alone(home):
        old = read_labels(home, subject)
        return _write(home, subject, Labels(tuple(sorted({*old.tags, *add} - remove)), old.note))


def note(home: Home, subject: str, text: str) -> Labels:
    """Replace the note; an empty one removes it."""
    if text:
        _check(text, "note")
    with _alone(home):
        return _write(home, subject, Labels(read_labels(home, subject).tags, text))


def _alone(home: Home) -> AbstractContextManager[None]:
    return lock(durable.make_dir(home.path / "labels") / ".lease")


def _check(text: str, what: str) -> None:
    if not text.strip() or len(text) > LENGTH_MAX:
        raise UserError(f"a {what} needs 1 to {LENGTH_MAX} characters, at least one visible")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(f"the {what} is not valid text", hint="use UTF-8") from error


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
