"""Which of this shell's settings jobs that it asks for won't have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from datadream.home import state, variables
from datadream.home.layout import Home
from datadream.jobs import leader

LISTED = 3


def losses(home: Home, job_ids: Sequence[str]) -> list[str]:
    """A sentence for each kind of loss: what the home's runner wasn't started with, and jobs that were asked for before
    with other settings, which they keep. To be asked when there is a runner.
    """
    found = []
    theirs = leader.note(home).get("noted")
    missing = [name for name in variables.noted() if name not in theirs] if isinstance(theirs, list) else []
    if job_ids and missing and leader.is_led(home):
        be, it = ("is", "it") if len(missing) == 1 else ("are", "them")
        found.append(
            f"{', '.join(missing)} {be} set here, but not in the runner or its jobs: "
            f"`datadream queue restart` passes {it} on"
        )
    ours = variables.kept()
    others = {}
    for job_id in job_ids:
        asked = state.read_request(home, job_id).environment
        if asked is not None and (told := differences(asked, ours)):
            others[job_id] = told
    if others:
        listed = "; ".join(f"{job_id[:8]} {told}" for job_id, told in list(others.items())[:LISTED])
        more = f" and {len(others) - LISTED} more" if len(others) > LISTED else ""
        found.append(f"already queued with other settings, which are kept: {listed}{more}")
    return found


def differences(asked: Mapping[str, str], ours: Mapping[str, str]) -> str:
    """Settings of a request that differ from `ours`, as `NAME=1 (here 2)`; "" for none."""
    names = sorted(name for name in {*asked, *ours} if asked.get(name) != ours.get(name))
    return ", ".join(f"{name}={_value(asked, name)} (here {_value(ours, name)})" for name in names)


def _value(environment: Mapping[str, str], name: str) -> str:
    return (environment[name] or "''") if name in environment else "not set"
