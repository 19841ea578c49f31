"""A new few-shot set: where from, how many, which draw; checked while typed, and whole before anything is written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ClassVar, TypeVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, Static
from textual.worker import Worker

from datadream.errors import UserError
from datadream.text import counted, shown
from tui.desk import Desk, desk_of
from tui.services.set_maker import Look, Made, Wish, command, look, make, parse
from tui.widgets.visible import Visible

T = TypeVar("T")
__all__ = ["Made", "NewSet"]
TYPED_SECONDS = 0.25  # after the last letter a source is looked at
FIELDS = (
    ("source", "Source", "digits", "digits, or a folder: ROOT/<class>/*"),
    ("shots", "Shots", "16", "real images per class"),
    ("seed", "Seed", "1", "seed of the draw"),
    ("split-seed", "Split seed", "0", "seed of the split, for a folder without one"),
    ("name", "Name", "", "optional; default from source, shots and seed"),
)


class NewSet(ModalScreen[Made | None]):
    """Answers with the set that was made, None when left."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Back", show=False),
        Binding("down", "app.focus_next", show=False),
        Binding("up", "app.focus_previous", show=False),
        Binding("ctrl+o", "browse", "Browse", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.wish: Wish | None = None
        self._wrong, self._busy = "", False

    def compose(self) -> ComposeResult:
        """Fields, what was found, the command, and two buttons."""
        with Vertical(classes="dialog panel", id="new-set"):
            yield Label("New few-shot set", classes="dialog-title")
            for key, title, value, hint in FIELDS:
                with Horizontal(classes="field"):
                    yield Label(title)
                    yield Input(
                        value, placeholder=hint, id=key, compact=True, select_on_focus=False, highlighter=Visible()
                    )
            with VerticalScroll(id="found", can_focus=False):
                yield Static(id="found-text", markup=False)
            yield Static(id="set-command", markup=False)
            with Horizontal(id="set-buttons"):
                yield Button("Make", id="make", variant="primary", compact=True)
                yield Button("Browse for a folder", id="browse", compact=True)
                yield Button("Leave", id="leave", compact=True)

    def on_mount(self) -> None:
        """Begin at the source."""
        self.query_one("#source", Input).focus()
        self._typed()

    def on_input_changed(self, _: Input.Changed) -> None:
        """Look at it anew."""
        self._typed()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """To the next field; from the last to the making."""
        if event.input.id == FIELDS[-1][0]:
            self._make()
        else:
            self.focus_next()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """By mouse or enter."""
        {"make": self._make, "browse": self.action_browse, "leave": self.action_leave}[str(event.button.id)]()

    def action_browse(self) -> None:
        """Choose a folder."""
        from tui.screens.new.file_picker import FolderPicker

        field = self.query_one("#source", Input)

        def chosen(path: str | None) -> None:
            if path is not None:
                field.value = path
            field.focus()

        self.app.push_screen(FolderPicker("" if field.value == "digits" else field.value), chosen)

    def action_leave(self) -> None:
        """Nothing is made, unless that was asked for already."""
        if self._busy:
            self._desk.say("the set is still being made and will appear in the list; quitting stops it")
        self.dismiss(None)

    # Looking and making

    def _typed(self) -> None:
        if self._busy:
            return
        values = [self.query_one(f"#{key}", Input).value for key, *_ in FIELDS]
        found = parse(*values)
        if isinstance(found, str):
            self.wish = None
            self.workers.cancel_group(self, "look")  # what was found for an older word would hide this one's fault
            self.query_one("#set-command", Static).update("")
            self._say(Look(wrong=found))
            return
        self.wish = found
        self.query_one("#set-command", Static).update(Text(shown(command(found)), "bold"))
        self._wrong = "the source is still being read"
        self._ask(lambda: look(self._desk.data.home, found), self._say, wait=TYPED_SECONDS)

    def _say(self, found: Look) -> None:
        self._wrong = found.wrong
        text = Text("\n".join(shown(line) for line in found.lines))
        if found.wrong:
            text.append(("\n" if found.lines else "") + "! " + shown(found.wrong), "bold yellow")
        else:
            text.append(f"\nall {counted(found.images, 'image')} are decoded before anything is written", "dim")
        self.query_one("#found-text", Static).update(text)

    def _make(self) -> None:
        wish = self.wish
        if self._busy:
            return
        if wish is None or self._wrong:
            self._desk.say(self._wrong or "fill in the fields first", "warning")
            return
        self._busy = True
        self.query_one("#found-text", Static).update(Text("decoding and hashing every image ...", "bold"))
        self._ask(lambda: make(self._desk.data.home, wish), self.dismiss)

    @property
    def _desk(self) -> Desk:
        return desk_of(self.app)

    def _ask(self, question: Callable[[], T], answer: Callable[[T], object], wait: float = 0.0) -> None:
        async def asking() -> None:
            await asyncio.sleep(wait)
            try:
                found = await asyncio.get_running_loop().run_in_executor(self._desk.pool, question)
            except UserError as error:
                if self.is_attached:
                    self._busy = False
                    self._say(Look(wrong=str(error)))
                return
            except Exception as error:  # noqa: BLE001 - becomes a panel with a way back
                self._busy = False
                self._desk.trouble(error)
                return
            if self.is_attached:
                answer(found)

        _: Worker[None] = self.run_worker(asking, group="look", exclusive=True, exit_on_error=False)
