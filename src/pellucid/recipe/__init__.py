"""Recipes: the one YAML that says everything about a run."""

from pellucid.recipe.overrides import apply_overrides
from pellucid.recipe.schema import Recipe
from pellucid.recipe.shipped import load_recipe, recipe_names, shipped_recipe
from pellucid.recipe.text import dump_yaml, parse_yaml

__all__ = [
    "Recipe",
    "apply_overrides",
    "dump_yaml",
    "load_recipe",
    "parse_yaml",
    "recipe_names",
    "shipped_recipe",
]
