"""A new experiment: methods x sets x shots x seeds, with what it would take told while it is typed."""

from __future__ import annotations

from typing import ClassVar

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.timer import Timer
from textual.widgets import Input, Label, Select, Static

from datadream.text import shown, size
from tui.actions import bindings
from tui.base import HomeScreen
from tui.screens.job.actions import unqueue
from tui.screens.new import form as new_form
from tui.screens.new.form import Choices, Form, Outlook
from tui.widgets.ticks import Ticks
from tui.widgets.visible import Visible

DEBOUNCE_SECONDS = 0.3
MIXES = (
    ("synth", "synthetic images alone"),
    ("real+synth", "the shots and synthetic images together"),
)
MORE = (
    (new_form.UNMARKED, "exclude images marked as bad"),
    (new_form.ANEW, "recompute everything; existing results are kept"),
)
FIELDS = (
    # name, label, what stands there while it is empty
    ("source", "source", "digits, or a folder of images"),
    ("shots", "shots", "16; several: 1,4,16"),
    ("seeds", "seeds", "1; several: 1,5,10"),
    ("diffusion", "diffusion", "default: the backbone's; a folder or ORG/NAME@REV"),
    ("clip", "CLIP", "default: the backbone's; a folder or NAME:WEIGHTS"),
    ("images", "images/class", "default: the method's; number of synthetic images"),
    ("overrides", "overrides", "section.key=value, e.g. generate.guidance_scale=3 classify.steps=80"),
    ("experiment", "experiment", "optional name for the group of runs"),
    ("priority", "priority", "0; higher runs first"),
)


class NewScreen(HomeScreen):
    """The form on the left, the plan on the right; the plan below where the screen is narrow."""

    KEY = "new"
    CRUMB = "New experiment"
    BINDINGS: ClassVar[list[BindingType]] = bindings(KEY)
    AUTO_FOCUS = "#recipes"

    def __init__(self) -> None:
        super().__init__()
        self._outlook: Outlook | None = None
        self._timer: Timer | None = None
        self._looking = False
        self._starting = False

    def body(self) -> ComposeResult:
        """Fields, each with its name; what they come to."""
        with Horizontal(id="new"):
            with VerticalScroll(id="form", can_focus=False):
                yield Label("methods (space selects)")
                yield Ticks(id="recipes", empty="reading...")
                yield _field("files", "own recipes", "paths of .toml files", "")
                yield Label("few-shot sets: select some here, or give a source below")
                yield Ticks(id="sets", empty="none yet; a source draws them")
                for name, label, hint in FIELDS[:3]:
                    yield _field(name, label, hint, "")
                yield Label("data, for methods with synthetic images; none selected: all")
                yield Ticks(MIXES, id="data")
                with Horizontal(classes="field"):
                    yield Label("backbone")
                    yield Select([(Form().backbone, Form().backbone)], value=Form().backbone, allow_blank=False,
                                 compact=True, id="backbone")  # fmt: skip
                for name, label, hint in FIELDS[3:]:
                    yield _field(name, label, hint, "")
                yield Label("options")
                yield Ticks(MORE, id="more")
            with Vertical(id="plan", classes="pane"):
                yield Static(id="told", markup=False)

    def on_mount(self) -> None:
        """What ships with the package never changes: asked for once."""
        self.query_one("#plan").border_title = "Plan"
        self.ask("choices", new_form.choices, self._offer)
        self._draw()

    def refresh_data(self) -> None:
        """The sets, and what now serves again."""
        self.ask("sets", new_form.sets, self.query_one("#sets", Ticks).fill)
        if self._outlook is not None:
            self._later()

    def _offer(self, found: Choices) -> None:
        self.query_one("#recipes", Ticks).fill(found.recipes)
        select = self.query_one("#backbone", Select)
        chosen = select.value
        select.set_options((Text(f"{name}  {about}"), name) for name, about in found.backbones)
        select.value = chosen
        self._later()

    # The form

    def form(self) -> Form:
        """The fields as they stand."""
        values = {name: self.query_one(f"#{name}", Input).value for name in ("files", *(field[0] for field in FIELDS))}
        ticked = {name: self.query_one(f"#{name}", Ticks).ticked for name in ("recipes", "sets", "data", "more")}
        return Form(**values, **ticked, backbone=str(self.query_one("#backbone", Select).value))  # type: ignore[arg-type]

    def peel(self) -> bool:
        """Escape leaves the field first, so that letters are keys again."""
        if isinstance(self.focused, Input):
            self.set_focus(None)
            return True
        return False

    def on_input_changed(self, _: Input.Changed) -> None:
        """Typed."""
        self._later()

    def on_input_submitted(self, _: Input.Submitted) -> None:
        """Enter goes on to the next field."""
        self.focus_next()

    def on_ticks_changed(self, _: Ticks.Changed) -> None:
        """Ticked."""
        self._later()

    def on_select_changed(self, _: Select.Changed) -> None:
        """Chosen."""
        self._later()

    # The plan

    def _later(self) -> None:
        """Look when nothing more is typed for a moment."""
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(DEBOUNCE_SECONDS, self._look)

    def _look(self) -> None:
        if self._looking:  # one at a time: a slow folder mustn't fill the pool
            return
        self._looking = True
        form = self.form()
        self.ask("look", lambda data: new_form.look(data, form), self._looked)

    def _looked(self, outlook: Outlook) -> None:
        self._looking = False
        if outlook != self._outlook:
            self._outlook = outlook
            self._draw()
        if outlook.failure is not None:
            self.desk.trouble(outlook.failure)
        elif outlook.form != self.form():
            self._later()

    def _draw(self) -> None:
        self.query_one("#told", Static).update(told(self._outlook))

    # Actions

    def why_not(self, action: str) -> str:
        """What is wrong with the form, as far as it has been looked at."""
        if self._outlook is None:
            return "the plan is still loading"
        if action == "copy":
            return "" if self._outlook.command else self._outlook.wrong
        if self._starting:
            return "already being queued"
        return self._outlook.wrong if self._outlook.form == self.form() else ""

    def command(self, action: str) -> str:
        """The equal command line; starting doesn't wait for the jobs."""
        line = self._outlook.command if self._outlook else ""
        if not line or action == "copy":
            return line
        detached = line.replace("datadream run", "datadream run --detach", 1)
        return f"datadream queue pause; {detached}" if action == "queue" else detached

    def do_start(self) -> None:
        """Queue the jobs and start the runner."""
        self._start(paused=False)

    def do_queue(self) -> None:
        """Pause the whole queue, then queue the jobs: nothing new starts until the queue goes on (P, dashboard)."""
        self._start(paused=True)

    def do_copy(self) -> None:
        """The command, to the clipboard."""
        self.desk.copy(self.command("copy"))

    def _start(self, paused: bool) -> None:
        form, line = self.form(), self.command("queue" if paused else "start")
        self._starting = True

        def done(found: new_form.Started | str | Exception) -> None:
            self._starting = False
            if isinstance(found, Exception):
                self.desk.trouble(found)
                return
            if isinstance(found, str):
                self.desk.say(found, "error")
                return
            jobs = queued = list(found.jobs)
            for told_line in found.told:
                self.desk.say(told_line, "warning")
            undo = (lambda data: unqueue(data.home, queued)) if queued else None
            count = f"{len(jobs)} job{'' if len(jobs) == 1 else 's'} queued"
            text = count + (", the queue is paused: P on the dashboard resumes it" if paused else "")
            self.desk.did(text if jobs else "nothing to do: all results already exist; 7 compares", undo, line)
            self.desk.poke()
            if self.is_current:  # who has gone elsewhere meanwhile stays there
                self.desk.go("dashboard")

        self.ask(f"start-{id(form)}", lambda data: new_form.started(data, form, paused), done)


def _field(name: str, label: str, hint: str, value: str) -> Horizontal:
    return Horizontal(
        Label(label), Input(value, placeholder=hint, compact=True, id=name, highlighter=Visible()), classes="field"
    )


def told(outlook: Outlook | None) -> RenderableType:
    """The plan in a few lines."""
    if outlook is None:
        return Text("reading this home...", "dim")
    lines: list[RenderableType] = []
    if outlook.wrong:
        lines.append(Text(f"! {shown(outlook.wrong)}", "bold yellow"))
    else:
        table = Table.grid(padding=(0, 1))
        table.add_column(no_wrap=True, style="dim")
        table.add_column()
        stages = f" ({outlook.stages})" if outlook.stages else ""
        table.add_row("runs", f"{outlook.runs} on {outlook.sets} set{'' if outlook.sets == 1 else 's'}")
        table.add_row("jobs", Text.assemble((str(outlook.jobs), "bold"), f" to run{stages}"))
        table.add_row("reused", f"{outlook.reused} finished artifacts")
        for label, text in outlook.models:
            table.add_row(label, shown(text))
        table.add_row("time", outlook.time)
        table.add_row("disk", f"{outlook.disk}; {size(outlook.free)} free")
        lines.append(table)
    if outlook.command:
        lines += [Text(shown(outlook.command), "bold", overflow="fold")]
    lines += [Text(f"! {shown(line)}", "yellow") for line in outlook.told]  # may be many, and the box is low
    lines.append(
        Text("g starts it, Q queues it with the queue paused, y copies the command; escape leaves a field", "dim")
    )
    return Group(*lines)
