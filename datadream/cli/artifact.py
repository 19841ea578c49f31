"""`datadream adapter`, `synth`, `classifier`, `runs`: what was made, and from what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from datadream.cli import complete
from datadream.cli.listing import add_list, registry_of
from datadream.cli.marks import add_marks
from datadream.cli.options import HomeOption, JsonOption

if TYPE_CHECKING:
    from datadream.home.layout import Home
    from store.registry import Registry

SHOWN = {
    "adapter": ("id", "per", "rank", "shots", "seed", "set", "created", "bytes", "tags"),
    "synth": ("id", "adapter", "images_per_class", "num_classes", "guidance_scale", "seed", "created", "bytes", "tags"),
    "classifier": ("id", "accuracy", "data", "split", "correct", "total", "seed", "synth", "created", "tags"),
    "run": ("id", "state", "method", "data", "shots", "seed", "accuracy", "source", "settings", "ended", "tags"),
}
KINDS = {"adapter": "adapter", "synth": "synthetic", "classifier": "classifier", "set": "set"}


def noun_app(noun: str, about: str, completion: complete.Complete, empty: str) -> typer.Typer:
    """`ls` and `show` of one noun."""
    app = typer.Typer(no_args_is_help=True, help=about)
    argument = typer.Argument(metavar="ID", help="Id, or a unique prefix of it.", autocompletion=completion)

    add_list(app, noun, SHOWN[noun], "List, newest first.", empty)

    @app.command(help="Show details, inputs and uses.")
    def show(
        id_: str = argument,
        json: JsonOption = False,
        home: HomeOption = None,
    ) -> None:
        from datadream.home.layout import open_home
        from datadream.text import json_text
        from store import queries

        opened = open_home(home)
        registry = registry_of(opened)
        try:
            _, found = queries.resolve(registry, id_, [noun])
            content = describe(opened, registry, noun, found)
        finally:
            registry.close()
        if json:
            typer.echo(json_text(content, indent=2))
        else:
            _print(content)

    return app


def describe(home: Home, registry: Registry, noun: str, found: str) -> dict[str, Any]:
    """All that is known of one thing: its row, its record or manifest, lineage both ways, tags and note."""
    from datadream import records
    from datadream.home import state
    from datadream.home.labels import labels_to_show
    from store import queries
    from store.where import Condition

    row = queries.page(registry, noun, [Condition("id", "=", found)], limit=1)[0]
    content: dict[str, Any] = {**row, "note": labels_to_show(home, found).note}
    if noun == "run":
        content["record"] = state.read_dict(home.run(found))
        return content
    folder = home.path / "artifacts" / KINDS[noun] / found
    manifest = state.read_dict(folder / "manifest.json", records.LISTS_BYTES) or {}
    content |= {name: manifest.get(name) for name in ("spec", "origin", "files", "content")}
    content["folder"] = str(folder)
    return content | queries.lineage(registry, found)


def _print(content: dict[str, Any]) -> None:
    from datadream.text import IDS, cell, shown

    for name, value in content.items():
        if name == "files" and value:
            typer.echo(f"{'files':<20} {len(value)}")
        elif name in ("ancestors", "descendants", "runs") and isinstance(value, list):
            for entry in value:
                words = " ".join(f"{entry[key]}" for key in entry if key not in ("depth", "id", "present"))
                typer.echo(shown(f"{name[:-1]:<20} {entry['id']}  {words}"))
        elif isinstance(value, dict):
            for key, part in value.items():
                typer.echo(shown(f"{name + '.' + str(key):<20} {str(part)[:200]}"))
        elif value not in (None, "", []):
            text = shown(str(value)) if name in IDS else cell(name, value)
            typer.echo(f"{name:<20} {text}")


adapters = noun_app(
    "adapter",
    "Adapters: LoRA weights trained on the shots.",
    complete.adapters,
    "no adapters yet: `datadream run datadream-dset ...` makes one",
)
synthetics = noun_app(
    "synth",
    "Synthetic sets: generated images.",
    complete.synthetics,
    "no synthetic sets yet: `datadream run name-only ...` makes one",
)
add_marks(synthetics)
classifiers = noun_app(
    "classifier",
    "Classifiers and their accuracy.",
    complete.classifiers,
    "no classifiers yet: `datadream run real-only ...` makes one",
)
runs = noun_app(
    "run",
    "Runs: one accuracy each.",
    complete.runs,
    "no runs yet: `datadream run real-only --source digits --shots 4` makes one",
)
