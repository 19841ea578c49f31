"""What was chosen on the screens is kept, whoever else writes, and a damaged file is put aside and told."""

from __future__ import annotations

import asyncio
import json

import pytest

from datadream.home.layout import Home
from tests.tui.looking import looking
from tui.terminal.prefs import Prefs


def test_two_apps_and_an_editor_keep_each_others_choices(home: Home) -> None:
    one, two = Prefs(home), Prefs(home)
    one.set("columns", {"runs": ["id"]})
    one.close()
    two.set("theme", "x")
    two.close()
    path = home.path / "tui.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "keys": {"app.quit": "Q"}}))
    one.set("notify", "bell")
    one.close()
    found = json.loads(path.read_text())
    assert found == {"columns": {"runs": ["id"]}, "theme": "x", "keys": {"app.quit": "Q"}, "notify": "bell"}


@pytest.mark.parametrize("text", ['{"keys": {"app.quit": "Q"},}', "[" * 100_000, "[]"])
def test_a_damaged_file_is_put_aside_and_told(text: str, home: Home) -> None:
    (home.path / "tui.json").write_text(text)

    async def walk() -> None:
        async with looking(home) as looker:
            await looker.see("tui.json is damaged and ignored; kept as tui.json.damaged")
            await looker.press("T")
            looker.app.prefs.close()

    asyncio.run(walk())
    assert (home.path / "tui.json.damaged").read_text() == text
    assert set(json.loads((home.path / "tui.json").read_text())) == {"theme"}
