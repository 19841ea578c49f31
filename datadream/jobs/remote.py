"""Jobs that a cluster runs: the same folders, submitted as a command, known by their native id after our death too."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from datadream import durable
from datadream.jobs import identity, state
from datadream.jobs.home import Home
from datadream.jobs.leader import Leadership
from datadream.jobs.state import Status

if TYPE_CHECKING:
    from datadream.jobs.launchers import Remote

POLL_SECONDS = 5.0  # the job's own folder is looked at far more often, and knows first
NATIVE = "native.json"


class Remotes:
    """The clusters' jobs of one home, as its runner sees them."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._launchers: dict[str, Remote] = {}
        self._polled: dict[str, float] = {}
        self._states: dict[str, dict[str, str]] = {}

    def start(self, status: Status, leadership: Leadership) -> None:
        """Claim the next attempt and submit it. Raises UserError when its cluster can't be asked or doesn't take it."""
        from datadream.jobs.launchers import resources_for

        if not leadership.holds():
            return
        remote = self._launcher(status.launcher)
        asked = state.read_request(self._home, status.id).resources
        resources = resources_for(self._home, status.launcher, status.stage, asked)
        number = status.attempts + 1
        note = {"slot": status.launcher, "launcher": status.launcher, "epoch": leadership.epoch}
        if not state.claim(self._home, status.id, number, note):
            return
        native = remote.submit(self._home.path, status.id, number, resources, status.title)
        written: dict[str, object] = {"launcher": status.launcher, "native": native, "attempt": number}
        written["home"] = identity.place(self._home.path)
        durable.write_json(self._home.job(status.id) / NATIVE, written)
        # Else a refusal, said before, would be the reason for as long as it waits.
        retries = state.read_control(self._home, status.id).retries
        reason = f"waits in {status.launcher} as {native}"
        state.write_history(self._home, status.id, "queued", reason, number, retries=retries)
        self._polled.pop(status.launcher, None)

    def settle(self, status: Status) -> Status:
        """What the cluster says of an attempt that isn't running: still coming, or lost. A cancelled one goes."""
        if status.state not in ("queued", "cancelled") or not status.native:
            return status
        if status.state == "cancelled":
            self.cancel(status)
            return status
        if self._poll(status.launcher, status.native) == "gone":
            fresh = state.derive(self._home, status.id)  # it may have ended since
            if fresh.state == "queued" and fresh.native == status.native:
                return replace(fresh, state="lost", reason=f"{status.launcher} no longer knows its job {status.native}")
            return fresh
        return status

    def cancel(self, status: Status) -> None:
        """Ask the cluster to end it; its worker keeps the checkpoint."""
        native = state.read_native(self._home.job(status.id), status.attempts)
        if native and self._poll(status.launcher, native) != "gone":
            self._launcher(status.launcher).cancel(native)

    def _poll(self, launcher: str, native: str) -> str:
        """`pending`, `running` or `gone`."""
        known = self._states.setdefault(launcher, {})
        if native not in known or time.monotonic() - self._polled.get(launcher, -POLL_SECONDS) >= POLL_SECONDS:
            known.setdefault(native, "pending")
            self._states[launcher] = known = dict(self._launcher(launcher).poll(list(known)))
            self._polled[launcher] = time.monotonic()
        return known.get(native, "gone")

    def _launcher(self, name: str) -> Remote:
        from datadream.jobs.launchers import launcher

        if name not in self._launchers:
            self._launchers[name] = launcher(name, self._home)
        return self._launchers[name]
