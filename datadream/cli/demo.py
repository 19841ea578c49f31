"""`datadream demo`: the paper's comparison on real handwriting, computed here, in minutes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from datadream.cli.options import HomeOption, QuietOption, numbers, read_path
from datadream.text import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from datadream.home.layout import Home
    from datadream.home.runs import Run

PICTURED = ("name-only", "datadream-dset", "datadream-cls")
PER_CLASS = 4  # images a cell of the picture


def demo(
    shots: Annotated[str, typer.Option(help="Shots per class, e.g. 1,4,16.")] = "4",
    seeds: Annotated[str, typer.Option(help="Seeds, e.g. 1,5,10.")] = "1",
    json: Annotated[
        Path | None,
        typer.Option("--json", parser=read_path, metavar="PATH", help="Write the rows to this file as JSON."),
    ] = None,
    quiet: QuietOption = False,
    home: HomeOption = None,
) -> None:
    """Zero-shot, real-only, name-only, DataDream dset and cls on the built-in handwritten digits."""
    from datadream.cli.compare import print_table, write_json_rows
    from datadream.cli.run import begin, follow_jobs, print_told
    from datadream.errors import UserError
    from datadream.home.layout import open_home
    from datadream.plans import ask
    from datadream.plans import request as requests

    request = requests.demo_request(numbers(shots, "--shots", 1), numbers(seeds, "--seeds", 0))
    if json is not None and not json.absolute().parent.is_dir():
        raise UserError("--json: no such folder", at=json, hint="create the folder first, or choose another path")
    opened = open_home(home)
    planned = ask.plan(opened, request)
    runs = planned.runs
    told = ask.told(opened, planned)
    print_told(told)
    jobs = ask.submit(opened, planned)
    follow_jobs(opened, jobs, quiet, watch=begin(opened, jobs), told=told)
    ids = {run.id for run in runs}
    print_table(opened, ids, "table")
    first = [run for run in runs if run.set.id == runs[0].set.id]
    picture = draw_samples(opened, first, opened.path / "demo-samples.png")
    if json is not None:
        write_json_rows(opened, ids, json)
        typer.echo(shown(f"rows: {json}"))
    typer.echo(shown(f"picture: {picture}  (real shots above what each generator drew, by class)"))
    typer.echo("next:")
    typer.echo("  datadream demo --shots 1,4,16 --seeds 1,5,10     more shots and seeds, with deviations")
    typer.echo("  datadream set make FOLDER --shots 4 --name mine  freeze shots of your own images")
    typer.echo(
        "  datadream run real-only datadream-dset --set mine --backbone sd2.1-base   on a GPU, at the paper's size"
    )


def draw_samples(home: Home, runs: Sequence[Run], path: Path) -> Path:
    """One PNG grid: the real shots of a set above each generator's images, by class."""
    import io

    from PIL import Image

    from datadream import durable
    from datadream.data.shots import open_shots
    from datadream.report.figures import sample_grid
    from datadream.text import counted

    shots = runs[0].set.shots
    real: list[list[Image.Image]] = [[] for _ in shots.classes]
    for ref, image in open_shots(shots, "train"):
        if len(real[ref.label]) < PER_CLASS:
            real[ref.label].append(image)
    sections = [(f"real, {counted(shots.shots, 'shot')}", real)]
    for method in PICTURED:
        spec = next(run.jobs["generate"] for run in runs if run.recipe.name == method)
        folder = home.artifact("synthetic", spec.id) / "data" / "train"
        drawn = []
        for name in spec.image_folders:
            files = sorted((folder / name).glob("*.png"))[:PER_CLASS]
            drawn.append([Image.open(file).convert("RGB") for file in files])
        sections.append((method, drawn))
    buffer = io.BytesIO()
    names = [class_.name for class_ in shots.classes]
    sample_grid(names, sections, per_class=PER_CLASS).save(buffer, format="PNG")
    durable.write_bytes(path, buffer.getvalue())
    return path
