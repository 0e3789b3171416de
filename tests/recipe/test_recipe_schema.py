"""Recipes: sections are checked, overrides land where they point, shipped ones are whole."""

import pytest

from pellucid.errors import RecipeError
from pellucid.recipe import (
    Recipe,
    apply_overrides,
    dump_yaml,
    load_recipe,
    parse_yaml,
    recipe_names,
    shipped_recipe,
)

NODE = {
    "name": "tiny",
    "data": {"kind": "images", "path": "photos"},
    "encoder": {"kind": "residual", "width": 8},
    "bottleneck": {"kind": "vq", "codes": 64, "commitment": 0.5},
    "decoder": {"kind": "residual"},
    "objective": {"l1": {"weight": 1.0}},
}


@pytest.fixture
def recipe():
    return Recipe.from_node(NODE)


def test_a_recipe_survives_its_own_yaml(recipe):
    assert Recipe.from_node(parse_yaml(dump_yaml(recipe.to_node()))) == recipe


def test_a_misspelt_section_names_the_nearest():
    with pytest.raises(RecipeError, match=r"unknown recipe section 'bottlneck'[\s\S]*'bottleneck'"):
        Recipe.from_node({**NODE, "bottlneck": {}})


def test_a_missing_section_is_named():
    node = {key: value for key, value in NODE.items() if key != "decoder"}
    with pytest.raises(RecipeError, match="lacks 'decoder'"):
        Recipe.from_node(node)


@pytest.mark.parametrize("name", ["", "../up", "a/b", "-x", " "])
def test_a_name_cannot_leave_the_runs_folder(name):
    with pytest.raises(RecipeError, match="'name'"):
        Recipe.from_node({**NODE, "name": name})


def test_overrides_set_nested_values_with_their_types(recipe):
    changed = apply_overrides(
        recipe, ["bottleneck.codes=128", "training.learning_rate=1e-4", "data.flip=false", "seed=7"]
    )
    assert changed.bottleneck["codes"] == 128
    assert changed.training == {"learning_rate": 1e-4}
    assert changed.data["flip"] is False
    assert changed.seed == 7
    assert recipe.bottleneck["codes"] == 64, "the start is not changed"


def test_sections_are_laid_over(recipe):
    changed = apply_overrides(recipe, sections={"data": {"path": "other"}, "seed": 3})
    assert changed.data == {"kind": "images", "path": "other"}
    assert changed.seed == 3


@pytest.mark.parametrize("order", [1, -1])
def test_another_kind_starts_empty_whatever_the_order(recipe, order):
    texts = ["bottleneck.kind=fsq", "bottleneck.levels=[5,5]"][::order]
    assert apply_overrides(recipe, texts).bottleneck == {"kind": "fsq", "levels": [5, 5]}


def test_the_same_kind_keeps_its_keywords(recipe):
    assert apply_overrides(recipe, ["bottleneck.kind=vq"]).bottleneck == NODE["bottleneck"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("training.steps", "cannot read an override"),
        ("=3", "cannot read an override"),
        ("trainig.steps=3", r"did you mean 'training'"),
        ("encoder.width.x=3", r"'encoder\.width' is a value"),
        ("data.path=[1", "not valid YAML"),
    ],
)
def test_a_wrong_override_says_what_is_wrong(recipe, text, message):
    with pytest.raises(RecipeError, match=message):
        apply_overrides(recipe, [text])


def test_a_misspelt_recipe_names_the_nearest():
    with pytest.raises(RecipeError, match=r"unknown recipe 'photo-vq'[\s\S]*'photos-vq'"):
        load_recipe("photo-vq")


def test_a_recipe_file_that_is_missing_says_so(tmp_path):
    with pytest.raises(RecipeError, match="cannot read the recipe file"):
        load_recipe(tmp_path / "mine.yaml")


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipes_load_and_state_command_cost_and_score(name):
    shipped = shipped_recipe(name)
    assert load_recipe(name).name == name
    assert shipped.summary
    for field in ("command", "cost", "score"):
        assert getattr(shipped, field), f"the header of {name} does not state its {field}"
        assert "not measured" not in getattr(shipped, field)
