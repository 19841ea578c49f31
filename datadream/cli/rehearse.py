"""`datadream rehearse`: jobs without models, to try slots, clusters and interruptions."""

from __future__ import annotations

from typing import Annotated

import typer

from datadream.cli.options import MOST_SEED, HomeOption, JsonOption, PriorityOption, QuietOption


def rehearse(
    jobs: Annotated[int, typer.Option(min=1, help="Number of jobs.")] = 1,
    steps: Annotated[int, typer.Option(min=1, help="Steps per job.")] = 100,
    step_seconds: Annotated[float, typer.Option(min=0, help="Seconds per step.")] = 0.01,
    checkpoint_steps: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")] = 1,
    size: Annotated[int, typer.Option(min=0, help="Bytes each job writes.")] = 0,
    children: Annotated[int, typer.Option(min=0, help="Child processes per job, like a data loader's.")] = 0,
    fail_at: Annotated[int, typer.Option(help="Step to fail at; -1: none.")] = -1,
    seed: Annotated[int, typer.Option(max=MOST_SEED, help="Seed; another seed makes other jobs.")] = 1,
    experiment: Annotated[str, typer.Option(help="Experiment to add the jobs to.")] = "",
    priority: PriorityOption = 0,
    max_attempts: Annotated[
        int, typer.Option(min=1, help="Attempts in a row without progress before a job fails.")
    ] = 3,
    launcher: Annotated[str, typer.Option(help="local; slurm, pbs or lsf need datadream[cluster].")] = "local",
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Queue the jobs and return immediately.")] = False,
    quiet: QuietOption = False,
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Queue dummy jobs that only count; slots, checkpoints and retries work as in real ones."""
    from datadream.cli.run import begin, follow_jobs
    from datadream.home.launchers import check_launcher
    from datadream.home.layout import open_home
    from datadream.home.spec import JobSpec
    from datadream.plans.enqueue import enqueue
    from datadream.stages.settings import RehearseSettings
    from datadream.text import json_text

    check_launcher(launcher)
    opened = open_home(home)
    settings = RehearseSettings(
        steps=steps,
        step_seconds=step_seconds,
        checkpoint_steps=checkpoint_steps,
        size=size,
        children=children,
        fail_at=fail_at,
    ).model_dump(mode="json")
    specs = [JobSpec(stage="rehearse", settings=settings, inputs={}, seed=seed + number) for number in range(jobs)]
    titles = {spec.id: f"rehearsal {spec.seed}" for spec in specs}
    queued = enqueue(
        opened,
        specs,
        titles,
        experiment=experiment,
        priority=priority,
        launcher=launcher,
        max_attempts=max_attempts,
    )
    watch = begin(opened, queued)
    if not detach:
        follow_jobs(opened, queued, quiet or json, watch=watch)
    if json:
        typer.echo(json_text({"jobs": queued}))
