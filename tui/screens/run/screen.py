"""One run with everything: its number, accuracy by class, confusion map, settings; and the way to its jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from rich.console import RenderableType
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static

from datadream.errors import UserError
from tui.actions import bindings
from tui.screens.lists.labels import Labelling
from tui.screens.run.parts import RunFacts, by_class, crumb, everything, read_run

if TYPE_CHECKING:
    from tui.services.data import Data

STAGE_OF = {"curves": "classify", "generate": "generate", "adapt": "adapt"}


class Reading(VerticalScroll, can_focus=True):
    """Text to scroll with the arrows or j and k."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "scroll_down", show=False),
        Binding("k", "scroll_up", show=False),
        Binding("g", "scroll_home", show=False),
        Binding("G", "scroll_end", show=False),
    ]


class RunScreen(Labelling):
    """Over the list it was opened from; with `only_classes` it begins with the classes alone."""

    KEY: ClassVar[str] = "run"
    NOUN: ClassVar[str] = "run"
    AUTO_FOCUS = "#reading"
    BINDINGS: ClassVar[list[BindingType]] = bindings("run")

    def __init__(self, run_id: str, only_classes: bool = False) -> None:
        super().__init__()
        self.run_id, self._only = run_id, only_classes
        self._run: RunFacts | None = None

    def crumb(self) -> str:
        """Which run."""
        return crumb(self.run_id)

    def ids(self) -> list[str]:
        """This one."""
        return [self.run_id]

    def body(self) -> ComposeResult:
        """One long text."""
        with Reading(id="reading"):
            yield Static(id="run-text", markup=False)

    def refresh_data(self) -> None:
        """Read the run anew."""
        run_id, width, only = self.run_id, self.size.width - 4, self._only

        def question(data: Data) -> tuple[RunFacts, RenderableType]:
            from store import queries

            rows = queries.rows_of(data.registry(), "run", [run_id])
            if not rows:
                raise UserError(f"run {run_id[:8]} no longer exists", hint="escape goes back to the list")
            run = read_run(data, rows[0])
            return run, by_class(run, width) if only else everything(run, width)

        def answer(found: tuple[RunFacts, RenderableType]) -> None:
            self._run = found[0]
            self.query_one("#run-text", Static).update(found[1])

        self.ask("run", question, answer)

    def on_resize(self) -> None:
        """Other room, other layout."""
        if self.is_mounted:
            self.refresh_data()

    def why_not(self, action: str) -> str:
        """What needs a job or artifact that this run has not."""
        stage = STAGE_OF.get(action)
        if stage is not None and (self._run is None or not self._run.job(stage)):
            return f"this run has no {stage} job"
        if action == "lineage" and self._run is None:
            return "this run is still loading, or no longer exists"
        return super().why_not(action)

    def command(self, action: str) -> str:
        """`datadream runs show`, `job show`, and labels."""
        stage = STAGE_OF.get(action)
        if stage is not None:
            return f"datadream job show {self._run.job(stage)}" if self._run and self._run.job(stage) else ""
        if action == "lineage":
            return f"datadream classifier show {self._run.row['classifier']}" if self._run else ""
        if action == "confusion":
            return f"datadream runs show {self.run_id}"
        return self.label_command(action) or super().command(action)

    def do_curves(self) -> None:
        """The classify job: its curves and its log."""
        self._open("classify")

    def do_generate(self) -> None:
        """The job that drew its images."""
        self._open("generate")

    def do_adapt(self) -> None:
        """The job that learnt from its shots."""
        self._open("adapt")

    def do_confusion(self) -> None:
        """Only the classes, or everything."""
        self._only = not self._only
        self.query_one("#reading").scroll_home(animate=False)
        self.refresh_data()

    def do_lineage(self) -> None:
        """From its shots to its number."""
        if self._run is not None:
            self.desk.open_lineage(str(self._run.row["classifier"]))

    def _open(self, stage: str) -> None:
        if self._run is not None:
            self.desk.open_job(self._run.job(stage))
