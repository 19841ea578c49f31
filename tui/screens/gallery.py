"""Images by class: synthetic ones beside the real shots, one at full size, and marks on the bad ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.message import Message
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from datadream.text import ID_LENGTH, shown
from tui.actions import bindings
from tui.base import HomeScreen
from tui.drawing import glyphs
from tui.services import album as albums
from tui.services.album import Album
from tui.widgets.image import BAD, Cell, ImageGrid, ImageView
from tui.widgets.lines import Lines

if TYPE_CHECKING:
    from tui.services.data import Data

SIDES = ((150, 24, 14), (100, 20, 10), (0, 14, 10))  # from so many columns on: cells an image and a shot are wide
SYNTH_ONLY = "only synthetic images can be marked; to exclude a real one, make another set"


class Inspector(Horizontal, can_focus=True):
    """One image and what is known of it; the arrows go to the next."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("left,h,up,k", "step(-1)", show=False),
        Binding("right,l,down,j", "step(1)", show=False),
        Binding("home,g", "step(-10000000)", show=False),
        Binding("end,G", "step(10000000)", show=False),
    ]

    class Step(Message):
        """So many images on."""

        def __init__(self, by: int) -> None:
            super().__init__()
            self.by = by

    def compose(self) -> ComposeResult:
        """Image and facts."""
        yield ImageView(id="image")
        with VerticalScroll(id="facts", can_focus=False):
            yield Static(id="facts-text", markup=False)

    def action_step(self, by: int) -> None:
        """To another image of the class."""
        self.post_message(self.Step(by))


class GalleryScreen(HomeScreen):
    """The images of one artifact: a synthetic set's, or with `kind` "set" the shots of a few-shot set."""

    KEY: ClassVar[str] = "gallery"
    BINDINGS: ClassVar[list[BindingType]] = bindings("gallery")
    AUTO_FOCUS = "#images"

    def __init__(self, artifact_id: str, kind: Literal["synth", "set"] = "synth") -> None:
        super().__init__()
        self.artifact_id, self.kind = artifact_id, kind
        self.album: Album | None = None
        self.label = 0
        self.inspecting = False

    def crumb(self) -> str:
        """Which set, which class."""
        where = {"synth": "Synthetic sets", "set": "Few-shot sets"}[self.kind]
        parts = [where, self.artifact_id[:ID_LENGTH]]
        if self.album is not None:
            parts.append(self.album.classes[self.label].name)
        return f" {glyphs.ARROW} ".join(parts)

    def body(self) -> ComposeResult:
        """Classes, images, shots; the one image takes their place."""
        yield Lines(id="gallery-head")
        with Horizontal(id="gallery"):
            yield OptionList(id="classes")
            yield ImageGrid(id="images")
            with Vertical(id="real"):
                yield Static("real shots", id="real-title", markup=False)
                yield ImageGrid(id="shots", cursor=False)
        yield Inspector(id="inspector")
        yield Lines(id="gallery-status")

    # What there is

    def on_mount(self) -> None:
        """The real shots of a few-shot set are its images."""
        self.query_one("#real").display = self.kind == "synth"

    def refresh_data(self) -> None:
        """All of it the first time, then the marks."""
        artifact_id, kind, known = self.artifact_id, self.kind, self.album

        def question(data: Data) -> Album:
            if known is not None:
                return albums.again(data, known)
            return albums.read_synth(data, artifact_id) if kind == "synth" else albums.read_set(data, artifact_id)

        self.ask("album", question, self._show_album)

    def _show_album(self, album: Album) -> None:
        if album == self.album:
            return
        first, self.album = self.album is None, album
        if first:
            self._fill_classes()
        self._show_class(to_top=first)

    def _fill_classes(self) -> None:
        assert self.album is not None
        classes = self.query_one("#classes", OptionList)
        classes.add_options(Option(Text(self._class_text(label))) for label in range(len(self.album.classes)))
        classes.highlighted = self.label

    def _class_text(self, label: int) -> str:
        assert self.album is not None
        class_ = self.album.classes[label]
        bad = f" {BAD[0]}" if class_.folder in self.album.marks.classes else ""
        return f"{shown(class_.name)}{bad}"

    def _show_class(self, to_top: bool = False) -> None:
        album = self.album
        if album is None:
            return
        cells = []
        for index, picture in enumerate(album.pictures(self.label)):
            bad = album.kind == "synth" and album.marks.is_bad(picture.key)
            cells.append(Cell(picture, f"{index}" if album.kind == "synth" else picture.key.rsplit("/", 1)[-1], bad))
        shots = album.classes[self.label].shots
        with self.app.batch_update():
            self.query_one("#images", ImageGrid).show(cells, "no images of this class", to_top)
            if album.kind == "synth":
                self.query_one("#shots", ImageGrid).show(
                    [Cell(shot.picture, shot.picture.key.rsplit("/", 1)[-1]) for shot in shots],
                    album.no_shots or "the set has no images of this class",
                    to_top,
                )
                self.query_one("#real-title", Static).update(f"{len(shots)} real shots" if shots else "real shots")
            self._head()
            self._say()
            self.tell()
        if self.inspecting:
            self._inspect()

    def _head(self) -> None:
        assert self.album is not None
        class_ = self.album.classes[self.label]
        text = Text()
        text.append(f"{self.label + 1}/{len(self.album.classes)} {shown(class_.name)}", "bold")
        if class_.folder in self.album.marks.classes:
            text.append(f"  {BAD[0]} class", BAD[1])
        text.append(f"  {shown(class_.prompt)}")
        text.append(f"\n{shown(self.album.about)}", "dim")
        self.query_one("#gallery-head", Lines).update(text)
        classes = self.query_one("#classes", OptionList)
        classes.replace_option_prompt_at_index(self.label, Text(self._class_text(self.label)))

    def _say(self) -> None:
        assert self.album is not None
        grid, marks = self.query_one("#images", ImageGrid), self.album.marks
        parts = [f"image {grid.cursor + 1:,} of {len(grid.cells):,}" if grid.cells else "no images"]
        if marks:
            counts = ((len(marks.images), "image", "images"), (len(marks.classes), "class", "classes"))
            parts.append(" and ".join(f"{n} {one if n == 1 else many}" for n, one, many in counts if n) + " marked bad")
            parts.append("run --without-marked excludes them")
        text = Text(f" {glyphs.DOT} ".join(parts))
        self.query_one("#gallery-status", Lines).update(text)

    def on_resize(self) -> None:
        """Larger images where there is room."""
        _, side, small = next(sides for sides in SIDES if self.size.width >= sides[0])
        self.query_one("#images", ImageGrid).set_side(side)
        self.query_one("#shots", ImageGrid).set_side(small)
        self.query_one("#real").styles.width = 2 * small + 3

    # Moving

    def on_image_grid_moved(self, message: ImageGrid.Moved) -> None:
        """Say where."""
        if message.grid.id == "images" and self.album is not None:
            self._say()

    def on_image_grid_opened(self, message: ImageGrid.Opened) -> None:
        """By mouse."""
        if message.grid.id == "images":
            self.action_do("open")

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """Another class, unless the list has gone on since that was said: two would follow one another for ever."""
        if event.option_index == event.option_list.highlighted:
            self._go(event.option_index)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Into its images."""
        self._go(event.option_index)
        self.query_one("#images").focus()

    def _go(self, label: int) -> None:
        if self.album is not None and label != self.label and 0 <= label < len(self.album.classes):
            self.label = label
            self.query_one("#classes", OptionList).highlighted = label
            self._show_class(to_top=True)

    def on_inspector_step(self, message: Inspector.Step) -> None:
        """The next image, at full size."""
        self.query_one("#images", ImageGrid).action_move(message.by)
        self._inspect()

    def peel(self) -> bool:
        """Escape: from the one image back to all of them."""
        if not self.inspecting:
            return False
        self.inspecting = False
        self.remove_class("-inspecting")
        self.query_one("#images").focus()
        return True

    # Actions

    def why_not(self, action: str) -> str:
        """What needs an image, or a synthetic set."""
        if self.album is None:
            return "" if action == "lineage" else "the images are still loading, or the set no longer exists"
        if action in ("bad", "bad_class") and self.kind == "set":
            return SYNTH_ONLY
        if action in ("open", "bad") and self.query_one("#images", ImageGrid).current is None:
            return "no images of this class"
        if action in ("next_class", "previous_class"):
            label = self.label + (1 if action == "next_class" else -1)
            if not 0 <= label < len(self.album.classes):
                return "this is the last class" if action == "next_class" else "this is the first class"
        return super().why_not(action)

    def command(self, action: str) -> str:
        """`synth mark`, or what shows the set."""
        if action in ("open", "lineage"):
            return f"datadream {self.kind} show {self.artifact_id}"
        if action in ("bad", "bad_class") and self.album is not None and self.kind == "synth":
            return self._mark_command(self._target(action))
        return super().command(action)

    def do_open(self) -> None:
        """One image at full size; again leads back."""
        if self.inspecting:
            self.peel()
            return
        self.inspecting = True
        self.add_class("-inspecting")
        self.query_one("#inspector").focus()
        self._inspect()

    def _inspect(self) -> None:
        album, grid = self.album, self.query_one("#images", ImageGrid)
        if album is None or grid.current is None:
            return
        label, index = self.label, grid.cursor
        self.query_one("#image", ImageView).show(grid.current.picture)
        self.ask("facts", lambda data: albums.facts(data, album, label, index), self._show_facts)

    def _show_facts(self, facts: list[tuple[str, str]]) -> None:
        if self.has_class("-narrow"):
            lines = (Text.assemble((f"{name} ", "dim"), shown(value)) for name, value in facts)
            self.query_one("#facts-text", Static).update(Text("\n").join(lines))
            return
        table = Table.grid(padding=(0, 1))
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in facts:
            table.add_row(name, Text(shown(value)))
        self.query_one("#facts-text", Static).update(table)

    def do_next_class(self) -> None:
        """The next."""
        self._go(self.label + 1)

    def do_previous_class(self) -> None:
        """The one before."""
        self._go(self.label - 1)

    def do_bad(self) -> None:
        """Mark the image, or take the mark away."""
        self._mark(self._target("bad"))

    def do_bad_class(self) -> None:
        """Say how many images that is; then mark the class, or take the mark away."""
        from tui.screens.shared.modals import Confirm

        assert self.album is not None
        target, class_ = self._target("bad_class"), self.album.classes[self.label]
        count = len(self.album.pictures(self.label))
        what = f"the class {shown(class_.name)}: {count:,} image{'' if count == 1 else 's'}"
        marked = self._is_marked(target)
        question = f"Unmark {what}?" if marked else f"Mark {what} as bad?"
        note = "" if marked else "`datadream run --without-marked` trains without them. u undoes it."
        confirm = Confirm(question, note, yes="Unmark" if marked else "Mark")
        self.desk.push_screen(confirm, lambda yes: self._mark(target) if yes else None)

    def do_lineage(self) -> None:
        """What it was made from, and what from it."""
        self.desk.open_lineage(self.artifact_id)

    def _target(self, action: str) -> str:
        """What the action marks, as marks call it."""
        assert self.album is not None
        if action == "bad_class":
            return self.album.classes[self.label].folder
        return self.album.name(self.label, self.query_one("#images", ImageGrid).cursor)

    def _is_marked(self, name: str) -> bool:
        assert self.album is not None
        return name in self.album.marks.images or name in self.album.marks.classes

    def _mark_command(self, name: str) -> str:
        from datadream.home.quoting import bash_word

        undo = " --undo" if self._is_marked(name) else ""
        dash = "-- " if name.startswith("-") else ""  # else it would pass for an option
        return f"datadream synth mark{undo} {self.artifact_id} {dash}{bash_word(name)}"

    def _mark(self, name: str) -> None:
        from datadream.home import marks

        synth_id, marked = self.artifact_id, self._is_marked(name)
        assert self.album is not None
        reason = self.album.marks.images.get(name, self.album.marks.classes.get(name, ""))

        def mark(data: Data) -> None:
            marks.mark(data.home, synth_id, [name], reason)

        def unmark(data: Data) -> None:
            marks.unmark(data.home, synth_id, [name])

        what = f"{'no longer ' if marked else ''}marked as bad: {name}"
        deed, back = (unmark, mark) if marked else (mark, unmark)

        def undo(data: Data) -> None:
            back(data)
            self.call_later(self.refresh_data)  # marks are no part of the registry, whose changes screens follow

        self.act(what, deed, lambda _: self.refresh_data(), undo, self._mark_command(name))
