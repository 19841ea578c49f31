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

if TYPE_CHECKING:
    from datadream.jobs.home import Home
    from tui.base import HomeScreen
    from tui.services.data import Data

    Base = HomeScreen
else:
    Base = object

OVER = ("done", "failed", "cancelled")
DEEDS = ("open", "cancel", "retry", "pause", "raise", "lower", "remove")
DONE = {"cancel": "asked to stop", "retry": "queued again", "pause": "asked to pause", "resume": "goes on"}


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

    @property
    def over(self) -> bool:
        """Whether it is done, failed or cancelled."""
        return self.state in OVER

    @property
    def hopeless(self) -> bool:
        """Whether it waits for what won't come (as `datadream.jobs.state.Status.hopeless`)."""
        words = ("failed", "cancelled", "gone", "no readable")
        return self.state == "blocked" and any(word in self.reason for word in words)


def facts(job: Any) -> Facts:
    """Of a row of the registry, a LiveJob or a Status."""

    def get(name: str, default: Any) -> Any:
        found = job.get(name) if isinstance(job, Mapping) else getattr(job, name, None)
        return default if found is None else found

    reason = str(get("reason", ""))
    return Facts(
        id=str(get("id", "")),
        state=str(get("state", "")),
        title=str(get("title", "")),
        reason=reason,
        priority=int(get("priority", 0)),
        paused=bool(get("paused", False)) or reason.startswith("paused") or reason.endswith("to pause"),
        done=int(get("done", 0)),
        total=int(get("total", 0)),
        unit=str(get("unit", "")),
    )


def refusal(deed: str, job: Facts) -> str:
    """Why `deed` can't be done to this job now, in a sentence; "" when it can."""
    name = f"the job {job.id[:8]}"
    if deed == "cancel" and (job.over or job.state == "cancelling"):
        return f"{name} is {job.state} already: there is nothing to stop"
    if deed == "retry" and job.state == "done" and not job.reason:
        return f"{name} is done; to make it anew beside the old, use `datadream run --force`"
    if deed == "retry" and job.hopeless:
        return f"{name} waits for another: {job.reason}; retry that one"
    if deed == "retry" and not job.over and job.state != "lost":
        return f"{name} is {job.state}, not over: there is nothing to try again"
    if deed in ("pause", "raise", "lower") and job.over:
        verb = {"pause": "pause", "raise": "put first", "lower": "put last"}[deed]
        return f"{name} is {job.state}: there is nothing to {verb}"
    if deed == "remove" and not job.over and not job.hopeless:
        return f"{name} is {job.state}: cancel it before you remove it"
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
            return (
                "Nothing is lost: it isn't running." if len(jobs) == 1 else "Nothing is lost: none of them is running."
            )
        # A job that has just begun knows no total yet.
        held = [f"{job.id[:8]} is at {job.done:,} of {job.total:,} {job.unit}" for job in running if job.total]
        told = f" ({'; '.join(held[:3])}{'; ...' if len(held) > 3 else ''})" if held else ""
        whose = "it did since its" if len(running) == 1 else "they did since their"
        return f"What {whose} last checkpoint is lost{told}. Retry goes on from the checkpoint."
    if deed == "remove":
        return (
            "The log, the history and the checkpoint are removed for good, and can't be undone. What was made of it "
            "stays: artifacts, runs and their numbers."
        )
    return ""


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
            return "there is no job here"
        reasons = [refusal(action, job) for job in known]
        if action == "open" or len(known) < len(ids) or not all(reasons):
            return ""
        return reasons[0] if len(reasons) == 1 else f"none of the {len(reasons)} can: {reasons[0]}"

    def command(self, action: str) -> str:
        """The equal `datadream job ...`."""
        return command_for(action, self._facts()) if action in DEEDS else super().command(action)

    def do_cancel(self) -> None:
        """Ask, then stop them; undo tries again."""
        self._confirm("cancel", "Stop")

    def do_remove(self) -> None:
        """Ask, then remove the folders of those that are over."""
        self._confirm("remove", "Remove")

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

    def _able(self, deed: str) -> list[str]:
        """The ids it will be done to; one whose row isn't known is tried, and says itself why not."""
        refused = {job.id for job in self._facts() if refusal(deed, job)}
        return [job_id for job_id in self.job_ids() if job_id not in refused]

    def _confirm(self, deed: str, verb: str) -> None:
        from tui.screens.modals import Confirm

        ids = self._able(deed)
        known = [job for job in self._facts() if job.id in ids]
        what = f"{len(ids)} jobs" if len(ids) > 1 else f"the job {ids[0][:8]}"
        command, verb_now = command_for(deed, known), verb_for(deed, known)

        def answered(yes: bool | None) -> None:
            if yes:
                self._run(deed, verb_now, ids, command)

        self.dream.push_screen(Confirm(f"{verb} {what}?", loss_of(deed, known), yes=verb), answered)

    def _do(self, deed: str) -> None:
        ids = self._able(deed)
        known = [job for job in self._facts() if job.id in ids]
        self._run(deed, verb_for(deed, known), ids, command_for(deed, known))

    def _run(self, deed: str, verb: str, ids: list[str], command: str) -> None:
        """Do it to each in the pool; undo reaches only those it was done to."""
        changed: dict[str, int] = {}

        def act(data: Data) -> list[str]:
            refused = _each(
                data.home, ids, lambda home, job_id: changed.update({job_id: _change(home, job_id, deed, verb)})
            )
            return _noticed(data.home, refused, bool(changed))

        def undo(data: Data) -> None:
            refused = _each(
                data.home, list(changed), lambda home, job_id: _restore(home, job_id, verb, changed[job_id])
            )
            _noticed(data.home, refused, len(refused) < len(changed))

        def then(refused: list[str]) -> None:
            if refused:
                self.dream.say(f"{len(refused)} of {len(ids)} not: {refused[0]}", "warning")

        what = f"{len(ids)} jobs" if len(ids) > 1 else ids[0][:8]
        ending = {"raise": "one up in priority", "lower": "one down in priority", "remove": "removed"}
        text = f"{what}: {ending.get(deed) or DONE[verb]}"
        self.act(text, act, then, None if deed == "remove" else undo, command)


def _change(home: Home, job_id: str, deed: str, verb: str) -> int:
    """Do it; the priority it had."""
    from datadream.jobs import state, submit

    old = state.derive(home, job_id).priority if verb == "priority" else 0
    match verb:
        case "cancel":
            submit.cancel(home, job_id)
        case "retry":
            submit.retry(home, job_id)
        case "pause":
            submit.pause(home, job_id)
        case "resume":
            submit.resume(home, job_id)
        case "rm":
            submit.remove(home, job_id)
        case "priority":
            submit.set_priority(home, job_id, old + (1 if deed == "raise" else -1))
    return old


def _restore(home: Home, job_id: str, verb: str, priority: int) -> None:
    from datadream.jobs import submit

    match verb:
        case "cancel":
            submit.retry(home, job_id)
        case "retry":
            submit.cancel(home, job_id)
        case "pause":
            submit.resume(home, job_id)
        case "resume":
            submit.pause(home, job_id)
        case "priority":
            submit.set_priority(home, job_id, priority)


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
    from datadream.jobs import submit

    for job_id in reversed(jobs):
        submit.cancel(home, job_id)
