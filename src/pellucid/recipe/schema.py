"""The sections of a recipe; what stands inside them is checked by `build` against signatures."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pellucid.errors import RecipeError, unknown_name

Node = dict[str, Any]


class Recipe(BaseModel):
    """Say everything about a run: what is read, what is built, what is minimised, how long.

    Args:
        name: the recipe's name; run folders are named after it.
        seed: seeds the split, initialisation, order and sampling.
        data: keywords of the data component (`kind: images`, …).
        encoder: keywords of the encoder (`kind: residual`, …).
        bottleneck: keywords of the bottleneck (`kind: vq`, …), its penalties' weights included.
        decoder: keywords of the decoder.
        permuter: keywords of the permuter (`kind: dihedral`, …); absent, none.
        postfilter: keywords of the filter that is fitted behind the decoder after training, {} for
            its defaults; absent, none.
        objective: term name → its keywords and `weight`; weight 0 means observe.
        balancer: keywords of the gradient balancer, {} for its defaults; absent, the weights of
            terms are plain multipliers.
        adversary: `discriminators` (name → keywords) and keywords of the adversary; absent, none.
        training: keywords of the training loop.
        evaluation: keywords of the evaluation.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    seed: int = Field(default=0, ge=0, lt=2**31)
    data: Node
    encoder: Node
    bottleneck: Node
    decoder: Node
    permuter: Node | None = None
    postfilter: Node | None = None
    objective: dict[str, Node]
    balancer: Node | None = None
    adversary: Node | None = None
    training: Node = Field(default_factory=dict)
    evaluation: Node = Field(default_factory=dict)

    @classmethod
    def from_node(cls, node: Any, *, where: object = None) -> Recipe:
        """Check a parsed YAML document and return the recipe.

        Raises:
            RecipeError: naming the section, what was expected and what was found.
        """
        if not isinstance(node, Mapping):
            raise RecipeError("a recipe must be a mapping", where=where, found=type(node).__name__)
        for key in node:
            if key not in cls.model_fields:
                raise unknown_name("recipe section", str(key), cls.model_fields, where=where)
        missing = [key for key, field in cls.model_fields.items() if field.is_required()]
        missing = [key for key in missing if key not in node]
        if missing:
            raise RecipeError(f"the recipe lacks '{missing[0]}'", where=where, expected=missing)
        try:
            return cls.model_validate(copy.deepcopy(dict(node)))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise RecipeError(
                f"'{place}' is not what it should be",
                where=where,
                expected=first["msg"],
                found=repr(first["input"])[:200],
            ) from error

    def to_node(self) -> Node:
        """Return plain nested dictionaries, ready for `dump_yaml`; absent sections stay absent."""
        node = copy.deepcopy(self.model_dump())
        return {key: value for key, value in node.items() if value is not None}
