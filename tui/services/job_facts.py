"""What the screen of one job shows, gathered from its folder in the pool; read anew only when files have changed."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from datadream.errors import UserError
from datadream.home import state
from datadream.home.events import is_event, metrics
from datadream.home.jobfiles import SHOWN, JobFiles
from datadream.home.lines import Tail
from datadream.stages.table import ROLES
from tui.drawing.braille import Series, thinned
from tui.services.data import Data
from tui.services.log_index import last_lines

if TYPE_CHECKING:
    from pathlib import Path

    from datadream.home.spec import JobSpec
    from datadream.home.state import Status

POINTS_MAX = 50_000  # of a curve; thinned so that extremes stay
LAST_LINES = 5
SHOWN_BYTES = 256 << 10  # of a file whose every word is shown
RECHECK_SECONDS = 3.0  # a lease that is let go changes no file


@dataclass(frozen=True)
class Link:
    """An artifact the job was made from (`way` "from"), makes ("makes") or that others made of it ("for")."""

    way: str
    role: str
    kind: str
    id: str
    there: bool


@dataclass(frozen=True)
class JobFacts:
    """A job as the screen needs it. `gone` is a sentence when its folder is not there or can't be read."""

    id: str
    gone: str = ""
    status: Status | None = None
    error: str = ""
    last: tuple[str, ...] = ()
    spec: tuple[tuple[str, str], ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    history: tuple[str, ...] = ()
    links: tuple[Link, ...] = ()
    curves: tuple[Series, ...] = ()

    @property
    def written(self) -> tuple[object, ...]:
        """What the pane of the spec is made of."""
        return self.spec, self.environment, self.history


@dataclass
class JobReader:
    """The folder of one job. `gather` may be called from any pool thread."""

    job_id: str
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _seen: tuple[object, ...] = ()
    _seen_at: float = -1e9
    _facts: JobFacts | None = None
    _tail: Tail | None = None
    _points: dict[str, dict[float, float]] = field(default_factory=dict)
    _worked: tuple[object, float, float] | None = None
    _used: tuple[Link, ...] = ()

    def gather(self, data: Data) -> JobFacts:
        """The facts as they are now: the same object as before when nothing has changed. The registry isn't asked."""
        with self._lock:
            folder = data.home.job(self.job_id)
            seen = tuple(_stamp(folder / name) for name in SHOWN)
            fresh = time.monotonic() - self._seen_at < RECHECK_SECONDS
            if self._facts is not None and seen == self._seen and fresh:
                return self._facts
            self._seen, self._seen_at = seen, time.monotonic()
            facts = self._read(data)
            if self._facts is None or facts != self._facts:
                self._facts = facts
            return self._facts

    def look_up(self, data: Data) -> JobFacts:
        """The same with what the registry knows: who uses what the job made."""
        used = _used_by(data, self.job_id)
        with self._lock:
            self._used, self._seen = used, ()
        return self.gather(data)

    def _read(self, data: Data) -> JobFacts:
        home, folder = data.home, data.home.job(self.job_id)
        if not folder.is_dir():
            return self._without_folder(data)
        with suppress(OSError):  # what is no file has no curves; `registry check` names it
            self._read_events(JobFiles(folder).events)
        curves = self._curves()
        try:
            status, spec = state.derive(home, self.job_id), state.read_spec(home, self.job_id)
        except UserError as error:
            return JobFacts(self.job_id, str(error), curves=curves, last=last_lines(JobFiles(folder).log, LAST_LINES))
        bad = status.state in ("failed", "lost")
        error_text = str((state.read_dict(JobFiles(folder).error, SHOWN_BYTES) or {}).get("message", "")) if bad else ""
        links = [
            Link("from", role, ROLES[role], parent, home.has(ROLES[role], parent))
            for role, parent in sorted(spec.inputs.items())
        ]
        links.append(Link("makes", spec.kind, spec.kind, spec.id, home.has(spec.kind, spec.id)))
        return JobFacts(
            self.job_id,
            status=status,
            error=error_text,
            last=last_lines(JobFiles(folder).log, LAST_LINES) if bad else (),
            spec=_spec_lines(spec),
            environment=_flat(state.read_dict(JobFiles(folder).environment, SHOWN_BYTES) or {}),
            history=tuple(_history_line(line) for line in state.history(folder)),
            links=(*links, *self._used),
            curves=curves,
        )

    def _without_folder(self, data: Data) -> JobFacts:
        """All that is left; of a job that was gone before we looked, the registry may know the curves."""
        sentence = f"the folder of job {self.job_id[:8]} was removed; its results, if any, are still in the home"
        if self._facts is not None:
            return replace(self._facts, gone=sentence)  # what was seen of it stays
        curves: tuple[Series, ...] = ()
        try:
            from store import queries

            found = queries.metrics(data.registry(), self.job_id)
            curves = tuple(_series(name, dict(points)) for name, points in found.items())
        except UserError:
            pass
        return JobFacts(self.job_id, sentence, links=self._used, curves=curves)

    def _read_events(self, path: Path) -> None:
        """Take in what is new; from the start when the file is another, shorter one."""
        size = _stamp(path)[1]
        if self._tail is None or size < self._tail.offset:
            self._tail, self._points, self._worked = Tail(path), {}, None
        for event in filter(is_event, self._tail.records()):
            if (found := metrics(event)) is not None:
                for name, value in found[1].items():
                    self._put(name, float(found[0]), value)
            elif event["kind"] == "progress":
                self._take_progress(event)

    def _take_progress(self, event: Mapping[str, Any]) -> None:
        """Speed between two words on progress, over what was done."""
        done, seconds, unit = event.get("done"), event.get("seconds"), str(event.get("unit", ""))
        if not isinstance(done, int | float) or not isinstance(seconds, int | float):
            return
        key, before = (unit, event.get("attempt")), self._worked
        self._worked = (key, float(seconds), float(done))
        if before is not None and before[0] == key and seconds > before[1] and done > before[2]:
            speed = (done - before[2]) / (seconds - before[1])
            self._put(f"{unit or 'units'} per second", float(done), speed)

    def _put(self, name: str, x: float, y: float) -> None:
        """One more point; of a curve that has grown too long only what will be shown is kept."""
        points = self._points.setdefault(name, {})
        points[x] = y
        if len(points) > 2 * POINTS_MAX:
            xs = sorted(points)
            thin = thinned(xs, [points[at] for at in xs], POINTS_MAX)
            self._points[name] = dict(zip(*thin, strict=True))

    def _curves(self) -> tuple[Series, ...]:
        """Metrics by name, then speeds."""
        names = sorted(self._points, key=lambda name: (name.endswith(" per second"), name != "loss", name))
        return tuple(_series(name, self._points[name]) for name in names)


def _series(name: str, points: Mapping[Any, float]) -> Series:
    xs = sorted(points)
    thin = thinned(xs, [points[x] for x in xs], POINTS_MAX)
    return Series(name, tuple(thin[0]), tuple(thin[1]))


def _used_by(data: Data, job_id: str) -> tuple[Link, ...]:
    """What was made of what it made, as the registry knows; nothing when it can't be asked."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        from store import queries

        found = queries.lineage(data.registry(), job_id)["descendants"]
    except (UserError, SQLAlchemyError):
        return ()
    return tuple(
        Link("for", str(entry["role"]), str(entry["kind"]), str(entry["id"]), bool(entry["present"]))
        for entry in found
        if entry["depth"] == 1
    )


def _spec_lines(spec: JobSpec) -> tuple[tuple[str, str], ...]:
    content = spec.model_dump(mode="json")
    classes, prompts = content.pop("classes"), content.pop("prompts")
    if classes:
        names = [str(entry.get("name", entry)) if isinstance(entry, dict) else str(entry) for entry in classes]
        content["classes"] = f"{len(names)}: {', '.join(names)}"
    if prompts:
        content["prompts"] = ", ".join(map(str, prompts))
    first = {name: content.pop(name) for name in ("stage", "seed", "inputs")}
    return _flat({**first, **content})


def _flat(content: Mapping[str, Any], before: str = "") -> tuple[tuple[str, str], ...]:
    """Names with dots and their values; what is empty is left out."""
    found: list[tuple[str, str]] = []
    for name, value in content.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{before}{name}.")
        elif value not in (None, "", [], {}):
            found.append((before + name, " ".join(map(str, value)) if isinstance(value, list) else str(value)))
    return tuple(found)


def _history_line(line: Mapping[str, Any]) -> str:
    reason = f"  {line['reason']}" if line.get("reason") else ""
    return f"{str(line.get('at', ''))[:19]}  {line.get('state')}{reason}"


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_ino, found.st_size, found.st_mtime_ns)
