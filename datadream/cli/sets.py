"""`datadream set`: make, list and show few-shot sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from datadream.cli import complete
from datadream.cli.listing import add_list
from datadream.cli.options import MOST_SEED, HomeOption, JsonOption
from datadream.text import json_text, shown

if TYPE_CHECKING:
    from datadream.home.sets import NamedSet

app = typer.Typer(no_args_is_help=True, help="Few-shot sets: the frozen images that a method may see.")


@app.command()
def make(
    source: Annotated[
        str, typer.Argument(help="digits, or a folder of images: ROOT/<class>/* or ROOT/{train,val,test}/<class>/*.")
    ],
    shots: Annotated[int, typer.Option(help="Shots (real images) per class.")] = 16,
    seed: Annotated[int, typer.Option(max=MOST_SEED, help="Seed of the draw.")] = 1,
    split_seed: Annotated[
        int, typer.Option(max=MOST_SEED, help="Seed of the split, for a folder without one; the same for all draws.")
    ] = 0,
    name: Annotated[str | None, typer.Option(help="Name of the set.")] = None,
    check_all: Annotated[
        bool,
        typer.Option("--check-all/--check-used", help="Decode all images of the source, or only those in the set."),
    ] = True,
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Draw and freeze a few-shot set."""
    from datadream.home.layout import open_home
    from datadream.home.sets import Check, make_set, told_of, warnings_of

    opened = open_home(home)
    check: Check = "all" if check_all else "used"
    made = make_set(opened, source, shots, seed, split_seed=split_seed, name=name, check=check)
    if json:
        _print_json({**_summary(made), "warnings": warnings_of(opened, made.id)})
    else:
        typer.echo(f"{shown(made.name)}  {_sentence(made)}  {made.id}")
    for line in told_of(opened, [made]):
        typer.echo(shown(line), err=True)


add_list(
    app,
    "set",
    ("name", "source", "shots", "seed", "classes", "train", "val", "test", "id", "tags"),
    "List few-shot sets.",
    "no sets yet: `datadream set make digits --shots 4 --seed 1` makes one",
    by="name",
)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Set: name, or id prefix.", autocompletion=complete.sets)],
    json: JsonOption = False,
    home: HomeOption = None,
) -> None:
    """Show a set: classes, prompts, images."""
    from datadream.home.layout import open_home
    from datadream.home.sets import find_set, warnings_of

    opened = open_home(home)
    found = find_set(opened, name)
    warnings = warnings_of(opened, found.id)
    if json:
        content = found.shots.model_dump(mode="json", exclude={"name"})
        _print_json({**_summary(found), **content, "warnings": warnings})
        return
    typer.echo(f"{shown(found.name)}  {_sentence(found)}  {found.id}")
    typer.echo(
        f"source {shown(str(found.shots.source))}  split seed {found.shots.split_seed}  sampler {found.shots.sampler}"
    )
    for label, (class_, prompt) in enumerate(zip(found.shots.classes, found.shots.prompts, strict=True)):
        keys = [ref.key for ref in found.shots.train if ref.label == label]
        typer.echo(shown(f"  {class_.name}: “{prompt}”: {', '.join(keys)}"))
    for text in warnings:
        typer.echo(shown(f"warning: {text}"))


def _summary(entry: NamedSet) -> dict[str, Any]:
    shots = entry.shots
    return {
        "name": entry.name,
        "id": entry.id,
        "source": shots.source,
        "shots": shots.shots,
        "seed": shots.seed,
        "split_seed": shots.split_seed,
        "classes": len(shots.classes),
        "train": len(shots.train),
        "val": len(shots.val),
        "test": len(shots.test),
    }


def _sentence(entry: NamedSet) -> str:
    from datadream.text import counted

    shots = entry.shots
    return (
        f"{counted(len(shots.classes), 'class')}, {counted(shots.shots, 'shot')}, seed {shots.seed}, "
        f"{len(shots.val)} val and {len(shots.test)} test images"
    )


def _print_json(value: Any) -> None:
    typer.echo(json_text(value, indent=2))
