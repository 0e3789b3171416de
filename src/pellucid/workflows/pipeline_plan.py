"""What every stage of a pipeline is told, read from one list of overrides."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from pellucid.errors import RecipeError, unknown_name
from pellucid.recipe import Recipe, apply_overrides, load_recipe
from pellucid.recipe.overrides import parse_override

if TYPE_CHECKING:
    from pellucid.codebooks.fitting import Method

METHODS = ("kmeans", "geodesic", "decoder")
# what each stage is given by the pipeline rather than by the user
_GIVEN = {
    "codebooks": ("run", "method", "name", "progress"),
    "tuning": ("run", "codebook", "progress"),
    "prior": ("run", "codebook", "name", "resume", "overwrite", "progress"),
    "samples": ("run", "prompt", "class_name", "prior", "out", "judge", "progress"),
}


@dataclasses.dataclass(frozen=True)
class Plan:
    """What every stage of a pipeline is told.

    Args:
        recipe: of the model.
        methods: of the codebooks that are fitted and compared.
        codebooks: keywords of `codebook` for all of them.
        tuning: keywords of `tune_decoder`.
        prior: keywords of `train_prior`.
        samples: keywords of `generate`.
    """

    recipe: Recipe
    methods: tuple[Method, ...]
    codebooks: Mapping[str, Any]
    tuning: Mapping[str, Any]
    prior: Mapping[str, Any]
    samples: Mapping[str, Any]

    @classmethod
    def of(cls, recipe: str | Path | Recipe, overrides: Iterable[str] = ()) -> Plan:
        """Sort `key.path=value` into the recipe and the stages, and check all of it.

        Raises:
            RecipeError: for an unknown key or a wrong value, before anything is written.
        """
        from pellucid.build.construct import check_keywords
        from pellucid.workflows.codebook import codebook
        from pellucid.workflows.generate import generate
        from pellucid.workflows.prior import train_prior
        from pellucid.workflows.tune_decoder import tune_decoder

        of_recipe, given = _sorted(overrides)
        methods = _methods(given["codebooks"].pop("methods", METHODS))
        functions = {
            "codebooks": codebook,
            "tuning": tune_decoder,
            "prior": train_prior,
            "samples": generate,
        }
        checked = {
            section: check_keywords(
                functions[section], node, where=section, given=dict.fromkeys(_GIVEN[section])
            )
            for section, node in given.items()
        }
        start = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
        final = apply_overrides(start, of_recipe)
        if final.data.get("kind") != "images":
            raise RecipeError(
                "a pipeline leads to pictures",
                where="data.kind",
                expected="images",
                found=final.data.get("kind"),
            )
        return cls(final, methods, **checked)

    @property
    def codebook_names(self) -> list[str]:
        """Folder names of the codebooks, in the order of the methods."""
        from pellucid.workflows.codebook import default_name

        source, size = self.codebooks.get("source", "mean"), self.codebooks.get("size", 512)
        return [default_name(method, source, size) for method in self.methods]

    @property
    def posthoc(self) -> bool:
        """Whether the model has no codes of its own, so that they are fitted afterwards."""
        return self.recipe.bottleneck.get("kind") in ("gaussian", "identity")


def _sorted(overrides: Iterable[str]) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """Return the overrides of the recipe, and the keywords of every stage."""
    of_recipe: list[str] = []
    of_stages: dict[str, dict[str, Any]] = {section: {} for section in _GIVEN}
    for text in overrides:
        keys, value = parse_override(text)
        if keys[0] not in of_stages:
            of_recipe.append(text)
            continue
        if len(keys) != 2:
            expected = f"{keys[0]}.KEY=VALUE"
            raise RecipeError("cannot read an override", expected=expected, found=text)
        of_stages[keys[0]][keys[1]] = value
    return of_recipe, of_stages


def _methods(value: Any) -> tuple[Method, ...]:
    from pellucid.codebooks.fitting import Method

    known = get_args(Method)
    found = (value,) if isinstance(value, str) else tuple(value or ())
    for method in found:
        if method not in known:
            raise unknown_name("method", str(method), known, where="codebooks.methods")
    if not found:
        raise RecipeError("there is no codebook to fit", where="codebooks.methods", expected=known)
    return cast("tuple[Method, ...]", found)
