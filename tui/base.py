"""What all screens share: bar, footer, questions asked in the pool, actions that say why not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar, cast

from rich.style import Style
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container
from textual.message import Message
from textual.screen import Screen
from textual.widgets import Static

from datadream.errors import UserError
from datadream.home.layout import Home
from datadream.text import counted, shown
from tui import private
from tui.actions import actions, key_names
from tui.desk import Desk, desk_of
from tui.drawing import glyphs
from tui.services.data import Data
from tui.services.snapshot import Snapshot
from tui.widgets.key_line import KeyLine
from tui.widgets.lines import Lines

T = TypeVar("T")
Still = Callable[[Data], list[str]]
TYPED = ("filter", "find")  # actions after which one types
MODES = 9  # the first actions of the app, on the digits
REFRESH_SECONDS = 2.0  # a live job writes to the registry often; lists follow at this pace


class TopBar(Lines):
    """Where one can go, where one is, what runs; a line more for trouble. Redrawn only when that changes."""

    def __init__(self) -> None:
        super().__init__(id="top-bar")
        self._said: tuple[object, ...] = ()

    def tell(self, mode: str, crumb: str, snapshot: Snapshot | None, frozen: bool) -> None:
        """Say it."""
        trouble = ""
        if snapshot is not None and snapshot.trouble:
            trouble = f"! {shown(snapshot.trouble)}"
        elif snapshot is not None and snapshot.needs_runner:
            trouble = "! no runner for the waiting jobs: U starts one"
        status = ""
        if snapshot is not None:
            running = len(snapshot.running)
            parts = [f"{running} running", f"{snapshot.open_jobs - running} waiting"]
            parts += ["queue paused"] * snapshot.paused + ["frozen, z resumes"] * frozen
            status = f" {glyphs.DOT} ".join(parts)
        if not trouble and snapshot is not None and snapshot.problems:
            trouble = (
                f"! {counted(snapshot.problems, 'file')} of this home can't be read: see `datadream registry check`"
            )
        if (mode, crumb, status, trouble) != self._said:
            self._said = (mode, crumb, status, trouble)
            text = Text.assemble(
                tabs(mode),
                f"\nDataDream {glyphs.ARROW} {shown(crumb)}",
                (f"   {status}", "dim"),
                no_wrap=True,
                overflow="ellipsis",
            )
            if trouble:
                text.append(f"\n{trouble}", "bold red" if snapshot and snapshot.trouble else "bold yellow")
            self.styles.height = 3 if trouble else 2
            self.update(text)


def tabs(mode: str) -> Text:
    """The screens and their digits, the present one marked; 77 cells. A click goes there."""
    text = Text()
    for action in actions("app")[:MODES]:
        style = Style(bold=True, reverse=True) if action.id == mode else Style()
        text.append(" " if text else "")
        text.append(
            f"{key_names(action.keys)[0]} {action.label}", style + Style.from_meta({"@click": f"app.do('{action.id}')"})
        )
    return text


class HomeScreen(Screen[None]):
    """Subclasses give `body`, `do_<action>` for each of their actions, and what to show of a snapshot."""

    KEY: ClassVar[str] = ""
    CRUMB: ClassVar[str] = ""
    BINDINGS: ClassVar[list[BindingType]] = []
    AUTO_FOCUS = "#body *"

    def __init__(self) -> None:
        super().__init__()
        private.take_styles(self)
        self._version: int | None = None
        self._refreshed_at = 0.0
        self._refresh_due = False

    # For subclasses

    def body(self) -> ComposeResult:
        """What is between bar and footer."""
        yield from ()

    def show(self, snapshot: Snapshot) -> None:
        """A new snapshot, while this screen is on top. Must be quick."""

    def refresh_data(self) -> None:
        """Ask anew for what the registry holds; called first when mounted, then when the registry has changed."""

    def why_not(self, action: str) -> str:
        """Why the action can't be done now, in a sentence; "" when it can."""
        del action
        return ""

    def command(self, action: str) -> str:
        """The command line's form of the action on the present selection; "" when it has none."""
        del action
        return ""

    def meant(self, action: str) -> int:
        """How many marked rows the action would be done to; the line of keys says it. 0 where there are no marks."""
        del action
        return 0

    def hidden(self) -> int:
        """How many marked rows a filter hides: nothing is done to them."""
        return 0

    def still_there(self, ids: Sequence[str]) -> Still:
        """Asked in the pool when it comes to doing it: those of `ids` that are still there to have it done."""
        return lambda data: list(ids)

    def crumb(self) -> str:
        """Where we are."""
        return self.CRUMB

    # Given

    @property
    def desk(self) -> Desk:
        """What it may ask of the app."""
        return desk_of(self.app)

    @property
    def home(self) -> Home:
        """Whose folders these are."""
        return self.desk.data.home

    def ask(
        self,
        group: str,
        question: Callable[[Data], T],
        answer: Callable[[T], None],
        *,
        on_top: bool = False,
        failed: Callable[[str], None] | None = None,
    ) -> None:
        """`question` in a pool thread, then `answer` here; a newer ask of the same group drops the older's answer.

        An answer that opens a screen is wanted `on_top` only: who has gone elsewhere meanwhile types there. What is
        wrong is a toast, or told to `failed`.
        """

        async def asking() -> None:
            await self._asking(question, answer, on_top, failed or (lambda text: self.desk.say(text, "error")))

        self.run_worker(cast(Any, asking), group=group, exclusive=True, exit_on_error=False)

    async def _asking(
        self,
        question: Callable[[Data], T],
        answer: Callable[[T], None],
        on_top: bool,
        failed: Callable[[str], None],
    ) -> None:
        try:
            found = await asyncio.get_running_loop().run_in_executor(self.desk.pool, question, self.desk.data)
            if self.is_attached and (self.is_current or not on_top):
                answer(found)
        except UserError as error:
            failed(str(error))
        except Exception as error:  # noqa: BLE001 - becomes a panel with a way back
            if isinstance(error, OSError) and not self.home.path.is_dir():
                self.desk.say("the home no longer exists", "error")
            else:
                self.desk.trouble(error)

    def act(
        self,
        text: str,
        deed: Callable[[Data], T],
        then: Callable[[T], None] | None = None,
        undo: Callable[[Data], Any] | None = None,
        command: str = "",
    ) -> None:
        """Do `deed` in the pool, say `text`, log `command`, keep `undo` for the key u; then look at everything anew."""

        def done(found: T) -> None:
            self.desk.did(text, undo, command)
            if then is not None and self.is_attached:
                then(found)
            self.desk.poke()

        self.desk.deed(deed, done)

    # Mechanics

    def compose(self) -> ComposeResult:
        """Bar, body, footer; and a sentence that takes their place where there is no room."""
        yield TopBar()
        with Container(id="body"):
            yield from self.body()
        yield Static("terminal too small: 40 columns and 10 lines are needed", id="too-small", markup=False)
        yield KeyLine()

    def on_mount(self) -> None:
        """The first look."""
        self.tell()
        self._refresh()
        if self.desk.snapshot is not None:
            self.show(self.desk.snapshot)

    def on_screen_resume(self) -> None:
        """On top again: what was missed meanwhile."""
        snapshot = self.desk.snapshot
        if snapshot is not None and self.is_mounted:
            self.receive(snapshot)

    def receive(self, snapshot: Snapshot) -> None:
        """From the app: show it, and read anew what the registry holds when that has changed."""
        self.tell()
        self.show(snapshot)
        if snapshot.version != self._version:
            wait = self._refreshed_at + REFRESH_SECONDS - time.monotonic()
            if wait <= 0:
                self._refresh()
            elif not self._refresh_due:
                self._refresh_due = True
                self.set_timer(wait, self._refresh)

    def _refresh(self) -> None:
        self._refresh_due = False
        self._refreshed_at = time.monotonic()
        self._version = self.desk.snapshot.version if self.desk.snapshot else None
        self.refresh_data()

    def tell(self) -> None:
        """Bring the bar up to date."""
        for bar in self.query(TopBar):
            bar.tell(self.desk.current_mode, self.crumb(), self.desk.snapshot, self.desk.frozen)

    def action_do(self, action: str) -> None:
        """Run an action of the table, or say why it can't be."""
        reason = self.why_not(action)
        if not reason:
            getattr(self, f"do_{action}")()
        elif action in TYPED:
            self._swallow(reason)
        else:
            self.desk.say(reason, "warning")

    def action_no_filter(self) -> None:
        """Slash, where there is nothing to filter: what is typed after it must not become keys."""
        self._swallow("nothing to filter or search on this screen")

    def _swallow(self, reason: str) -> None:
        from tui.screens.shared.modals import AskText

        self.desk.push_screen(AskText(reason, hint="no text input here; enter or escape goes back"))

    async def _dispatch_message(self, message: Message) -> None:
        """Whatever goes wrong in a handler becomes a panel; the screen lives on."""
        try:
            await super()._dispatch_message(message)
        except Exception as error:  # noqa: BLE001
            self.desk.trouble(error)
