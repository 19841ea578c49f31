"""Whose a checkpoint is: a job goes on only from its own, made from the very inputs it has now."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from datadream import durable
from datadream.home.layout import Home
from datadream.home.provenance import name_of
from datadream.home.spec import JobSpec
from datadream.stages.kept import OWNER, read_owner


def claim_checkpoint(home: Home, spec: JobSpec, origin: dict[str, Any]) -> Path:
    """The job's folder for checkpoints, marked as that of `spec` with the inputs and code of `origin`.

    What is there of another job or of other inputs is removed, and what was staged with it. What other code left is
    gone on from, as far as its form fits, and `origin` gets a list of that code. The job's log says either.
    """
    folder, staged = home.files(spec.id).checkpoint, home.staging(spec.kind, spec.id)
    old = read_owner(folder)
    mine = {"spec": spec.id, "inputs": origin["inputs"], "code": origin["code"]}
    if old and {"spec": old.get("spec"), "inputs": old.get("inputs")} != {"spec": spec.id, "inputs": origin["inputs"]}:
        whose = "from other inputs" if old.get("spec") == spec.id else f"from job {old.get('spec')}"
        _say(f"the checkpoint is {whose}: it is removed, and the job starts from the beginning")
        durable.remove_dir(folder)
        durable.remove_dir(staged)
        old = {}
    earlier = [code for code in _codes(old) if code != origin["code"]]
    if earlier:
        _say(f"resuming with {name_of(origin['code'])} from a checkpoint of {name_of(earlier[-1])}")
        origin["earlier_code"] = mine["earlier_code"] = earlier
    elif not old and (folder.is_dir() or staged.is_dir()):
        _say("checkpoint of an earlier version, without code and inputs; parts without a checksum are recomputed")
    durable.write_json(durable.make_dir(folder) / OWNER, mine)
    return folder


def _codes(owner: dict[str, Any]) -> list[dict[str, str]]:
    """The code of all attempts so far, oldest first."""
    found = [*(owner.get("earlier_code") or []), owner.get("code")]
    return [code for code in found if isinstance(code, dict) and code]


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
