"""What there is to say of a run: read in a pool thread from its record, its classifier's scores and its set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from datadream.errors import UserError
from datadream.stages.table import METHOD
from datadream.text import ID_LENGTH, counted, shown
from tui.drawing import glyphs
from tui.screens.lists.details import class_bars, facts
from tui.widgets.table_columns import Row, cut

if TYPE_CHECKING:
    from datadream.home.labels import Labels
    from tui.services.data import Data

SHADES = " .:*#" if glyphs.ASCII else " ░▒▓█"
HEAT_MAX = 100  # classes a map in characters can hold
WHOLE_MAX = 10  # classes a table of counts can hold
BESIDE = 90  # cells that let facts and bars stand side by side
NO_SCORES = "its classifier's scores are missing: run it again"
WITHOUT = {  # a number, by the state of a run
    "failed": "its job failed",
    "lost": "worker died; retrying",
    "cancelled": "cancelled; retry its job to resume",
    "missing": "its jobs were removed: run it again",
}


@dataclass(frozen=True)
class RunFacts:
    """A run as its folders tell it. `per_class` are (correct, total); `confusion` counts [label][prediction]."""

    row: Row
    record: Mapping[str, Any]
    names: tuple[str, ...]
    per_class: Sequence[Sequence[int]]
    confusion: Sequence[Sequence[int]]
    labels: Labels
    interval: tuple[float, float] | None
    reason: str = ""  # of the job that says how it goes on

    @property
    def id(self) -> str:
        """The run's."""
        return str(self.row["id"])

    @property
    def no_scores(self) -> str:
        """Why there is nothing by class to show."""
        if self.row["accuracy"] is not None:
            return NO_SCORES
        said = WITHOUT.get(str(self.row["state"]), "no accuracy yet: its jobs have not ended")
        return f"{said}: {shown(self.reason.splitlines()[0])}" if self.reason else said

    @property
    def title(self) -> str:
        """`datadream-dset real+synth, 4 shots, seed 1`."""
        row = self.row
        return f"{row['method']} {row['data']}, {counted(row['shots'], 'shot')}, seed {row['seed']}"

    def job(self, stage: str) -> str:
        """The id of the job of a stage, "" when it has none."""
        jobs = self.record.get("jobs")
        return str(jobs.get(stage, "")) if isinstance(jobs, Mapping) else ""


def read_run(data: Data, row: Row) -> RunFacts:
    """All of it; what is gone or can't be read is empty."""
    from datadream.home.labels import labels_to_show
    from datadream.home.state import read_dict
    from datadream.records import LISTS_BYTES
    from datadream.report.collect import read_scores
    from datadream.report.stats import wilson

    home, run_id = data.home, str(row["id"])
    try:
        scores = read_scores(home.artifact("classifier", str(row["classifier"])))
    except UserError:
        scores = {}
    classes = (read_dict(home.artifact("set", str(row["set"])) / "set.json", LISTS_BYTES) or {}).get("classes")
    entries = classes if isinstance(classes, list) else []
    names = tuple(str(entry.get("name", "")) if isinstance(entry, dict) else "" for entry in entries)
    interval = None
    if row["correct"] is not None and row["total"]:
        found = wilson(row["correct"], row["total"])
        interval = (100 * found.low, 100 * found.high)
    return RunFacts(
        row=row,
        record=read_dict(home.run(run_id)) or {},
        names=names,
        per_class=scores.get("per_class") or [],
        confusion=_counts(scores.get("confusion")),
        labels=labels_to_show(home, run_id),
        interval=interval,
        reason=_reason(data, row) if row["accuracy"] is None else "",
    )


def _reason(data: Data, row: Row) -> str:
    """What the job says that keeps a run from its number."""
    from store import queries

    jobs = [str(row[name]) for name in ("adapter", "synth", "classifier") if row[name]]
    found = queries.rows_of(data.registry(), "job", jobs)
    return next((f"{job['stage']} {job['id'][:8]}: {job['reason']}" for job in found
                 if job["state"] == row["state"] and job["reason"]), "")  # fmt: skip


def _counts(found: object) -> Sequence[Sequence[int]]:
    """A confusion map, empty when what was found is none."""
    rows = found if isinstance(found, list) else []
    square = all(isinstance(row, list) and len(row) == len(rows) for row in rows)
    return rows if square and all(type(count) is int for row in rows for count in row) else []


def with_differences(data: Data, rows: Sequence[Row]) -> list[Row]:
    """Rows of runs whose `settings` also name what sets them apart from others that look the same in a list."""
    from datadream.report.runs_diff import differing
    from store import queries

    twins = queries.twins(data.registry(), [str(row["id"]) for row in rows])
    found = []
    for row in rows:
        apart = differing(data.home, str(row["id"]), twins.get(str(row["id"]), []))
        found.append({**row, "settings": " ".join(filter(None, (row["settings"], apart)))} if apart else row)
    return found


def pane(run: RunFacts, width: int) -> RenderableType:
    """For the pane of a list: numbers and worst and best classes, side by side where there is room."""
    left = Group(head(run), about(run), settings(run))
    bars = class_bars(run.names, run.per_class, 12) if run.per_class else Text(shown(run.no_scores), "dim")
    if width < BESIDE:
        return Group(left, Text(), bars)
    grid = Table.grid(padding=(0, 3), expand=True)
    grid.add_column(ratio=1)
    grid.add_column()
    grid.add_row(left, bars)
    return grid


def head(run: RunFacts) -> Text:
    """The number, its interval, and of how many images."""
    text = Text(shown(run.title), "bold")
    row = run.row
    if row["accuracy"] is None:
        text.append("\n").append_text(glyphs.state_text(str(row["state"])))
        return text.append(f"  {run.no_scores}", "dim")
    text.append(f"\n{row['accuracy']:.2f}%")
    if run.interval is not None:
        text.append(f" [{run.interval[0]:.1f}, {run.interval[1]:.1f}]")
    return text.append(f"  {row['correct']:,} of {row['total']:,} {shown(str(row['split']))} images", "dim")


def about(run: RunFacts) -> RenderableType:
    """Ids, labels, cost, times."""
    labels = {"tags": list(run.labels.tags), "note": run.labels.note}
    names = ("id", "source", "backbone", *labels, "set", "adapter", "synth", "classifier", "seconds")
    return facts({**run.row, **labels}, (*names, "submitted", "created", "ended"))


def settings(run: RunFacts) -> RenderableType:
    """What was set apart from the recipe's own."""
    return facts(run.row, ("settings",))


def config(run: RunFacts) -> RenderableType:
    """Every setting of the recipe, by stage; those that were set by hand are marked."""
    recipe = run.record.get("recipe")
    if not isinstance(recipe, Mapping):
        return Text("its record is missing", "dim")
    overrides = recipe.get("overrides")
    by_hand = set(overrides) if isinstance(overrides, Mapping) else set()
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name in ("name", "about"):
        table.add_row(name, Text(shown(str(recipe.get(name, "")))))
    for stage in METHOD:
        part = recipe.get(stage)
        if not isinstance(part, Mapping) or not (run.job(stage) or stage == "classify"):
            continue
        table.add_row("", "")
        table.add_row(Text(stage, "bold"), Text(f"job {run.job(stage)}" if run.job(stage) else "", "dim"))
        for key, value in part.items():
            set_ = f"{stage}.{key}" in by_hand
            said = Text(shown(" ".join(map(str, value)) if isinstance(value, list) else str(value)), "bold" * set_)
            table.add_row(Text(shown(f"  {key}")), said.append("  set by you", "dim") if set_ else said)
    return table


def classes(run: RunFacts) -> RenderableType:
    """A bar for every class, worst first."""
    return class_bars(run.names, run.per_class) if run.per_class else Text(shown(run.no_scores), "dim")


def confusion(run: RunFacts) -> RenderableType:
    """Counts of few classes; of more a map in shades and the commonest confusions."""
    from datadream.report.figures import confusion_text

    n = len(run.confusion)
    if not n:
        return Text(shown(run.no_scores), "dim")
    names = [run.names[i] if i < len(run.names) else f"class {i}" for i in range(n)]
    counts: RenderableType = confusion_text(run.confusion, [shown(name) for name in names])
    return counts if n <= WHOLE_MAX or n > HEAT_MAX else Group(heat(run.confusion, names), Text(), counts)


def heat(counts: Sequence[Sequence[int]], names: Sequence[str]) -> Text:
    """A line a label, a character a prediction, darker for a larger share of the label's images."""
    text = Text("rows: label, columns: predicted, in the same order; darker: more\n", no_wrap=True)
    for name, row in zip(names, counts, strict=True):
        total = max(1, sum(row))
        shades = "".join(SHADES[min(len(SHADES) - 1, -(-count * (len(SHADES) - 1) // total))] for count in row)
        text.append(f"{cut(shown(name), 16)} ", "dim").append(f"|{shades}|\n")
    return text


def everything(run: RunFacts, width: int) -> RenderableType:
    """All there is, for a screen of its own."""
    parts: list[RenderableType] = [head(run), about(run), settings(run)]
    if width >= BESIDE + 20:
        grid = Table.grid(padding=(0, 4))
        grid.add_row(_titled("Accuracy by class", classes(run)), _titled("Confusion", confusion(run)))
        parts.append(grid)
    else:
        parts += [_titled("Accuracy by class", classes(run)), _titled("Confusion", confusion(run))]
    return Group(*parts, _titled("Settings", config(run)))


def by_class(run: RunFacts, width: int) -> RenderableType:
    """Only accuracy by class and the confusion map."""
    parts = [_titled("Accuracy by class", classes(run)), _titled("Confusion", confusion(run))]
    if width < BESIDE + 20 or len(run.confusion) > WHOLE_MAX:
        return Group(head(run), *parts)
    grid = Table.grid(padding=(0, 4))
    grid.add_row(*parts)
    return Group(head(run), grid)


def _titled(title: str, content: RenderableType) -> RenderableType:
    return Group(Text(), Text(title, "bold underline"), content)


def crumb(row_id: str) -> str:
    """What the bar says."""
    return f"Runs {glyphs.ARROW} {row_id[:ID_LENGTH]}"
