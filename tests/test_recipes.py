"""Recipes parse, extend, and refuse what they don't know."""

from __future__ import annotations

from pathlib import Path

import pytest

from datadream.errors import UserError
from datadream.models.presets import Backbone, load_backbone
from datadream.recipes.recipe import built_in_names, check_overrides, load_recipe


def test_the_five_methods_are_there_in_order() -> None:
    assert built_in_names() == [
        "zero-shot",
        "real-only",
        "name-only",
        "real-guidance",
        "disef-start",
        "datadream-dset",
        "datadream-cls",
        "clip-filter",
    ]


def test_built_in_recipes_hold_the_papers_values() -> None:
    paper = load_backbone("sd2.1-base")
    recipe = load_recipe("datadream-cls", paper)
    assert recipe.adapt is not None
    assert recipe.generate is not None
    assert (recipe.adapt.per, recipe.adapt.rank, recipe.adapt.epochs, recipe.adapt.batch_size) == ("class", 16, 200, 8)
    assert recipe.adapt.learning_rate == 1e-4
    assert recipe.adapt.targets == ("q", "k", "v", "out")
    generate = recipe.generate
    assert (generate.images_per_class, generate.num_inference_steps, generate.guidance_scale) == (500, 50, 2.0)
    assert recipe.classify.real_weight == 0.8
    assert (recipe.classify.rank, recipe.classify.alpha, recipe.classify.targets) == (16, 32.0, ("q", "v"))


def test_cls_and_dset_take_the_same_steps_in_all() -> None:
    paper = load_backbone("sd2.1-base")
    dset, cls = (load_recipe(f"datadream-{per}", paper).adapt for per in ("dset", "cls"))
    assert dset is not None
    assert cls is not None
    for shots, classes in ((16, 10), (4, 37), (1, 100), (16, 1000)):
        assert sum(cls.steps_of(shots, classes)) == dset.steps_of(shots, classes)[0] or shots * classes < classes
    assert dset.steps_of(16, 10) == [4000]  # 200 epochs of 160 images in batches of 8
    assert cls.steps_of(16, 10) == [400] * 10


def test_layers_lie_over_each_other_in_the_documented_order(tmp_path: Path, mini: Backbone) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text('extends = "datadream-dset"\n[adapt]\nlearning_rate = 0.5\n[generate]\nguidance_scale = 4.0\n')
    recipe = load_recipe(str(mine), mini, ["generate.guidance_scale=3"])
    assert recipe.name == "mine"
    assert recipe.adapt is not None
    assert recipe.generate is not None
    assert recipe.adapt.learning_rate == 0.5  # the user's over the backbone's
    assert recipe.adapt.steps == mini.defaults["adapt"]["steps"]  # the backbone's over the paper's
    assert recipe.adapt.rank == 16  # the paper's
    assert recipe.generate.guidance_scale == 3
    assert recipe.label == "generate.guidance_scale=3.0"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('extends = "datadream-dset"\n[adapt]\nranks = 3', "unknown key 'adapt.ranks'.*did you mean 'rank'"),
        ('extends = "datadream-dse"', "no recipe .*did you mean 'datadream-dset'"),
        ('extends = "mine.toml"', "extends itself"),
        ("[adapt", "not valid TOML"),
        ('extends = "real-only"\n[classify]\nreal_weight = 1.5', "classify.real_weight.*less than or equal to 1"),
        ('extends = "real-only"\ndata = ["synth"]', r"needs a \[generate\] section"),
        ('extends = "real-only"\nabuot = "x"', "unknown key 'abuot'.*'about'"),
    ],
)
def test_a_bad_recipe_is_refused_in_one_sentence(tmp_path: Path, mini: Backbone, content: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        load_recipe(str(path), mini)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("generate.guidance=3", "did you mean 'guidance_scale'"),
        ("generat.guidance_scale=3", "did you mean 'generate'"),
        ("guidance_scale", "use section.key=value"),
        ("generate.guidance_scale=much", "valid number"),
    ],
)
def test_a_bad_override_is_refused(mini: Backbone, override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_recipe("name-only", mini, [override])


def test_an_override_that_no_recipe_takes_is_refused(mini: Backbone) -> None:
    override = ["adapt.rank=4"]
    with pytest.raises(UserError, match="none of these recipes"):
        check_overrides(override, [load_recipe("real-only", mini, override)])


def test_an_unknown_recipe_names_the_nearest(mini: Backbone) -> None:
    with pytest.raises(UserError, match="did you mean 'real-only'"):
        load_recipe("real-onyl", mini)
