"""`datadream recipe`: list and show methods."""

from __future__ import annotations

from typing import Annotated

import typer

from datadream.cli.options import BackboneOption, ClipOption, DiffusionOption, JsonOption, OverrideOption
from datadream.text import shown

app = typer.Typer(no_args_is_help=True, help="Recipes: a method's settings.")


@app.command("ls")
def list_(json: JsonOption = False, backbone: BackboneOption = "mini") -> None:
    """List the built-in recipes."""
    from datadream.models.presets import load_backbone
    from datadream.recipes.recipe import built_in_names, load_recipe
    from datadream.text import json_text

    loaded = load_backbone(backbone)
    recipes = [load_recipe(name, loaded) for name in built_in_names()]
    if json:
        rows = [{"name": recipe.name, "about": recipe.about, "data": list(recipe.data)} for recipe in recipes]
        typer.echo(json_text(rows, indent=2))
        return
    for recipe in recipes:
        typer.echo(shown(f"{recipe.name:<15} {recipe.about}"))


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Recipe: name, or a .toml file.")],
    backbone: BackboneOption = "mini",
    diffusion: DiffusionOption = None,
    clip: ClipOption = None,
    override: OverrideOption = None,
    json: JsonOption = False,
) -> None:
    """Show all settings of a recipe for a backbone."""
    from datadream.models.presets import load_backbone
    from datadream.recipes.recipe import SECTIONS, check_overrides, load_recipe
    from datadream.text import json_text

    loaded = load_backbone(backbone, diffusion, clip)
    if loaded.given:
        from datadream.plans.request import settled

        loaded, notes = settled(loaded, [name], override or [], dry=True)
        for said in notes:
            typer.echo(shown(said), err=True)
    recipe = load_recipe(name, loaded, override or [])
    check_overrides(override or [], [recipe])
    content = recipe.model_dump(mode="json", exclude={"overrides", "file"})
    if json:
        typer.echo(json_text(content, indent=2))
        return
    typer.echo(shown(f"{recipe.name} on {loaded.name}: {recipe.about}"))
    typer.echo(f"data = {', '.join(recipe.data)}")
    for section, model in SECTIONS.items():
        if content[section] is not None:
            typer.echo(f"\n[{section}]")
            for key, value in content[section].items():
                note = model.model_fields[key].description
                typer.echo(f"{key} = {json_text(value)}" + (f"  # {note}" if note else ""))
