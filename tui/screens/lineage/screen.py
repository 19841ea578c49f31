"""Lineage: from any artifact, run or job up to its shots and down to its numbers."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType

from datadream.text import shown
from tui.actions import bindings
from tui.base import HomeScreen
from tui.drawing import glyphs
from tui.screens.lineage.tree import Tree, read_tree
from tui.widgets.branches import HERE, Branches, Node
from tui.widgets.lines import Lines

EMPTY = "nothing here yet: 8 plans an experiment, d on the dashboard starts the demo"
LISTS = {"set": "sets", "adapter": "adapters", "run": "runs"}
CLI = {"set": "set", "adapter": "adapter", "synth": "synth", "classifier": "classifier", "run": "runs"}


class LineageScreen(HomeScreen):
    """One tree around `root`; without one, around the run that is the newest when the screen comes up."""

    KEY = "lineage"
    CRUMB = "Lineage"
    BINDINGS: ClassVar[list[BindingType]] = bindings(KEY)
    AUTO_FOCUS = "#branches"

    def __init__(self, root: str = "") -> None:
        super().__init__()
        self._root, self._chosen = root, bool(root)
        self._before: list[str] = []
        self._tree: Tree | None = None

    def body(self) -> ComposeResult:
        """The tree, and a line that says what it is drawn around."""
        yield Branches(id="branches")
        yield Lines(id="about")

    def on_screen_resume(self) -> None:
        """What nobody chose follows the newest run."""
        if not self._chosen and self._tree is not None:
            self._root = ""
            self.refresh_data()

    def refresh_data(self) -> None:
        """Read the tree anew."""
        root = self._root
        self.ask("tree", lambda data: read_tree(data, root), self._show_tree)

    def _show_tree(self, tree: Tree) -> None:
        moved = self._tree is None or tree.root != self._tree.root
        self._tree, self._root = tree, tree.root
        self.query_one(Branches).fill(tree.lines, tree.root, to_here=moved)
        about = f"{HERE} {tree.kind} {tree.root[:8]}" if tree.lines else EMPTY
        if tree.more:
            about += f" {glyphs.DOT} {tree.more:,} more below are not drawn: see the lists"
        if self._before:
            about += f" {glyphs.DOT} escape goes back to {self._before[-1][:8]}"
        self.query_one("#about", Lines).update(Text(shown(about), "dim"))
        self.tell()

    def crumb(self) -> str:
        """Around what."""
        tree = self._tree
        return f"{self.CRUMB} {glyphs.ARROW} {tree.kind} {tree.root[:8]}" if tree and tree.lines else self.CRUMB

    def peel(self) -> bool:
        """Escape: the tree before."""
        if not self._before:
            return False
        self._root = self._before.pop()
        self._chosen = True
        self.refresh_data()
        return True

    # Actions

    def why_not(self, action: str) -> str:
        """Both need a line; what is gone can't be opened."""
        node = self._node()
        if node is None:
            return EMPTY
        if action == "root" and node.id == self._root:
            return "the graph is already centered on it"
        if action == "open" and node.kind == "thing":
            return f"{node.id[:8]} no longer exists"
        return ""

    def command(self, action: str) -> str:
        """`show` says what something was made from and what was made from it."""
        del action
        node = self._node()
        return f"datadream {CLI.get(node.kind, 'job')} show {node.id}" if node is not None else ""

    def on_branches_opened(self) -> None:
        """By mouse."""
        self.action_do("open")

    def do_open(self) -> None:
        """Its own screen."""
        node = self._node()
        assert node is not None
        if node.kind == "synth":
            self.desk.open_gallery(node.id)
        elif node.kind in LISTS:
            self._open_in(LISTS[node.kind], node.id)
        else:
            self.desk.open_job(node.id)

    def do_root(self) -> None:
        """Draw the tree around the line under the cursor."""
        node = self._node()
        assert node is not None
        self._before.append(self._root)
        self._root, self._chosen = node.id, True
        self.refresh_data()

    def _node(self) -> Node | None:
        return self.query_one(Branches).node if self.is_mounted else None

    def _open_in(self, mode: str, thing: str) -> None:
        """The list of its kind, filtered to it; escape there drops the filter."""
        from tui.screens.lists.listing import ListScreen

        screen = self.desk.go(mode, base=True)  # this screen may lie over that very list
        if isinstance(screen, ListScreen):
            screen.where = f"id={thing}"
            if screen.is_mounted:
                screen.refresh_data()
