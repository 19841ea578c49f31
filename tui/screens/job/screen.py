"""One job: where it is, why it failed, its curves, log and events, what was asked, what it came from and made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical, VerticalScroll
from textual.timer import Timer
from textual.widgets import ContentSwitcher, OptionList, Static
from textual.widgets.option_list import Option

from datadream.errors import UserError
from datadream.home.events import line_in_words
from datadream.home.jobfiles import JobFiles
from datadream.text import shown
from tui.actions import bindings
from tui.base import HomeScreen
from tui.screens.job import texts as job_texts
from tui.screens.job.actions import DEEDS, JobDeeds
from tui.screens.shared.modals import AskText, Choose
from tui.services.data import Data
from tui.services.job_facts import JobFacts, JobReader, Link
from tui.services.log_text import LEVEL_WORDS, check_pattern
from tui.services.snapshot import LiveJob, Snapshot
from tui.widgets.chart import ZOOM_MAX, Chart
from tui.widgets.lines import Lines
from tui.widgets.log_view import LogView
from tui.widgets.pane_bar import PaneBar

PANES = (
    ("metrics", "metrics"),
    ("log", "log"),
    ("events", "events"),
    ("spec", "spec"),
    ("links", "inputs and outputs"),
)
LOOK_SECONDS = 1.0
CHART_ACTIONS = ("metric", "log_scale", "smooth", "zoom", "zoom_out")
SHOW = {"set": "set", "adapter": "adapter", "synthetic": "synth", "classifier": "classifier"}


class JobScreen(JobDeeds, HomeScreen):
    """The screen of one job. Everything is read from its folder in the pool; what isn't on show isn't read."""

    KEY = "job"
    CRUMB = "Job"
    BINDINGS: ClassVar[list[BindingType]] = bindings(KEY)
    AUTO_FOCUS = ""

    def __init__(self, job_id: str) -> None:
        super().__init__()
        self.job_id = job_id
        self.facts: JobFacts | None = None
        self._files = JobReader(job_id)
        self._live: LiveJob | None = None
        self._metrics: list[str] | None = None  # chosen by the user
        self._looking: Timer | None = None

    def body(self) -> ComposeResult:
        """Head, why it failed, and one of five panes."""
        folder = self.home.job(self.job_id)
        yield Lines(id="job-head")
        yield Static(id="job-why", markup=False)
        yield PaneBar(PANES, id="job-panes")
        with ContentSwitcher(initial="metrics", id="job-switch"):
            with Vertical(id="metrics"):
                yield Chart(id="chart")
                yield Static(id="chart-note", classes="job-note", markup=False)
            with Vertical(id="log"):
                yield LogView(JobFiles(folder).log, id="log-view")
                yield Lines(id="log-view-note", classes="job-note")
            with Vertical(id="events"):
                yield LogView(JobFiles(folder).events, words=line_in_words, id="events-view")
                yield Lines(id="events-view-note", classes="job-note")
            with VerticalScroll(id="spec"):
                yield Static(id="spec-text", markup=False)
            with Vertical(id="links"):
                yield OptionList(id="link-list")
                yield Static("enter opens it", classes="job-note", markup=False)

    def on_mount(self) -> None:
        """Look at the folder from now on, also when nothing else in the home changes."""
        self._looking = self.set_interval(LOOK_SECONDS, self._look)

    def crumb(self) -> str:
        """The job's id: the bar has room for it."""
        return f"Job {self.job_id[:8]}"

    # Data

    def refresh_data(self) -> None:
        """The folder first; then, as it may take longer, who uses what the job made."""
        self.ask("job", self._files.gather, self._apply)
        self.ask("links", self._files.look_up, self._apply)

    def show(self, snapshot: Snapshot) -> None:
        """Speed and time left, as the poller counts them."""
        live = next((job for job in snapshot.jobs if job.id == self.job_id), None)
        if live != self._live:
            self._live = live
            self._tell_head()
            self._look()
        for view in self.query(LogView):
            if view.is_on_screen:
                view.apply()  # what came while drawing was frozen

    def _look(self) -> None:
        if self.is_current and not self.desk.frozen:
            self.ask("job", self._files.gather, self._apply)

    def _apply(self, facts: JobFacts) -> None:
        old, self.facts = self.facts, facts
        if old is facts:
            return
        with self.app.batch_update():
            self._tell_head()
            self._draw_curves()
            if old is None or old.written != facts.written:
                self.query_one("#spec-text", Static).update(job_texts.spec(facts))
            if old is None or old.links != facts.links:
                self._list_links(facts.links)

    def _tell_head(self) -> None:
        if self.facts is not None:
            self.query_one("#job-head", Lines).update(job_texts.head(self.facts, self._live))
            why = job_texts.why(self.facts, with_log=self.pane != "log")
            box = self.query_one("#job-why", Static)
            box.display = bool(why)
            box.update(why)

    def _draw_curves(self) -> None:
        facts = self.facts
        if facts is None:
            return
        names = self.chosen_metrics()
        self.query_one(Chart).show([curve for curve in facts.curves if curve.name in names])
        self.query_one("#chart-note", Static).update(job_texts.chart_note(facts, names, self.query_one(Chart).note))

    def chosen_metrics(self) -> list[str]:
        """The curves that are drawn: the user's choice, else the loss, else the first there is."""
        known = [curve.name for curve in self.facts.curves] if self.facts else []
        if self._metrics is not None:
            return [name for name in known if name in self._metrics]
        return [name for name in known if name.startswith("loss")] or known[:1]

    def _list_links(self, links: Sequence[Link]) -> None:
        options = self.query_one("#link-list", OptionList)
        at = options.highlighted
        options.clear_options()
        options.add_options([Option(job_texts.link(link), id=f"{i}") for i, link in enumerate(links)])
        options.highlighted = min(at or 0, len(links) - 1) if links else None

    # Panes

    @property
    def pane(self) -> str:
        """The one on show."""
        return str(self.query_one(ContentSwitcher).current)

    def open_pane(self, name: str) -> None:
        """Show another, and give its keys to what is in it."""
        self.query_one(ContentSwitcher).current = name
        self.query_one(PaneBar).choose(name)
        self._tell_head()
        focus = {"log": "#log-view", "events": "#events-view", "spec": "#spec", "links": "#link-list"}
        self.set_focus(self.query_one(focus[name]) if name in focus else None)

    def on_pane_bar_chosen(self, event: PaneBar.Chosen) -> None:
        """By mouse."""
        self.open_pane(event.name)

    def on_log_view_noted(self, event: LogView.Noted) -> None:
        """What a log is doing, under it."""
        self.query_one(f"#{event.view.id}-note", Lines).update(Text(shown(event.view.note)))

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Enter or a click on a link."""
        if self.facts is not None:
            self._open_link(self.facts.links[event.option_index])

    def peel(self) -> bool:
        """Escape ends a search before it leaves the screen."""
        view = self._log_on_show()
        if view is not None and view.pattern:
            view.find("")
            return True
        return False

    def _log_on_show(self) -> LogView | None:
        return self.query_one(f"#{self.pane}-view", LogView) if self.pane in ("log", "events") else None

    def _with_log(self) -> LogView:
        """The log on show; the log's pane when none is."""
        if self._log_on_show() is None:
            self.open_pane("log")
        return self.query_one(f"#{self.pane}-view", LogView)

    # Deeds

    def job_rows(self) -> Sequence[Any]:
        """This job, when it is there."""
        if self.facts is None or self.facts.status is None or self.facts.gone:
            return []
        return [self._live or self.facts.status]

    def why_not(self, action: str) -> str:
        """Why the action can't be done now."""
        facts = self.facts
        if facts is None and action not in ("tab", "find", "follow", "level"):
            return "the job's folder is still loading"
        if action in DEEDS and facts is not None and facts.gone:
            return facts.gone
        if action in CHART_ACTIONS and facts is not None and not facts.curves:
            return "no metrics yet"
        if action == "zoom" and self.query_one(Chart).look.zoom >= ZOOM_MAX:
            return "already at the smallest range"
        if action == "zoom_out" and self.query_one(Chart).look.zoom == 0:
            return "already at the full range"
        view = self._log_on_show() if action in ("find_next", "find_previous") else None
        if action in ("find_next", "find_previous") and (view is None or not view.pattern):
            return "no search; / in the log starts one"
        if action == "input" and not self._links("from"):
            return "no inputs"
        if action == "output" and not any(link.there for link in self._links("makes")):
            return "no output yet" if self._links("makes") else "output unknown"
        return super().why_not(action)

    def command(self, action: str) -> str:
        """The command line's form."""
        if action in ("find", "level"):
            return f"datadream job log {self.job_id}"
        if action == "follow":
            return f"datadream job log {self.job_id} --follow"
        if action == "tab":
            return f"datadream job show {self.job_id}"
        if action in ("input", "output"):
            links = self._links("from" if action == "input" else "makes")
            return "\n".join(f"datadream {SHOW[link.kind]} show {link.id}" for link in links if link.kind in SHOW)
        return super().command(action)

    def do_tab(self) -> None:
        """The next pane."""
        names = [key for key, _ in PANES]
        self.open_pane(names[(names.index(self.pane) + 1) % len(names)])

    def do_metric(self) -> None:
        """Choose the curves."""
        facts = self.facts
        if facts is None:
            return

        def chosen(names: str | list[str] | None) -> None:
            if isinstance(names, list):
                self._metrics = names
                self.open_pane("metrics")
                self._draw_curves()

        options = [(curve.name, shown(curve.name)) for curve in facts.curves]
        self.app.push_screen(Choose("Metrics to plot", options, many=True, chosen=self.chosen_metrics()), chosen)

    def do_log_scale(self) -> None:
        """Logarithmic or linear."""
        self._change_chart(Chart.toggle_log)

    def do_smooth(self) -> None:
        """More smoothing, then none."""
        self._change_chart(Chart.smoother)

    def do_zoom(self) -> None:
        """The newer half."""
        self._change_chart(lambda chart: chart.zoom(1))

    def do_zoom_out(self) -> None:
        """Twice as much."""
        self._change_chart(lambda chart: chart.zoom(-1))

    def _change_chart(self, change: Callable[[Chart], object]) -> None:
        self.open_pane("metrics")
        change(self.query_one(Chart))
        self._draw_curves()

    def do_find(self) -> None:
        """Search upwards from what is on screen."""
        view = self._with_log()

        def check(pattern: str) -> str:
            try:
                check_pattern(pattern)
            except UserError as error:
                return str(error)
            return ""

        def found(pattern: str | None) -> None:
            if pattern is not None:
                view.find(pattern)

        hint = "text, case ignored, or re: and a regex; , further up, ; further down; empty ends the search"
        self.app.push_screen(AskText("Search the log", view.pattern, hint, check), found)

    def do_find_next(self) -> None:
        """Further up."""
        self._with_log().find_next(-1)

    def do_find_previous(self) -> None:
        """Further down."""
        self._with_log().find_next(1)

    def do_follow(self) -> None:
        """Follow the end, or stay."""
        view = self._with_log()
        view.set_following(not view.following)

    def do_level(self) -> None:
        """All lines, warnings and errors, errors."""
        self.desk.say(f"shown: {LEVEL_WORDS[self._with_log().next_level()]}")

    def do_input(self) -> None:
        """Jump to what it was made from."""
        self._jump("Made from", self._links("from"))

    def do_output(self) -> None:
        """Jump to what it made."""
        self._jump("Makes", self._links("makes"))

    def _links(self, way: str) -> list[Link]:
        return [link for link in self.facts.links if link.way == way] if self.facts is not None else []

    def _jump(self, title: str, links: Sequence[Link]) -> None:
        if len(links) == 1:
            self._open_link(links[0])
            return

        def chosen(key: str | list[str] | None) -> None:
            if isinstance(key, str):
                self._open_link(links[int(key)])

        options = [(str(i), job_texts.link(link).plain) for i, link in enumerate(links)]
        self.app.push_screen(Choose(title, options), chosen)

    def _open_link(self, link: Link) -> None:
        """The artifact when it is finished, else the job that makes it."""
        if link.there and link.kind == "synthetic":
            self.desk.open_gallery(link.id)
        elif link.there:
            self.desk.open_lineage(link.id)
        elif link.id == self.job_id:
            self.desk.say("no output yet", "warning")
        else:
            self.ask("link", lambda data: _has_job(data, link.id), lambda there: self._open_maker(link, there))

    def _open_maker(self, link: Link, there: bool) -> None:
        if there:
            self.desk.open_job(link.id)
        else:
            self.desk.say(f"{link.kind} {link.id[:8]} no longer exists, nor does its job", "warning")


def _has_job(data: Data, job_id: str) -> bool:
    return data.home.files(job_id).spec.is_file()
