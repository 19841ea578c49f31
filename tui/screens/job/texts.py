"""What the screen of a job says, made of facts."""

from __future__ import annotations

from datetime import datetime

from rich.text import Text

from datadream.home.state import Status
from datadream.text import shown
from tui.drawing import glyphs
from tui.services.job_facts import JobFacts, Link
from tui.services.log_text import line_shown
from tui.services.snapshot import LiveJob

BAR = 8
WHY_LINES = 3
KINDS = {"set": "few-shot set", "synthetic": "synthetic set"}
WAYS = {"from": "made from", "makes": "makes", "for": "used by"}


def head(facts: JobFacts, live: LiveJob | None) -> Text:
    """What it is; then state, progress, speed, time left, device and attempt."""
    status = facts.status
    if status is None:
        return Text(f"job {facts.id[:8]}", "bold", no_wrap=True, overflow="ellipsis")
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(shown(status.title or status.stage), "bold")
    text.append(f"  {facts.id[:8]}\n", "dim")
    text.append_text(glyphs.state_text(live.state if live else status.state, live.paused if live else status.paused))
    slot = (live.slot if live else "") or status.slot
    priority = live.priority if live else status.priority
    parts = [
        *_progress(status, live),
        *([f"attempt {status.attempts}"] if status.attempts else []),
        *([f"on {slot}"] if slot else []),
        *([f"priority {priority}"] if priority else []),
        *([f"ran {glyphs.duration(status.seconds)}"] if live is None and status.seconds is not None else []),
        *([f"ended {_clock(status.ended)}"] if status.ended and status.final else []),
    ]
    for part in parts:
        text.append(f" {glyphs.DOT} {shown(part)}")
    reason = live.reason if live else status.reason
    if reason and status.state not in ("failed", "lost"):
        text.append(f"\n{shown(_first(reason))}", "italic")
    return text


def _progress(status: Status, live: LiveJob | None) -> list[str]:
    done, total, unit = (live.done, live.total, live.unit) if live else (status.done, status.total, status.unit)
    parts = []
    if total:
        part = 1.0 if status.state == "done" else min(1.0, done / total)
        parts.append(f"{glyphs.bar(part, BAR)} {done:,}/{total:,} {unit}")
    if live is not None and live.rate is not None:
        parts.append(f"{live.rate:g} {live.unit.split(' ')[0]}/s")
    if live is not None and live.eta is not None:
        parts.append(f"{glyphs.duration(live.eta)} left")
    return parts


def why(facts: JobFacts, with_log: bool = True) -> Text:
    """Why it failed and how its log ends, or what became of its folder; empty for a job that is well."""
    text = Text(no_wrap=True, overflow="ellipsis")
    status = facts.status
    if facts.gone:
        text = Text(f"! {shown(_first(facts.gone))}", "bold yellow", no_wrap=False, overflow="fold")
    elif status is not None and status.state in ("failed", "lost"):
        message = (facts.error or status.reason or "no error message").strip().splitlines()
        first = message[0] if message else ""
        text.append(f"{'why' if status.state == 'failed' else 'lost'}: {shown(first)}", "bold red")
        for line in message[1:WHY_LINES]:
            text.append(f"\n     {shown(line)}", "red")
        ends = "" if not with_log else "; the log ends with" if facts.last else "; the log is empty"
        text.append(f"\nR retries from the checkpoint{ends}", "dim")
    else:
        return Text()
    for line in facts.last if with_log else ():
        text.append(f"\n| {line_shown(line)}")
    return text


def chart_note(facts: JobFacts, names: list[str], how: str) -> Text:
    """Which curves of how many, and how they are drawn."""
    if not facts.curves:
        stage = facts.status.stage if facts.status else ""
        words = "this stage reports no metrics, only progress" if stage == "generate" else "no metrics yet"
        return Text(words, "dim", no_wrap=True)
    listed = ", ".join(shown(name) for name in names) or "none chosen"
    parts = [listed, f"{len(names)} of {len(facts.curves)} (v chooses)", how]
    return Text(f" {glyphs.DOT} ".join(parts), "dim", no_wrap=True, overflow="ellipsis")


def spec(facts: JobFacts) -> Text:
    """What was asked, how it came to where it is, and what it ran in."""
    text = Text()
    for title, rows in (("Asked", facts.spec), ("Environment", facts.environment)):
        text.append(f"{title}\n", "bold")
        for name, value in rows or (("-", "nothing recorded yet"),):
            text.append(f"  {shown(name):<28} ", "dim")
            text.append(f"{line_shown(value)}\n")
        text.append("\n")
        if title == "Asked":
            text.append("History\n", "bold")
            for line in facts.history or ("no events yet",):
                text.append(f"  {shown(line)}\n")
            text.append("\n")
    return text


def link(found: Link) -> Text:
    """An artifact in a line."""
    kind = KINDS.get(found.kind, found.kind)
    state = "" if found.there else "  (missing)" if found.way != "makes" else "  (not made yet)"
    return Text.assemble((f"{WAYS[found.way]:<10}", "dim"), f"{kind:<15}", (found.id[:8], "bold"), (state, "yellow"))


def _first(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else ""


def _clock(moment: str) -> str:
    """A time as the user's clock has it."""
    try:
        return datetime.fromisoformat(moment).astimezone().strftime("%m-%d %H:%M")
    except ValueError:
        return shown(moment)
