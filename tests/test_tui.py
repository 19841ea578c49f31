"""The screen shows what the home holds."""

from __future__ import annotations

import asyncio

from textual.widgets import DataTable, Static

from datadream.jobs.home import Home
from tui.main import ComparisonApp


def test_an_empty_home_says_what_to_do(home: Home) -> None:
    async def look() -> tuple[int, str]:
        app = ComparisonApp(home)
        async with app.run_test(size=(80, 24)) as pilot:
            await app.workers.wait_for_complete()
            await pilot.pause()
            return app.query_one(DataTable).row_count, str(app.query_one("#notes", Static).render())

    count, text = asyncio.run(look())
    assert count == 0
    assert "datadream demo" in text
