"""Where the locale has no Unicode, nothing else than ASCII is drawn."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tui.ascii_only import ascii_of

ROOT = Path(__file__).parents[2]


@given(st.text(st.sampled_from("aé…─│█▁±≈字🔎\u0301‮ ")))
def test_ascii_takes_as_many_cells(text: str) -> None:
    assert ascii_of(text).isascii()
    assert cell_len(ascii_of(text)) == sum(map(cell_len, text))


def test_no_unicode_locale_draws_ascii(ran: Path) -> None:
    """Every screen, the palette, help, toasts and scrollbars: nothing that the terminal can't show."""
    code = """
import asyncio, sys
from pathlib import Path
from tests.tui.looking import looking

def check(looker, where):
    odd = sorted({sign for line in looker.lines() for sign in line if not sign.isascii()})
    assert not odd, (where, odd, [line for line in looker.lines() if not line.isascii()][:3])

async def walk(size):
    async with looking(Path(sys.argv[1]), size) as looker:
        await looker.see("+ done")
        for key in "123456789":
            await looker.press(key)
            await asyncio.sleep(0.3)
            await looker.pilot.pause()
            check(looker, key)
        for key in ("question_mark", "at", "colon"):
            await looker.press(key)
            await asyncio.sleep(0.3)
            await looker.pilot.pause()
            check(looker, key)
            await looker.press("escape")
        looker.app.say("a toast")
        await looker.pilot.pause(0.3)
        check(looker, "toast")
        for mode, key in (("2", "enter"), ("5", "enter"), ("6", "enter")):
            await looker.press(mode)
            await asyncio.sleep(0.5)
            await looker.press(key)
            await asyncio.sleep(0.8)
            await looker.pilot.pause()
            check(looker, mode + key)
            await looker.press("escape")

asyncio.run(walk((100, 30)))
"""
    environment = {**{k: v for k, v in os.environ.items() if not k.startswith("LC_")}, "LANG": "C"}
    result = subprocess.run(
        [sys.executable, "-c", code, str(ran)], capture_output=True, text=True, cwd=ROOT, env=environment, check=False
    )
    assert result.returncode == 0, result.stderr
