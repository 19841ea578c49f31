"""`datadream worker`: run jobs by hand, or as the runner's child."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def worker(
    jobs: Annotated[list[str], typer.Argument(help="Job ids (or job folders), inputs before their users.")],
    home: Annotated[Path | None, typer.Option("--home", help="The home they lie in.")] = None,
) -> None:
    """Run jobs whose folders exist; leaves at the first failure."""
    from datadream.errors import UserError
    from datadream.jobs.home import open_home
    from datadream.jobs.worker import work

    opened = open_home(home)
    ids = [Path(job).name for job in jobs]
    for job_id in ids:
        if not (opened.job(job_id) / "spec.json").is_file():
            raise UserError(f"no job {job_id}", at=opened.path / "jobs", hint="give the name of a folder in there")
    raise typer.Exit(work(opened, ids))
