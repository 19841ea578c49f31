"""Tags and notes of the rows that are meant, one or many: asked, written, undone."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, ClassVar

from datadream.errors import UserError
from datadream.home.quoting import bash_word, command_line
from datadream.text import ID_LENGTH, counted
from tui.base import HomeScreen

if TYPE_CHECKING:
    from datadream.home.labels import Labels
    from tui.services.data import Data

    Known = dict[str, Labels]


class Labelling(HomeScreen):
    """`t` and `e` of a list; `ids` says of what."""

    NOUN: ClassVar[str] = ""

    def ids(self) -> list[str]:
        """The things that are meant."""
        raise NotImplementedError

    def label_command(self, action: str) -> str:
        """The command line's form; what isn't typed yet is in capitals."""
        verbs = {"tag": "datadream tag add {} TAG", "note": "datadream note {} TEXT"}
        return "\n".join(verbs[action].format(subject) for subject in self.ids()) if action in verbs else ""

    def do_tag(self) -> None:
        """Edit the tags all of them have; what comes and goes, does so for each."""
        ids = self.ids()
        hint = "separate tags by spaces; quote 'two words'" + "; these are on all of them" * (len(ids) > 1)

        def value(known: Known) -> str:
            return shlex.join(sorted(_shared(known)))

        def answered(known: Known, text: str) -> None:
            shared, words = _shared(known), shlex.split(text)
            wanted = {word if word in shared else word.rstrip(",") for word in words} - {""}  # "best, fine"
            self._tag(known, wanted - shared, shared - wanted)

        self._ask_for(ids, f"Tags of {self._whose(ids)}", hint, _wrong_tags, value, answered)

    def do_note(self) -> None:
        """Edit the note; many get the same."""
        ids = self.ids()

        def value(known: Known) -> str:
            notes = {labels.note for labels in known.values()}
            return _one_line(notes.pop()) if len(notes) == 1 else ""

        def answered(known: Known, text: str) -> None:
            self._write_note(known, _many_lines(text))

        hint = r"\n: new line; empty: remove the note"
        self._ask_for(ids, f"Note on {self._whose(ids)}", hint, lambda _: "", value, answered)

    def _ask_for(
        self,
        ids: Sequence[str],
        title: str,
        hint: str,
        check: Callable[[str], str],
        value: Callable[[Known], str],
        answered: Callable[[Known, str], None],
    ) -> None:
        """The box at once, then what these have now; `answered` gets both."""
        from tui.screens.shared.modals import AskText

        found: Known = {}

        def read(data: Data) -> Known:
            from datadream.home.labels import read_labels

            return {subject: read_labels(data.home, subject) for subject in ids}

        def fill(known: Known) -> None:
            found.update(known)
            box.fill(value(known), " ")

        def closed(text: str | None) -> None:
            if text is not None:
                answered(found, text)

        box = AskText(title, hint=hint, check=check, reading=True)
        self.desk.push_screen(box, closed)
        self.ask("labels", read, fill, failed=box.refuse)

    def _whose(self, ids: Collection[str]) -> str:
        return f"{self.NOUN} {next(iter(ids))[:ID_LENGTH]}" if len(ids) == 1 else counted(len(ids), self.NOUN)

    def _tag(self, known: Known, add: set[str], remove: set[str]) -> None:
        if not add and not remove:
            self.desk.say("tags unchanged")
            return

        def write(data: Data, subject: str) -> None:
            from datadream.home.labels import tag

            tag(data.home, subject, add, remove)

        def restore(data: Data, subject: str) -> None:
            from datadream.home.labels import tag

            old = known[subject]
            tag(data.home, subject, remove & set(old.tags), add - set(old.tags))

        lines = [
            f"datadream tag {verb} {subject} {command_line(sorted(words))}"
            for verb, words in (("add", add), ("rm", remove))
            for subject in known
            if words
        ]
        told = [f"{sign}{word}" for sign, words in (("+", add), ("-", remove)) for word in sorted(words)]
        self._each(known, f"tags of {self._whose(known)}: {' '.join(told)}", write, restore, lines)

    def _write_note(self, known: Known, text: str) -> None:
        if all(labels.note == text for labels in known.values()):
            self.desk.say("note unchanged")
            return

        def write(data: Data, subject: str) -> None:
            from datadream.home.labels import note

            note(data.home, subject, text)

        def restore(data: Data, subject: str) -> None:
            from datadream.home.labels import note

            note(data.home, subject, known[subject].note)

        ending = bash_word(text) if text else "--clear"
        what = "note on" if text else "note removed from"
        lines = [f"datadream note {subject} {ending}" for subject in known]
        self._each(known, f"{what} {self._whose(known)}", write, restore, lines)

    def _each(
        self,
        known: Known,
        told: str,
        write: Callable[[Data, str], None],
        restore: Callable[[Data, str], None],
        lines: Sequence[str],
    ) -> None:
        """Write it for those that are still there; undo reaches only these."""
        still, done = self.still_there(list(known)), list[str]()

        def act(data: Data) -> None:
            for subject in still(data):
                write(data, subject)
                done.append(subject)
            data.sync()
            if not done:
                raise UserError(f"nothing written: {self._whose(known)} no longer listed")

        def undo(data: Data) -> None:
            for subject in done:
                restore(data, subject)
            data.sync()

        def then(_: None) -> None:
            if len(done) < len(known):
                left = len(known) - len(done)
                self.desk.say(f"{left} of {len(known)} no longer listed: nothing written there", "warning")
            self.refresh_data()

        self.act(told, act, then, undo, "\n".join(lines))


def _shared(known: Known) -> set[str]:
    return set.intersection(*(set(labels.tags) for labels in known.values()))


def _wrong_tags(text: str) -> str:
    try:
        words = shlex.split(text)
    except ValueError:
        return "unclosed quote"
    return "" if all(word.strip() for word in words) else "a tag needs a visible character"


def _one_line(note: str) -> str:
    return note.replace("\\", "\\\\").replace("\n", "\\n")


def _many_lines(text: str) -> str:
    parts = text.strip().split("\\\\")
    return "\\".join(part.replace("\\n", "\n") for part in parts)
