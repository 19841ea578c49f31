"""Small questions over a screen: confirm, a line of text, a choice, and panels of text. Escape always leaves them.

Each is there at once. What it has to read first comes by `fill`, at any moment: before it is drawn, or when it was left
already. Until then it says READING, and what is typed goes to it and not to the screen below.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import ClassVar

from rich.console import RenderableType
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, OptionList, Static
from textual.widgets.option_list import Option

from datadream.text import shown, shown_lines
from tui.drawing import glyphs
from tui.widgets.ticks import Ticks
from tui.widgets.visible import Visible

READING = f"reading{glyphs.ELLIPSIS}"
ESCAPE = Binding("escape", "leave", "Back", show=False)


class Confirm(ModalScreen[bool]):
    """Says what will be lost, then asks. `y` does it, `n` and escape don't; while it is `reading`, nothing does."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ESCAPE,
        Binding("y", "yes", "Yes"),
        Binding("n", "leave", "No"),
    ]

    def __init__(self, question: str, loss: str = "", yes: str = "Yes", *, reading: bool = False) -> None:
        super().__init__()
        self._question, self._loss, self._yes = question, loss, yes
        self._reading, self._refused = reading, False

    def compose(self) -> ComposeResult:
        """Question, loss, two buttons."""
        with Vertical(classes="dialog"):
            yield Label(Text(shown_lines(self._question)), id="question", classes="dialog-title")
            yield Static(id="loss", classes="dialog-text", markup=False)
            yield Button(Content(f"{self._yes} (y)"), id="yes", variant="error", compact=True)
            yield Button("No (n)", id="no", compact=True)

    def on_mount(self) -> None:
        """The harmless button has the focus."""
        self.query_one("#no", Button).focus()
        self._tell()

    def fill(self, question: str, loss: str) -> None:
        """What was read; now it can be answered."""
        self._question, self._loss, self._reading = question, loss, False
        self._tell()

    def refuse(self, why: str) -> None:
        """It can't be done, as what was read says: only `n` is left."""
        self._loss, self._reading, self._refused = why, False, True
        self._tell()

    def _tell(self) -> None:
        if not self.query("#no"):
            return
        self.query_one("#question", Label).update(Text(self._question))
        said = READING if self._reading else self._loss
        self.query_one("#loss", Static).update(Text(said))
        self.query_one("#loss").display = bool(said)
        self.query_one("#yes", Button).disabled = self._reading
        self.query_one("#yes", Button).display = not self._refused

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """By mouse or enter."""
        self.dismiss(event.button.id == "yes")

    def action_yes(self) -> None:
        """Do it, once it is known what."""
        if not self._reading and not self._refused:
            self.dismiss(True)

    def action_leave(self) -> None:
        """Don't."""
        self.dismiss(False)


class AskText(ModalScreen[str | None]):
    """A line of text; `check` gives a sentence for what can't be, "" for what can.

    What is typed while it is still `reading` comes after what was read, as if that had been there from the start; an
    enter is heeded then.
    """

    BINDINGS: ClassVar[list[BindingType]] = [ESCAPE]

    def __init__(
        self,
        title: str,
        value: str = "",
        hint: str = "",
        check: Callable[[str], str] = lambda _: "",
        *,
        reading: bool = False,
    ) -> None:
        super().__init__()
        self._title, self._value, self._hint, self._check = title, value, hint, check
        self._reading, self._entered, self._why = reading, False, ""

    def compose(self) -> ComposeResult:
        """Title, input, hint."""
        with Vertical(classes="dialog"):
            yield Label(Text(shown_lines(self._title)), classes="dialog-title")
            yield Input(self._value, id="text", select_on_focus=False, highlighter=Visible())
            yield Static(id="hint", classes="dialog-text", markup=False)

    def on_mount(self) -> None:
        """Say what enter does."""
        self._tell("")

    def fill(self, value: str, between: str = "", hint: str = "") -> None:
        """What was read; `between` goes before what was typed meanwhile."""
        self._reading, self._hint = False, hint or self._hint
        if not self.query("#hint"):
            self._value = value
            return
        field = self.query_one("#text", Input)
        typed = field.value
        field.value = f"{value}{between if value and typed else ''}{typed}"
        field.cursor_position = len(field.value)
        self._tell(self._check(field.value))
        if self._entered:
            self._enter(field.value)

    def refuse(self, why: str) -> None:
        """It can't be read: escape is all that is left."""
        self._reading, self._entered, self._why = True, False, why
        self._tell("")

    def _tell(self, wrong: str) -> None:
        if not self.query("#hint"):
            return
        if self._why:
            self.query_one("#hint", Static).update(Text(shown_lines(self._why), "yellow"))
            return
        said = READING if self._reading else wrong or self._hint or "enter saves, escape cancels"
        self.query_one("#hint", Static).update(Text(shown_lines(said), "yellow" if wrong and not self._reading else ""))

    def on_input_changed(self, event: Input.Changed) -> None:
        """Say what is wrong while it is typed."""
        if not self._reading:
            self._tell(self._check(event.value))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Keep it, if it can be."""
        self._enter(event.value)

    def _enter(self, value: str) -> None:
        self._entered = self._reading
        if not self._reading and not self._check(value):
            self.dismiss(value)

    def action_leave(self) -> None:
        """Leave it as it was."""
        self.dismiss(None)


class Choose(ModalScreen["str | list[str] | None"]):
    """One of `options` (key, label), or with `many` any of them (space toggles, enter keeps)."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ESCAPE,
        Binding("enter", "keep", "Keep", show=False, priority=True),
        Binding("j", "down", show=False),
        Binding("k", "up", show=False),
    ]

    def __init__(
        self, title: str, options: Sequence[tuple[str, str]], *, many: bool = False, chosen: Collection[str] = ()
    ) -> None:
        super().__init__()
        self._title, self._options, self._many, self._chosen = title, list(options), many, set(chosen)

    def compose(self) -> ComposeResult:
        """Title and list."""
        with Vertical(classes="dialog"):
            yield Label(Text(shown_lines(self._title)), classes="dialog-title")
            if self._many:
                yield Ticks([(key, "" if label == key else label) for key, label in self._options], id="choices")
                yield Static("space toggles, enter applies, escape cancels", classes="dialog-text")
            else:
                yield OptionList(
                    *(Option(Text(shown(label)), id=f"o{i}") for i, (_, label) in enumerate(self._options)),
                    id="choices",
                )

    def on_mount(self) -> None:
        """Begin at what is chosen now."""
        choices = self.query_one("#choices", OptionList)
        if isinstance(choices, Ticks):
            choices.tick([key for key, _ in self._options if key in self._chosen])
        at = next((i for i, (key, _) in enumerate(self._options) if key in self._chosen), 0)
        if self._options:
            choices.highlighted = at
        choices.focus()

    def fill(self, options: Sequence[tuple[str, str]]) -> None:
        """More of them, once they are known; what is ticked, and the cursor, stay."""
        self._options = list(options)
        for choices in self.query("#choices").results(Ticks):
            choices.fill([(key, "" if label == key else label) for key, label in options])

    def action_keep(self) -> None:
        """Answer with what is chosen."""
        if self._many:
            self.dismiss(list(self.query_one("#choices", Ticks).ticked))
            return
        at = self.query_one("#choices", OptionList).highlighted
        self.dismiss(self._options[at][0] if at is not None else None)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """By mouse."""
        if not self._many:
            self.dismiss(self._options[event.option_index][0])

    def action_down(self) -> None:
        """Further down."""
        self.query_one("#choices", OptionList).action_cursor_down()

    def action_up(self) -> None:
        """Further up."""
        self.query_one("#choices", OptionList).action_cursor_up()

    def action_leave(self) -> None:
        """No answer."""
        self.dismiss(None)


class Panel(ModalScreen[None]):
    """Something to read, scrolled with the arrows."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ESCAPE,
        Binding("q", "leave", show=False),
        Binding("j", "scroll(1)", show=False),
        Binding("k", "scroll(-1)", show=False),
    ]

    def __init__(self, title: str, content: RenderableType, foot: str = "escape goes back") -> None:
        super().__init__()
        self._title, self._content, self._foot = title, content, foot

    def compose(self) -> ComposeResult:
        """Title, text, foot."""
        with Vertical(classes="dialog panel"):
            yield Label(Text(shown_lines(self._title)), classes="dialog-title")
            with VerticalScroll(id="panel-scroll"):
                yield Static(self._content, id="panel-text", markup=False)
            yield Static(Text(shown_lines(self._foot)), classes="dialog-text")

    def on_mount(self) -> None:
        """The text has the focus, so arrows scroll it."""
        self.query_one("#panel-scroll").focus()

    def fill(self, content: RenderableType) -> None:
        """What was read."""
        self._content = content
        for text in self.query("#panel-text").results(Static):
            text.update(content)

    def action_scroll(self, lines: int) -> None:
        """By so many lines."""
        self.query_one("#panel-scroll").scroll_relative(y=lines, animate=False)

    def action_leave(self) -> None:
        """Back to the screen."""
        self.dismiss(None)


class Commands(ModalScreen[None]):
    """The command line's form of each action on the present selection, and what was run; `y` copies the line."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ESCAPE,
        Binding("y,enter", "copy", "Copy", priority=True),
        Binding("q", "leave", show=False),
    ]

    def __init__(self, lines: Sequence[tuple[str, str]], copy: Callable[[str], None]) -> None:
        super().__init__()
        self._lines, self._copy = list(lines), copy

    def compose(self) -> ComposeResult:
        """A line each: what, and the command."""
        with Vertical(classes="dialog panel"):
            yield Label("Equivalent commands", classes="dialog-title")
            options = [
                Option(Text.assemble((f"{shown(what)}  ", "bold"), shown_lines(line)), id=f"c{i}")
                for i, (what, line) in enumerate(self._lines)
            ]
            yield OptionList(*options, id="choices")
            yield Static("y or enter copies the line, escape closes", classes="dialog-text")

    def on_mount(self) -> None:
        """Begin at the top."""
        choices = self.query_one("#choices", OptionList)
        choices.highlighted = 0 if self._lines else None
        choices.focus()

    def action_copy(self) -> None:
        """Copy the command under the cursor."""
        at = self.query_one("#choices", OptionList).highlighted
        if at is not None:
            self._copy(self._lines[at][1])

    def action_leave(self) -> None:
        """Back to the screen."""
        self.dismiss(None)
