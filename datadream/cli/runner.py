"""`datadream runner`: the scheduler itself, started by whoever queues something."""

from __future__ import annotations

from typing import Annotated

import typer

from datadream.cli.options import HomeOption


def runner(
    home: HomeOption = None,
    idle_seconds: Annotated[float, typer.Option(help="Exit after this many idle seconds.")] = 5.0,
) -> None:
    """Run the queue until it is empty; exit if another runner is active."""
    import sys

    from datadream.home.layout import open_home
    from datadream.home.provenance import Masked
    from datadream.jobs.runner import run, stop_on_signals

    sys.stdout, sys.stderr = Masked(sys.stdout), Masked(sys.stderr)  # type: ignore[assignment] # into the runner's log
    stop_on_signals()
    run(open_home(home), idle_seconds=idle_seconds)
