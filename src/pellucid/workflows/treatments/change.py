"""One changed recipe key, for people: before and after."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from pellucid.recipe import Recipe
from pellucid.workflows.treatments.standing import standing


@dataclasses.dataclass(frozen=True)
class Change:
    """A key of the recipe, what it stood at (its default included), and its new value."""

    key: str
    before: Any
    after: Any


def changes(recipe: Recipe, patch: Mapping[str, Any]) -> tuple[Change, ...]:
    """Return what a patch changes in a recipe, in the patch's order."""
    return tuple(Change(key, standing(recipe, key), value) for key, value in patch.items())
