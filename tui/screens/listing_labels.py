"""Tags and notes of the rows that are meant, one or many: asked, written, undone."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from datadream.jobs.quoting import bash_word, command_line
from datadream.text import ID_LENGTH
from tui.base import HomeScreen

if TYPE_CHECKING:
    from datadream.jobs.labels import Labels
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
        self._known(self._ask_tags)

    def do_note(self) -> None:
        """Edit the note; many get the same."""
        self._known(self._ask_note)

    def _known(self, then: Callable[[Known], None]) -> None:
        ids = self.ids()

        def read(data: Data) -> Known:
            from datadream.jobs.labels import read_labels

            return {subject: read_labels(data.home, subject) for subject in ids}

        self.ask("labels", read, then, on_top=True)

    def _whose(self, known: Known) -> str:
        first = next(iter(known))
        return f"the {self.NOUN} {first[:ID_LENGTH]}" if len(known) == 1 else f"{len(known)} {self.NOUN}s"

    def _ask_tags(self, known: Known) -> None:
        from tui.screens.modals import AskText

        shared = set.intersection(*(set(labels.tags) for labels in known.values()))
        hint = "words, separated by spaces; 'two words' in quotes" + (
            "; these are in all of them" if len(known) > 1 else ""
        )
        ask = AskText(f"Tags of {self._whose(known)}", shlex.join(sorted(shared)), hint, _wrong_tags)

        def answered(text: str | None) -> None:
            if text is not None:
                words = shlex.split(text)
                wanted = {word if word in shared else word.rstrip(",") for word in words} - {""}  # "best, fine"
                self._tag(known, wanted - shared, shared - wanted)

        self.dream.push_screen(ask, answered)

    def _tag(self, known: Known, add: set[str], remove: set[str]) -> None:
        if not add and not remove:
            self.dream.say("the tags stay as they are")
            return

        def write(data: Data) -> None:
            from datadream.jobs.labels import tag

            for subject in known:
                tag(data.home, subject, add, remove)
            data.sync()

        def undo(data: Data) -> None:
            from datadream.jobs.labels import tag

            for subject, old in known.items():
                tag(data.home, subject, remove & set(old.tags), add - set(old.tags))
            data.sync()

        lines = [
            f"datadream tag {verb} {subject} {command_line(sorted(words))}"
            for verb, words in (("add", add), ("rm", remove))
            for subject in known
            if words
        ]
        told = [f"{sign}{word}" for sign, words in (("+", add), ("-", remove)) for word in sorted(words)]
        self.act(f"tags of {self._whose(known)}: {' '.join(told)}", write, self._written, undo, "\n".join(lines))

    def _ask_note(self, known: Known) -> None:
        from tui.screens.modals import AskText

        notes = {labels.note for labels in known.values()}
        value = _one_line(notes.pop()) if len(notes) == 1 else ""
        ask = AskText(f"Note on {self._whose(known)}", value, r"\n is a new line; nothing removes the note")

        def answered(text: str | None) -> None:
            if text is not None:
                self._write_note(known, _many_lines(text))

        self.dream.push_screen(ask, answered)

    def _write_note(self, known: Known, text: str) -> None:
        if all(labels.note == text for labels in known.values()):
            self.dream.say("the note stays as it is")
            return

        def write(data: Data) -> None:
            from datadream.jobs.labels import note

            for subject in known:
                note(data.home, subject, text)
            data.sync()

        def undo(data: Data) -> None:
            from datadream.jobs.labels import note

            for subject, old in known.items():
                note(data.home, subject, old.note)
            data.sync()

        ending = bash_word(text) if text else "--clear"
        command = "\n".join(f"datadream note {subject} {ending}" for subject in known)
        what = "note on" if text else "no note any more on"
        self.act(f"{what} {self._whose(known)}", write, self._written, undo, command)

    def _written(self, _: None) -> None:
        self.refresh_data()


def _wrong_tags(text: str) -> str:
    try:
        words = shlex.split(text)
    except ValueError:
        return "a quote is open: close it"
    return "" if all(word.strip() for word in words) else "a tag needs a visible character"


def _one_line(note: str) -> str:
    return note.replace("\\", "\\\\").replace("\n", "\\n")


def _many_lines(text: str) -> str:
    parts = text.strip().split("\\\\")
    return "\\".join(part.replace("\\n", "\n") for part in parts)
