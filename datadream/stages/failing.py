"""A number that is not finite ends a stage at once: what it is, where, and which settings aren't as shipped."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from datadream.errors import UserError
from datadream.models.presets import preset_values
from datadream.stages.settings import Settings
from datadream.stages.table import name_of

RECIPES = Path(__file__).parent.parent / "recipes"
LISTED_MAX = 5
HARMLESS = {
    "steps",
    "epochs",
    "batch_size",
    "epoch_images",
    "images_per_class",
    "num_inference_steps",
    "warmup_steps",
    "warmup",
}


def not_finite(what: str, where: str, settings: Settings) -> UserError:
    """`what` (as "the loss") is NaN or infinite `where` (as "at step 3 of 10, class 'cat'", or "")."""
    section = name_of(settings)
    found = departures(settings)
    message = f"{section} stopped: {what} is not finite {where}".rstrip()
    if not found:
        hint = "the settings are the defaults: check the model's weights and the images; nothing of this job is kept"
        return UserError(message, hint=hint)
    texts = [
        f"{section}.{key} is {_text(value)}, default {' or '.join(map(_text, known))}" for key, value, known in found
    ]
    rest = f" and {len(texts) - LISTED_MAX} more" if len(texts) > LISTED_MAX else ""
    rate = next((key for key, value, known in found if key == "learning_rate" and value > max(known)), None)
    hint = f"lower {section}.{rate}" if rate else "restore the default"
    return UserError(f"{message}; {'; '.join(texts[:LISTED_MAX])}{rest}", hint=f"{hint}; nothing of this job is kept")


def departures(settings: Settings) -> list[tuple[str, Any, list[Any]]]:
    """(key, value, shipped values) of each numeric setting that has neither the paper's value nor a backbone's or a
    built-in recipe's.

    Left out are counts of steps and images, which make nothing diverge. The learning rate comes first.
    """
    section = name_of(settings)
    shipped = [*preset_values(section).values(), *_recipe_values(section)]
    found = []
    for key, field in type(settings).model_fields.items():
        value = getattr(settings, key)
        known = [field.default, *(values[key] for values in shipped if key in values)]
        numeric = isinstance(value, int | float) and not isinstance(value, bool)
        if numeric and key not in HARMLESS and value not in known:
            found.append((key, value, list(dict.fromkeys(known))))
    return sorted(found, key=lambda entry: entry[0] != "learning_rate")


def _recipe_values(section: str) -> list[dict[str, Any]]:
    """What each built-in recipe says in this section; their module reads settings, so this reads their files."""
    found = (tomllib.loads(path.read_text(encoding="utf-8")) for path in sorted(RECIPES.glob("*.toml")))
    return [dict(recipe[section]) for recipe in found if section in recipe]


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
