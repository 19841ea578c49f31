"""`datadream worker`: run jobs by hand, or as the runner's child."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from datadream.cli.options import read_path


def worker(
    jobs: Annotated[list[str] | None, typer.Argument(help="Job ids or folders, inputs first.")] = None,
    home: Annotated[Path | None, typer.Option("--home", parser=read_path, metavar="PATH", help="Home folder.")] = None,
    attempt: Annotated[int | None, typer.Option(help="Attempt claimed by the runner.")] = None,
    feed: Annotated[bool, typer.Option("--feed", help="Read `JOB ATTEMPT` lines from standard input.")] = False,
    told: Annotated[int | None, typer.Option(help="File descriptor to report `JOB STATUS` on.")] = None,
) -> None:
    """Run existing jobs; exit at the first failure."""
    from datadream.errors import UserError
    from datadream.home.layout import open_home
    from datadream.jobs.worker import Turn, Worker, fed

    opened = open_home(home)
    ids = [Path(job).name for job in jobs or []]
    if bool(ids) == feed:
        raise UserError(
            "no jobs given", hint="give job ids, or --feed with one `JOB ATTEMPT` line each on standard input"
        )
    for job_id in ids:
        if not opened.files(job_id).spec.is_file():
            raise UserError(f"no job {job_id}", at=opened.path / "jobs", hint="give the name of a folder there")
    turns = fed() if feed else [Turn(job_id, attempt) for job_id in ids]
    raise typer.Exit(Worker(opened, told).work(turns))
