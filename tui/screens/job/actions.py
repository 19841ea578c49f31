"""What can be done to jobs, on any screen that shows some: when not, the equal command, what is lost, how it is undone.

A screen mixes `JobDeeds` in before its base and says which jobs are meant:

    class JobsScreen(JobDeeds, ListScreen):
        def job_ids(self) -> list[str]: ...
        def job_rows(self) -> Sequence[Any]: ...   # what is known of them: rows of the registry, or LiveJobs
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from datadream.errors import UserError
from datadream.home.causes import Cause

if TYPE_CHECKING:
    from datadream.home.layout import Home
    from tui.base import HomeScreen
    from tui.services.data import Data

    Base = HomeScreen
else:
    Base = object

OVER = ("done", "failed", "cancelled")
DEEDS = ("open", "cancel", "retry", "pause", "raise", "lower", "remove")
YES = {"cancel": "Cancel", "remove": "Remove", "retry": "Retry", "pause": "Pause", "raise": "Raise", "lower": "Lower"}
DONE = {"cancel": "cancel requested", "retry": "queued again", "pause": "pause requested", "resume": "resumed"}


@dataclass(frozen=True)
class Facts:
    """What a deed needs to know of a job."""

    id: str
    state: str
    title: str
    reason: str
    priority: int
    paused: bool
    done: int
    total: int
    unit: str
    cause: str = ""

    @property
    def over(self) -> bool:
        """Whether it is done, failed or cancelled."""
        return self.state in OVER

    @property
    def hopeless(self) -> bool:
        """Whether it waits for what won't come (as `datadream.home.state.Status.hopeless`)."""
        return self.state == "blocked" and self.cause == Cause.STUCK


def facts(job: Any) -> Facts:
    """Of a row of the registry, a LiveJob or a Status."""

    def get(name: str, default: Any) -> Any:
        found = job.get(name) if isinstance(job, Mapping) else getattr(job, name, None)
        return default if found is None else found

    return Facts(
        id=str(get("id", "")),
        state=str(get("state", "")),
        title=str(get("title", "")),
        reason=str(get("reason", "")),
        cause=str(get("cause", "")),
        priority=int(get("priority", 0)),
        paused=bool(get("paused", False)),
        done=int(get("done", 0)),
        total=int(get("total", 0)),
        unit=str(get("unit", "")),
    )


def refusal(deed: str, job: Facts) -> str:
    """Why `deed` can't be done to this job now, in a sentence; "" when it can."""
    name = f"job {job.id[:8]}"
    if deed == "cancel" and (job.over or job.state == "cancelling"):
        return f"{name} is already {job.state}: nothing to cancel"
    if deed == "retry" and job.state == "done" and not job.reason:
        return f"{name} is done; to recompute it, use `datadream run --force`"
    if deed == "retry" and job.hopeless:
        return f"{name} is blocked by another: {job.reason}; retry that one"
    if deed == "retry" and not job.over and job.state != "lost":
        return f"{name} is still {job.state}: nothing to retry"
    if deed in ("pause", "raise", "lower") and job.over:
        return f"{name} is {job.state}: nothing to {deed}"
    if deed == "remove" and not job.over and not job.hopeless:
        return f"{name} is still {job.state}: cancel it first"
    return ""


def verb_for(deed: str, jobs: Sequence[Facts]) -> str:
    """The command line's verb: `pause` is `resume` where all that can be paused are."""
    if deed == "pause":
        able = [job for job in jobs if not job.over]
        return "resume" if able and all(job.paused for job in able) else "pause"
    return {"raise": "priority", "lower": "priority", "remove": "rm", "open": "show"}.get(deed, deed)


def command_for(deed: str, jobs: Sequence[Facts]) -> str:
    """The equal `datadream job ...`; a line each where the command takes one job."""
    able = [job for job in jobs if not refusal(deed, job)]
    if not able:
        return ""
    verb = verb_for(deed, able)
    if verb == "priority":
        step = 1 if deed == "raise" else -1
        return "\n".join(f"datadream job priority {job.id} {job.priority + step}" for job in able)
    if verb == "show":
        return f"datadream job show {able[0].id}"
    return f"datadream job {verb} {' '.join(job.id for job in able)}"


def loss_of(deed: str, jobs: Sequence[Facts]) -> str:
    """What a dangerous deed takes away."""
    if deed == "cancel":
        running = [job for job in jobs if job.state == "running"]
        if not running:
            return "Nothing is lost: it is not running." if len(jobs) == 1 else "Nothing is lost: none is running."
        # A job that has just begun knows no total yet.
        held = [f"{job.id[:8]} is at {job.done:,} of {job.total:,} {job.unit}" for job in running if job.total]
        told = f" ({'; '.join(held[:3])}{'; ...' if len(held) > 3 else ''})" if held else ""
        whose = "its" if len(running) == 1 else "their"
        return f"Work since {whose} last checkpoint is lost{told}. Retry resumes from the checkpoint."
    if deed == "remove":
        return (
            "Log, history and checkpoint are deleted; this can't be undone. Results are "
            "kept: artifacts, runs and their accuracy."
        )
    return ""


def question_of(deed: str, able: Sequence[Facts], asked: int) -> str:
    """What is asked before it is done, with the number of jobs it will be done to."""
    what = f"job {able[0].id[:8]}" if len(able) == 1 else f"{len(able) or asked} jobs"
    if deed in ("raise", "lower"):
        return f"{YES[deed]} the priority of {what} by one?"
    resumes = deed == "pause" and verb_for(deed, able) == "resume"
    return f"{'Resume' if resumes else YES[deed]} {what}?"


def notes_of(deed: str, jobs: Sequence[Facts], asked: int, hidden: int) -> str:
    """What is lost, which of the jobs that were asked for are left out and why, and that hidden ones are left alone."""
    able = [job for job in jobs if not refusal(deed, job)]
    out = [reason for job in jobs if (reason := refusal(deed, job))]
    out += ["the job no longer exists"] * (asked - len(jobs))
    notes = [loss_of(deed, able)] if able else []
    notes += [f"{len(out)} of {asked} skipped: {out[0]}."] if out else []
    if hidden:
        notes.append(f"{hidden} more marked {'is' if hidden == 1 else 'are'} hidden by the filter and left alone.")
    return "\n".join(note for note in notes if note)


class JobDeeds(Base):
    """Cancel, retry, pause, raise, lower and remove the jobs the screen names."""

    def job_ids(self) -> list[str]:
        """The jobs that are meant: marked, or under the cursor."""
        return [job.id for job in self._facts()]

    def job_rows(self) -> Sequence[Any]:
        """What is known of them; may be fewer than `job_ids` where some aren't loaded."""
        raise NotImplementedError

    def why_not(self, action: str) -> str:
        """Why not one of the jobs can have this done."""
        if action not in DEEDS:
            return super().why_not(action)
        ids, known = self.job_ids(), self._facts()
        if not ids:
            return "no job here"
        reasons = [refusal(action, job) for job in known]
        if action == "open" or len(known) < len(ids) or not all(reasons):
            return ""
        return reasons[0] if len(reasons) == 1 else f"none of {len(reasons)} jobs: {reasons[0]}"

    def command(self, action: str) -> str:
        """The equal `datadream job ...`."""
        return command_for(action, self._facts()) if action in DEEDS else super().command(action)

    def do_cancel(self) -> None:
        """Ask, then stop them; undo tries again."""
        self._confirm("cancel")

    def do_remove(self) -> None:
        """Ask, then remove the folders of those that are over."""
        self._confirm("remove")

    def do_retry(self) -> None:
        """Try those that failed or were cancelled again; undo cancels."""
        self._do("retry")

    def do_pause(self) -> None:
        """Let them pause at their next checkpoint; where all are paused, go on."""
        self._do("pause")

    def do_raise(self) -> None:
        """One more urgent each."""
        self._do("raise")

    def do_lower(self) -> None:
        """One less urgent each."""
        self._do("lower")

    def _facts(self) -> list[Facts]:
        return [facts(job) for job in self.job_rows()]

    def _do(self, deed: str) -> None:
        """To one job at once; to several, or where a filter hides marked ones, after saying to how many."""
        ids, known = self.job_ids(), self._facts()
        if len(ids) > 1 or self.hidden() or len(known) < len(ids):
            self._confirm(deed)
            return
        able = [job for job in known if not refusal(deed, job)]
        self._run(deed, verb_for(deed, able), [job.id for job in able], command_for(deed, able))

    def _confirm(self, deed: str) -> None:
        """Ask first. What isn't known of the jobs yet is read while the question is there already."""
        from tui.screens.shared.modals import Confirm

        ids, known = self.job_ids(), self._facts()
        able: list[Facts] = []
        reading = len(known) < len(ids)

        def words(jobs: Sequence[Facts]) -> tuple[str, str]:
            able[:] = [job for job in jobs if not refusal(deed, job)]
            return question_of(deed, able, len(ids)), notes_of(deed, jobs, len(ids), self.hidden())

        def read(data: Data) -> list[Facts]:
            from store import queries

            return [facts(row) for row in queries.rows_of(data.registry(), "job", ids)]

        def fill(jobs: list[Facts]) -> None:
            question, notes = words(jobs)
            if able:
                dialog.fill(question, notes)
            else:
                dialog.refuse(refusal(deed, jobs[0]) if jobs else "these jobs no longer exist")

        def answered(yes: bool | None) -> None:
            if yes:
                self._run(deed, verb_for(deed, able), [job.id for job in able], command_for(deed, able))

        question, notes = words(known) if not reading else (question_of(deed, known, len(ids)), "")
        dialog = Confirm(question, notes, yes=YES.get(deed, "Yes"), reading=reading)
        self.desk.push_screen(dialog, answered)
        if reading:
            self.ask("confirm", read, fill, failed=dialog.refuse)

    def _run(self, deed: str, verb: str, ids: list[str], command: str) -> None:
        """Do it to each in the pool that is still on the list; undo reaches only those it was done to."""
        changed: dict[str, int] = {}
        still = self.still_there(ids)

        def act(data: Data) -> list[str]:
            there = still(data)
            refused = [f"job {job_id[:8]} is no longer listed" for job_id in ids if job_id not in there]
            refused += _each(
                data.home, there, lambda home, job_id: changed.update({job_id: _change(home, job_id, deed, verb)})
            )
            return _noticed(data.home, refused, bool(changed))

        def undo(data: Data) -> None:
            refused = _each(
                data.home, list(changed), lambda home, job_id: _restore(home, job_id, verb, changed[job_id])
            )
            _noticed(data.home, refused, len(refused) < len(changed))

        def then(refused: list[str]) -> None:
            if refused:
                self.desk.say(f"{len(refused)} of {len(ids)} refused: {refused[0]}", "warning")

        what = f"{len(ids)} jobs" if len(ids) > 1 else ids[0][:8]  # how many not is said after it
        ending = {"raise": "priority raised by one", "lower": "priority lowered by one", "remove": "removed"}
        text = f"{what}: {ending.get(deed) or DONE[verb]}"
        self.act(text, act, then, None if deed == "remove" else undo, command)


def _change(home: Home, job_id: str, deed: str, verb: str) -> int:
    """Do it; the priority it had."""
    from datadream.home import control, state

    old = state.derive(home, job_id).priority if verb == "priority" else 0
    match verb:
        case "cancel":
            control.cancel(home, job_id)
        case "retry":
            control.retry(home, job_id)
        case "pause":
            control.pause(home, job_id)
        case "resume":
            control.resume(home, job_id)
        case "rm":
            control.remove(home, job_id)
        case "priority":
            control.set_priority(home, job_id, old + (1 if deed == "raise" else -1))
    return old


def _restore(home: Home, job_id: str, verb: str, priority: int) -> None:
    from datadream.home import control

    match verb:
        case "cancel":
            control.retry(home, job_id)
        case "retry":
            control.cancel(home, job_id)
        case "pause":
            control.resume(home, job_id)
        case "resume":
            control.pause(home, job_id)
        case "priority":
            control.set_priority(home, job_id, priority)


def _each(home: Home, ids: Sequence[str], deed: Callable[[Home, str], Any]) -> list[str]:
    """What those that refused said."""
    refused = []
    for job_id in ids:
        try:
            deed(home, job_id)
        except UserError as error:
            refused.append(str(error))
    return refused


def _noticed(home: Home, refused: list[str], changed: bool) -> list[str]:
    """See to it that somebody works on what changed. Raises UserError when all refused."""
    from datadream.jobs import spawn

    if not changed and refused:
        raise UserError(refused[0])
    spawn.ensure_runner(home)
    return refused


def unqueue(home: Home, jobs: Sequence[str]) -> None:
    """Cancel those that aren't over, users before what they need."""
    from datadream.home import control

    for job_id in reversed(jobs):
        control.cancel(home, job_id)
