"""The recipes that come with the package, and recipes from a user's file."""

from __future__ import annotations

import dataclasses
import re
from importlib import resources
from pathlib import Path

from pellucid.errors import RecipeError, unknown_name
from pellucid.recipe.schema import Recipe
from pellucid.recipe.text import parse_yaml

_HEADER_KEY = re.compile(r"^(command|cost|score)\s*:\s*(.*)$")


@dataclasses.dataclass(frozen=True)
class ShippedRecipe:
    """A recipe's text and what its header states.

    Args:
        name: its name.
        text: the whole YAML, header included.
        summary: what it is, in a sentence or two.
        command: how to run it.
        cost: what it took where it was measured.
        score: what it reached there.
    """

    name: str
    text: str
    summary: str
    command: str
    cost: str
    score: str


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with the package."""
    folder = resources.files("pellucid") / "recipes"
    return sorted(item.name[:-5] for item in folder.iterdir() if item.name.endswith(".yaml"))


def shipped_recipe(name: str) -> ShippedRecipe:
    """Return one shipped recipe with its header taken apart.

    Raises:
        RecipeError: when there is none of that name, with the nearest one.
    """
    if name not in recipe_names():
        raise unknown_name("recipe", name, recipe_names())
    text = (resources.files("pellucid") / "recipes" / f"{name}.yaml").read_text(encoding="utf-8")
    fields: dict[str, str] = {"summary": ""}
    current = "summary"
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        content = line.lstrip("#").strip()
        match = _HEADER_KEY.match(content)
        if match:
            current, content = match.group(1), match.group(2)
        fields[current] = f"{fields.get(current, '')} {content}".strip()
    return ShippedRecipe(
        name,
        text,
        fields["summary"],
        fields.get("command", ""),
        fields.get("cost", ""),
        fields.get("score", ""),
    )


def load_recipe(name_or_path: str | Path) -> Recipe:
    """Load a shipped recipe by name or a YAML file by path.

    Raises:
        RecipeError: when neither exists, or the file is not a recipe.
    """
    text = str(name_or_path)
    if text in recipe_names():
        return Recipe.from_node(parse_yaml(shipped_recipe(text).text, where=text), where=text)
    path = Path(text)
    if path.suffix not in {".yaml", ".yml"} and not path.is_file():
        raise unknown_name("recipe", text, recipe_names())
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError("cannot read the recipe file", where=path, found=error) from error
    return Recipe.from_node(parse_yaml(content, where=path), where=path)
