"""Every screen as it looks: 80x24 and 120x40; dark, light and without colour. `pytest --snapshot-update` after a change.

The home is a real one (tests/tui/make_home.py), so every number and picture is of real jobs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from datadream.home.layout import Home
from tests.homes import unpack
from tests.tui.looking import SIZES, Looker
from tests.tui.make_home import TARGET
from tui.app import DataDreamApp
from tui.services import gpu, poller
from tui.services.snapshot import Device, Host

GIB = 1 << 30
KEYS: dict[str, tuple[str, ...]] = {
    "dashboard": ("1",),
    "jobs": ("2",),
    "job": ("1", "enter"),
    "sets": ("3",),
    "adapters": ("4",),
    "synth": ("5",),
    "gallery": ("5", "enter"),
    "runs": ("6",),
    "compare": ("7",),
    "against": ("7", "v"),
    "new": ("8",),
    "lineage": ("9",),
    "help": ("7", "question_mark"),
}
Snap = Callable[..., bool]


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archived home, unpacked; its registry is made by the first who looks."""
    folder = unpack(TARGET, tmp_path_factory.mktemp("kept") / "home")
    for place in ("queue", "runner", "slots"):
        (folder / place).mkdir()
    folder.chmod(0o700)
    return folder


@pytest.fixture(autouse=True)
def _same_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poller, "read_host", lambda path: Host(35, 9 * GIB, 64 * GIB, 310 * GIB, 900 * GIB))
    monkeypatch.setattr(gpu, "read_devices", lambda: (Device("H100", 97, 41 * GIB, 80 * GIB, 61, 512),))
    monkeypatch.setenv("TEXTUAL_THEME", "")
    monkeypatch.setenv("TZ", "UTC")


def walk(keys: tuple[str, ...]) -> Callable[[Pilot[Any]], Awaitable[None]]:
    """Press `keys`, each when the one before has had its effect, and wait until nothing changes any more."""

    async def go(pilot: Pilot[Any]) -> None:
        app = pilot.app
        assert isinstance(app, DataDreamApp)
        looker = Looker(app, pilot)
        await looker.see(lambda: bool(app.snapshot and app.snapshot.failures))
        for key in keys:
            await looker.press(key)
            await settle(looker)

    return go


async def settle(looker: Looker) -> None:
    """Wait until what is drawn has stood still for a while, with no question under way."""
    before, still = "", 0
    for _ in range(400):
        await asyncio.sleep(0.05)
        await looker.pilot.pause()
        text = looker.text()
        still = still + 1 if text == before and not looker.app.workers else 0
        before = text
        if still >= 5:
            return
    raise AssertionError("the screen does not come to rest")


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("look", ["dark", "light", "plain"])
@pytest.mark.parametrize("screen", KEYS)
def test_looks(
    snap_compare: Snap, kept: Path, screen: str, look: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    if look == "plain":
        monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TEXTUAL_THEME", "datadream-light" if look == "light" else "datadream-dark")
    app = DataDreamApp(Home(kept))
    assert snap_compare(app, terminal_size=size, run_before=walk(KEYS[screen]))
