"""Build the discriminators of a recipe and what training does with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from pellucid.build.assemble import DataFacts, data_facts
from pellucid.build.construct import call, check_keywords
from pellucid.errors import PellucidError, RecipeError, unknown_name
from pellucid.nn.discriminators import DISCRIMINATORS, Discriminators
from pellucid.recipe import Recipe
from pellucid.training.adversary import Adversary

_SECTION = "adversary"


def build_adversary(recipe: Recipe) -> Adversary | None:
    """Build the adversary of a recipe with weights drawn from its seed; None where it has none.

    Raises:
        RecipeError: for an unknown discriminator or keyword, or one that cannot see such data.
    """
    if recipe.adversary is None:
        return None
    facts = data_facts(recipe)
    asked = recipe.adversary.get("discriminators")
    if not isinstance(asked, Mapping) or not asked:
        fitting = [name for name, part in DISCRIMINATORS.items() if part.axes == facts.axes]
        raise RecipeError(
            "an adversary needs discriminators",
            where=f"{_SECTION}.discriminators",
            expected=f"name: {{keywords}} of {', '.join(fitting)}",
            found=asked,
        )
    rest = {key: value for key, value in recipe.adversary.items() if key != "discriminators"}
    given: dict[str, Any] = {"discriminator": None}
    keywords = check_keywords(Adversary, rest, where=_SECTION, given=given)
    if recipe.balancer is not None and keywords.get("adaptive") is not None:
        raise RecipeError(
            "a balancer sets the adversary's weight already",
            where=f"{_SECTION}.adaptive",
            expected="either a balancer or adaptive",
            hint="leave adversary.adaptive out",
        )
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        parts = [_discriminator(name, node, facts) for name, node in asked.items()]
    return Adversary(Discriminators(parts), **keywords)


def _discriminator(name: str, node: Any, facts: DataFacts) -> nn.Module:
    where = f"{_SECTION}.discriminators.{name}"
    if name not in DISCRIMINATORS:
        raise unknown_name("discriminator", name, DISCRIMINATORS, where=where)
    if not isinstance(node, Mapping | None):
        raise RecipeError(f"'{where}' holds keywords", expected="a mapping", found=node)
    component = DISCRIMINATORS[name]
    if component.axes != facts.axes:
        kinds = {1: "waveforms", 2: "images"}
        raise RecipeError(
            f"'{name}' is a discriminator for {kinds[component.axes]}",
            where=where,
            found=kinds[facts.axes],
        )
    part = call(component, node or {}, where=where, given={"in_channels": facts.channels})
    _try_out(part, where, facts)
    return part


def _try_out(part: nn.Module, where: str, facts: DataFacts) -> None:
    """Judge one crop now: a crop that is too small must not end a run hours after its start.

    Raises:
        RecipeError: when it cannot be judged.
    """
    try:
        with torch.no_grad():
            part(torch.zeros(1, facts.channels, *[facts.size] * facts.axes))
    except (PellucidError, RuntimeError) as error:
        raise RecipeError(
            "the discriminator cannot judge a crop of this size",
            where=where,
            expected="smaller windows, periods or layers, or larger crops",
            found=f"{facts.size} per side: {str(error).splitlines()[0]}",
        ) from error
