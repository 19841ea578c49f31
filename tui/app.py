"""`DataDreamApp`: modes, themes, keys, the poller, and what to do when something goes wrong.

It reads the registry and job folders and asks the runner; it never trains and never imports torch. Losing it changes
nothing.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from textual import events
from textual.app import SystemCommand
from textual.binding import Binding, BindingType
from textual.command import CommandPalette
from textual.screen import Screen

from datadream.errors import UserError
from datadream.home.layout import Home, is_default, open_home
from datadream.home.quoting import bash_word
from datadream.text import counted, shown
from tui import private
from tui.actions import ACTIONS, SCREENS, actions, bindings, key_names
from tui.ascii_only import AsciiOnly
from tui.base import HomeScreen
from tui.commands import ActionProvider
from tui.desk import Severity
from tui.drawing import glyphs, themes
from tui.messages import Arrived, Failed
from tui.services.data import Data, load
from tui.services.snapshot import Snapshot
from tui.terminal.graphics import BLOCKS
from tui.terminal.prefs import Prefs
from tui.trouble import Trouble

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tui.services.poller import Poller


T = TypeVar("T")
STYLES = Path(__file__).parent / "styles"
NOTIFY = ("off", "bell", "both")
TOAST_SECONDS = 6.0
TOASTS_MAX = 2  # more would hide what they speak of
LEAVE_SECONDS = 2.0
SWITCH_SECONDS = 0.005
SHEETS_MAX = 512  # we have 100


PLACES = {  # of the screens that have actions of their own
    "dashboard": "dashboard:DashboardScreen",
    "jobs": "lists.jobs:JobsScreen",
    "sets": "lists.sets:SetsScreen",
    "adapters": "lists.adapters:AdaptersScreen",
    "synth": "lists.synth:SynthScreen",
    "runs": "lists.runs:RunsScreen",
    "compare": "compare.screen:CompareScreen",
    "new": "new.screen:NewScreen",
    "lineage": "lineage.screen:LineageScreen",
    "job": "job.screen:JobScreen",
    "gallery": "gallery:GalleryScreen",
    "run": "run.screen:RunScreen",
}


def screen_class(name: str) -> Any:
    """The class of a screen; its module is imported when it is first opened."""
    module, _, found = PLACES[name].partition(":")
    return getattr(import_module(f"tui.screens.{module}"), found)


def _mode(name: str) -> Callable[[], Screen[Any]]:
    """A factory of a mode's screen."""
    return lambda: cast("Screen[Any]", screen_class(name)())


class DataDreamApp(Trouble):
    """The whole experiment in one terminal. `home` is opened when a path (or nothing) is given."""

    TITLE = "DataDream"
    CSS_PATH: ClassVar[Any] = sorted(STYLES.glob("*.tcss"))
    BINDINGS: ClassVar[list[BindingType]] = bindings("app")
    COMMANDS: ClassVar[Any] = {ActionProvider}
    MODES: ClassVar[Any] = {name: _mode(name) for name in SCREENS if name not in ("app", "job", "gallery", "run")}
    DEFAULT_MODE = "dashboard"
    HORIZONTAL_BREAKPOINTS = [(0, "-tiny"), (40, "-narrow"), (100, "-normal"), (150, "-wide")]  # noqa: RUF012 - as App has it
    VERTICAL_BREAKPOINTS = [(0, "-flat"), (10, "-short"), (20, "-tall")]  # noqa: RUF012

    def __init__(self, home: Home | Path | str | None = None) -> None:
        super().__init__()
        opened = home if isinstance(home, Home) else open_home(home)
        self.data = Data(opened)
        self.log_folder = opened.path
        self.prefs = Prefs(opened)
        self.pool = ThreadPoolExecutor(4, "ask", load)
        self.hands = ThreadPoolExecutor(2, "deed", load)  # what these do is done, whatever one leaves
        self.graphics = BLOCKS
        self.snapshot: Snapshot | None = None
        self.frozen = False
        self.log_of_commands: list[tuple[str, str]] = []
        self._undos: list[tuple[str, Callable[[Data], Any]]] = []
        self._poller: Poller | None = None
        self._leaving = False
        self._over: set[str] | None = None
        self._told: set[str] = set()
        self._since = datetime.now(UTC).isoformat(timespec="microseconds")
        self.sub_title = str(opened.path)
        self.animation_level = "none"
        if glyphs.ASCII:
            private.add_filter(self, AsciiOnly())
        private.keep_sheets(self, SHEETS_MAX)

    # Coming and going

    def on_mount(self) -> None:
        """Theme, keys, signals, and the first look."""
        for theme in themes.THEMES:
            self.register_theme(theme)
        chosen = os.environ.get("TEXTUAL_THEME") or self.prefs.get("theme", themes.DEFAULT)
        self.theme = chosen if chosen in self.available_themes else themes.DEFAULT
        if self.theme != chosen:
            self.say(f"unknown theme {chosen!r}; T cycles the built-in ones", "warning")
        if self.prefs.trouble:
            self.say(self.prefs.trouble, "warning")
        self.set_class(glyphs.ASCII, "-ascii")
        known = {action.name for action in ACTIONS}
        keys = self.prefs.get("keys", {})
        self.set_keymap({name: str(key) for name, key in keys.items() if name in known})
        unknown = sorted(set(keys) - known)
        if unknown:
            self.say(f"tui.json: unknown action {unknown[0]!r}; see docs/tui.md", "warning")
        loop = asyncio.get_running_loop()
        for number in (signal.SIGHUP, signal.SIGTERM):
            try:
                loop.add_signal_handler(number, self._hang_up)
            except (NotImplementedError, RuntimeError, ValueError):  # not in the main thread
                break
        self.call_after_refresh(threading.Thread(target=self._poll, name="poller", daemon=True).start)

    def _poll(self) -> None:
        """The poller's thread. What it needs is imported here, when the first screen is drawn already."""
        load()
        from tui.services.poller import Poller

        self._poller = Poller(self.data, self._deliver, self._poll_failed)
        if not self._leaving:
            self._poller.run()

    def on_unmount(self) -> None:
        """Let go of everything; jobs don't notice."""
        self._leaving = True
        if self._poller is not None:
            self._poller.stop()
        self.pool.shutdown(wait=False, cancel_futures=True)
        self.hands.shutdown(wait=False)
        self.data.close()

    def _hang_up(self) -> None:
        """Leave in order; but a terminal that is gone may never take the last bytes, and nothing here needs saving."""
        timer = threading.Timer(LEAVE_SECONDS, os._exit, (0,))
        timer.daemon = True
        timer.start()
        self.exit()

    def on_app_blur(self, _: events.AppBlur) -> None:
        """Nobody looks: gather less often."""
        if self._poller is not None:
            self._poller.blurred = True

    def on_app_focus(self, _: events.AppFocus) -> None:
        """Somebody looks again."""
        if self._poller is not None:
            self._poller.blurred = False
            self._poller.poke()

    # Snapshots

    def _deliver(self, snapshot: Snapshot) -> None:
        self.post_message(Arrived(snapshot))

    def _poll_failed(self, error: Exception) -> None:
        self.post_message(Failed(error))

    def on_arrived(self, message: Arrived) -> None:
        """Apply it to the screen on top."""
        self.snapshot = message.snapshot
        self._notice_ends(message.snapshot)
        screen = self.screen
        if isinstance(screen, HomeScreen) and screen.is_mounted and not self.frozen:
            with self.batch_update():
                screen.receive(message.snapshot)

    def on_failed(self, message: Failed) -> None:
        """Each once: it may come back with every round."""
        text = f"can't read the home: {message.error}"
        if text not in self._told:
            self._told.add(text)
            self.write_log(message.error)
            self.say(text, "error")

    def _notice_ends(self, snapshot: Snapshot) -> None:
        """Say which jobs have ended since the last look."""
        rows = {row.id: row for row in (*snapshot.finished, *snapshot.failures)}
        over, self._over = self._over, set(rows)
        if over is None:
            return
        for job_id in set(rows) - over:
            row = rows[job_id]
            if row.ended < self._since:  # old, and only just read: the registry was made anew
                continue
            self.say(f"{row.state}: {row.title or row.stage}", "error" if row.state == "failed" else "information")
            mode = self.prefs.get("notify", "off")
            if mode != "off":
                from tui.terminal import notify

                notify.send(self, mode, "DataDream", f"{row.state}: {row.title or row.stage}")

    def poke(self) -> None:
        """Look at once."""
        if self._poller is not None:
            self._poller.poke()

    # Given to screens (`tui.desk.Desk`)

    def say(self, text: str, severity: Severity = "information") -> None:
        """A toast of one line."""
        line = shown(" ".join(text.split()))
        private.make_room_for(self, line, TOASTS_MAX)
        self.notify(line, severity=severity, timeout=TOAST_SECONDS, markup=False)

    def did(self, text: str, undo: Callable[[Data], Any] | None = None, command: str = "") -> None:
        """Something was done: say it, log its command, keep its undoing."""
        if command:
            self.log_of_commands.append((text, command))
        if undo is not None:
            self._undos.append((text, undo))
        if text:
            self.say(f"{text}; u undoes it" if undo is not None else text)
        while self.data.warnings:
            self.say(self.data.warnings.pop(0), "warning")

    def delay_update(self, delay: float = SWITCH_SECONDS) -> None:
        """Textual holds the screen for 50 ms when modes change, which one feels."""
        super().delay_update(delay)

    def deed(
        self, deed: Callable[[Data], T], done: Callable[[T], None], failed: Callable[[], None] = lambda: None
    ) -> None:
        """Do something in a thread, then `done` or `failed`. It is the app's: leaving a screen takes nothing back."""

        async def doing() -> None:
            try:
                found = await asyncio.get_running_loop().run_in_executor(self.hands, deed, self.data)
            except UserError as error:
                failed()
                self.say(str(error), "error")
            except Exception as error:  # noqa: BLE001 - becomes a panel with a way back
                failed()
                self.trouble(error)
            else:
                done(found)

        self.run_worker(cast(Any, doing), group=f"deed-{time.monotonic_ns()}", exit_on_error=False)

    def go(self, mode: str, base: bool = False) -> Screen[Any]:
        """Show a mode's screen, and give it; with `base` the list itself, not what lay over it."""
        if self.current_mode != mode:
            self.switch_mode(mode)
        while base and len(self.screen_stack) > 1 and isinstance(self.screen, HomeScreen):
            self.pop_screen()
        return self.screen

    def open_job(self, job_id: str) -> None:
        """The job's own screen, over this one."""
        from tui.screens.job.screen import JobScreen

        self.push_screen(JobScreen(job_id))

    def open_lineage(self, artifact_id: str) -> None:
        """The graph around an artifact, over this screen."""
        from tui.screens.lineage.screen import LineageScreen

        self.push_screen(LineageScreen(artifact_id))

    def open_gallery(self, synth_id: str) -> None:
        """The images of a synthetic set, over this screen."""
        from tui.screens.gallery import GalleryScreen

        self.push_screen(GalleryScreen(synth_id))

    def compare_runs(self, ids: Sequence[str]) -> None:
        """Two runs side by side."""
        from tui.screens.compare.screen import CompareScreen

        screen = self.go("compare", base=True)
        if isinstance(screen, CompareScreen):
            screen.two(list(ids))

    # The actions that work everywhere

    def action_do(self, action: str) -> None:
        """Run an app action of the table."""
        getattr(self, f"do_{action}", lambda: self.go(action, base=self.current_mode == action))()

    def do_back(self) -> None:
        """Peel one layer."""
        screen = self.screen
        peel = getattr(screen, "peel", None)  # a screen may have layers of its own: a filter, a zoom
        if callable(peel) and peel():
            return
        if len(self.screen_stack) > 1:
            self.pop_screen()
        elif self.current_mode != "dashboard":
            self.go("dashboard")
        else:
            self.say("nothing to close; q quits, jobs keep running")

    def do_palette(self) -> None:
        """Every action by name."""
        if not any(isinstance(screen, CommandPalette) for screen in self.screen_stack):
            self.action_command_palette()

    def do_help(self) -> None:
        """The keys of this screen."""
        from tui.help import help_text
        from tui.screens.shared.modals import Panel

        key = self.screen.KEY if isinstance(self.screen, HomeScreen) else "app"
        self.push_screen(Panel(f"Keys: {SCREENS[key]}", help_text(key, self.prefs.get("keys", {}))))

    def do_commands(self) -> None:
        """The command line's form of everything here."""
        from tui.screens.shared.modals import Commands

        screen = self.screen
        lines: list[tuple[str, str]] = []
        if isinstance(screen, HomeScreen):
            for action in actions(screen.KEY):
                line = screen.command(action.id)
                if line:
                    lines.append((action.label, line))
        lines += [(f"done: {text}", line) for text, line in reversed(self.log_of_commands)]
        if not is_default(self.data.home):
            lines.insert(0, ("first", f"export DATADREAM_HOME={bash_word(str(self.data.home.path))}"))
        self.push_screen(Commands(lines or [("compare", "datadream compare")], self.copy))

    def copy(self, text: str) -> None:
        """To the clipboard where that can be; always into a file."""
        from tui.terminal import clipboard

        if isinstance(self.screen_stack[0], HomeScreen):
            self.screen_stack[0].ask("copy", lambda data: clipboard.copy(self, data.home.path, text), self.say)

    def do_undo(self) -> None:
        """Undo the last thing."""
        if not self._undos:
            self.say("nothing to undo", "warning")
            return
        text, undo = self._undos.pop()

        def done(_: object) -> None:
            self.did(f"undone: {text}")
            self.poke()

        self.deed(undo, done, lambda: self._undos.append((text, undo)))

    def do_freeze(self) -> None:
        """Draw no more, or again."""
        self.frozen = not self.frozen
        if isinstance(self.screen, HomeScreen):
            self.screen.tell()
            if not self.frozen and self.snapshot is not None:
                self.screen.receive(self.snapshot)

    def do_theme(self) -> None:
        """The next of our themes."""
        names = [theme.name for theme in themes.THEMES]
        self.theme = names[(names.index(self.theme) + 1) % len(names)] if self.theme in names else names[0]
        self.prefs.set("theme", self.theme)
        self.say(f"theme: {self.theme}")

    def do_notify(self) -> None:
        """Off, bell, both."""
        now = self.prefs.get("notify", "off")
        mode = NOTIFY[(NOTIFY.index(now) + 1) % len(NOTIFY)] if now in NOTIFY else "off"
        self.prefs.set("notify", mode)
        words = {"off": "silent", "bell": "a bell", "both": "a bell and a desktop notification"}
        self.say(f"when a job ends: {words[mode]}")

    def do_runner(self) -> None:
        """Start the runner."""
        from datadream.jobs import spawn

        if self.snapshot is not None and self.snapshot.led:
            self.say("the runner is running", "warning")
            return

        def done(_: object) -> None:
            self.did("runner started", command="datadream job watch")
            self.poke()

        self.deed(lambda data: spawn.ensure_runner(data.home), done)

    def action_help_quit(self) -> None:
        """Ctrl-C, which ends other programs."""
        self.say("q quits, jobs keep running", "warning")

    def do_quit(self) -> None:
        """Leave."""
        live = self.snapshot.open_jobs if self.snapshot is not None else 0
        running = f"{counted(live, 'job')} {'keeps' if live == 1 else 'keep'} running"
        self.exit(message=f"{running}; datadream-tui or `datadream job watch` shows them again" if live else None)

    def get_key_display(self, binding: Binding) -> str:
        """Keys in the footer as in help and docs: letters and signs, no symbols that a font may lack."""
        return key_names(binding.key)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """None of Textual's own: the palette shows the table's."""
        return ()
