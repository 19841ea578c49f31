"""Choosing a folder by keyboard: enter goes in, backspace up, space takes it. Folders are listed in the pool."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Label, OptionList, Static
from textual.widgets.option_list import Option
from textual.worker import Worker

from datadream.errors import UserError
from datadream.paths import expand, user_home
from datadream.text import counted, shown
from tui.drawing import glyphs

LISTED_MAX = 2000
UP = ".."


@dataclass(frozen=True)
class Listing:
    """The folders of a folder, hidden ones left out, and how many images lie beside them."""

    path: Path
    folders: tuple[str, ...]
    images: int = 0
    more: int = 0
    trouble: str = ""


def read_folder(path: Path) -> Listing:
    """What is in a folder; what can't be read is a sentence. Only in the pool."""
    from datadream.data.decode import IMAGE_SUFFIXES
    from datadream.data.listing import scan

    try:
        found = scan(path)
    except UserError as error:
        return Listing(path, (), trouble=error.message)
    images = sum(Path(name).suffix.lower() in IMAGE_SUFFIXES for name in found.others)
    return Listing(path, tuple(found.folders[:LISTED_MAX]), images, max(0, len(found.folders) - LISTED_MAX))


def nearest_folder(text: str) -> Path:
    """The folder `text` names, else the nearest above it that is there, else the user's. Only in the pool."""
    try:
        path = expand(text).absolute() if text.strip() else Path.cwd()
        return next((folder for folder in (path, *path.parents) if folder.is_dir()), own_folder())
    except (OSError, UserError, ValueError):
        return own_folder()


def own_folder() -> Path:
    """The user's home directory; the root where the system knows none."""
    return user_home() or Path("/")


class FolderPicker(ModalScreen[str | None]):
    """Answers with the path of a folder, None when left."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Back", show=False),
        Binding("space", "take", "Take", priority=True),
        Binding("backspace,left,h", "up", "Up"),
        Binding("right,l", "into", "In", show=False),
        Binding("j", "cursor(1)", show=False),
        Binding("k", "cursor(-1)", show=False),
        Binding("tilde", "home", "Home", show=False),
    ]

    def __init__(self, start: str = "") -> None:
        super().__init__()
        self._start = start
        self._listing: Listing | None = None

    def compose(self) -> ComposeResult:
        """Where, what is there, and the keys."""
        with Vertical(classes="dialog panel", id="picker"):
            yield Label("", id="picker-path", markup=False)
            yield OptionList(id="choices")
            yield Static(id="picker-note", classes="dialog-text", markup=False)

    def on_mount(self) -> None:
        """Begin at the start, or above it where that isn't there."""
        self.query_one("#choices").focus()
        start = self._start
        self._read(lambda: read_folder(nearest_folder(start)))

    def _read(self, question: object, cursor: str = "") -> None:
        async def reading() -> None:
            assert callable(question)
            loop = asyncio.get_running_loop()
            listing: Listing = await loop.run_in_executor(getattr(self.app, "pool", None), question)
            if self.is_attached:
                self._show(listing, cursor)

        _: Worker[None] = self.run_worker(reading, group="folder", exclusive=True)

    def _show(self, listing: Listing, cursor: str) -> None:
        if listing.trouble and self._listing is not None:
            self._note(listing.trouble, wrong=True)
            return
        self._listing = listing
        choices = self.query_one("#choices", OptionList)
        choices.clear_options()
        names = [UP, *listing.folders] if listing.path != listing.path.parent else list(listing.folders)
        choices.add_options(Option(Text(f"{shown(name)}/", overflow="ellipsis", no_wrap=True)) for name in names)
        choices.highlighted = names.index(cursor) if cursor in names else min(1, len(names) - 1) if names else None
        self.query_one("#picker-path", Label).update(Text(shown(str(listing.path)), "bold", overflow="ellipsis"))
        counts = [f"{len(listing.folders) + listing.more:,} folders"]
        counts += [counted(listing.images, "image")] if listing.images else []
        counts += [f"first {LISTED_MAX:,} listed"] if listing.more else []
        self._note(listing.trouble or f" {glyphs.DOT} ".join(counts), wrong=bool(listing.trouble))

    def _note(self, text: str, wrong: bool = False) -> None:
        keys = "enter opens, backspace up, space selects (.. this one), escape cancels"
        self.query_one("#picker-note", Static).update(
            Text.assemble((("! " if wrong else "") + shown(text), "bold yellow" if wrong else ""), f"\n{keys}")
        )

    def _chosen(self) -> str:
        at = self.query_one("#choices", OptionList).highlighted
        if self._listing is None or at is None:
            return ""
        names = (
            [UP, *self._listing.folders] if self._listing.path != self._listing.path.parent else self._listing.folders
        )
        return names[at]

    def action_into(self) -> None:
        """Open what the cursor is on."""
        name, listing = self._chosen(), self._listing
        if name == UP:
            self.action_up()
        elif name and listing is not None:
            path = listing.path / name
            self._read(lambda: read_folder(path))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Enter, or a click."""
        event.stop()
        self.action_into()

    def action_up(self) -> None:
        """To the folder above; the cursor stays on the one it came from."""
        if self._listing is not None:
            path = self._listing.path
            self._read(lambda: read_folder(path.parent), cursor=path.name)

    def action_home(self) -> None:
        """To the user's own folder."""
        self._read(lambda: read_folder(own_folder()))

    def action_take(self) -> None:
        """The folder under the cursor is the answer; on `..` this one."""
        if self._listing is not None:
            name = self._chosen()
            self.dismiss(str(self._listing.path if name in ("", UP) else self._listing.path / name))

    def action_cursor(self, by: int) -> None:
        """Down or up."""
        choices = self.query_one("#choices", OptionList)
        choices.action_cursor_down() if by > 0 else choices.action_cursor_up()

    def action_leave(self) -> None:
        """No answer."""
        self.dismiss(None)
