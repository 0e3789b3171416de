"""Signature is the schema: check a recipe node against a constructor and call it."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from pellucid.errors import RecipeError, unknown_name

T = TypeVar("T")


def construct(
    kind_of: str,
    table: Mapping[str, Callable[..., T]],
    node: Mapping[str, Any],
    *,
    where: str,
    given: Mapping[str, Any] | None = None,
) -> T:
    """Build the component that a recipe node names.

    Args:
        kind_of: what it is, for messages ("bottleneck").
        table: kind → constructor.
        node: the recipe node, `{kind: vq, codes: 512}`.
        where: the recipe section, for messages.
        given: arguments that other components decide (e.g. channels); a node may not set them.

    Raises:
        RecipeError: unknown kind or keyword (with the nearest name), wrong value, missing keyword.
    """
    if "kind" not in node:
        raise RecipeError(f"'{where}' does not say its kind", expected=", ".join(sorted(table)))
    kind = node["kind"]
    if kind not in table:
        raise unknown_name(kind_of, str(kind), table, where=f"{where}.kind")
    rest = {key: value for key, value in node.items() if key != "kind"}
    return call(table[kind], rest, where=where, given=given)


def call(
    function: Callable[..., T],
    keywords: Mapping[str, Any],
    *,
    where: str,
    given: Mapping[str, Any] | None = None,
) -> T:
    """Call `function` with checked recipe keywords and the arguments others decide."""
    given = dict(given or {})
    return function(**check_keywords(function, keywords, where=where, given=given), **given)


def check_keywords(
    function: Callable[..., Any],
    keywords: Mapping[str, Any],
    *,
    where: str,
    given: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the keywords converted to the types of the signature.

    Raises:
        RecipeError: see `construct`.
    """
    given = given or {}
    parameters = {
        name: parameter
        for name, parameter in inspect.signature(function).parameters.items()
        # a class without __init__ shows nn.Module's (*args, **kwargs): neither is a recipe key
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }
    free = [name for name in parameters if name not in given]
    checked: dict[str, Any] = {}
    for name, value in keywords.items():
        if name in given:
            raise RecipeError(
                f"'{where}.{name}' follows from the other components",
                where=where,
                expected="leave it out",
                found=value,
            )
        if name not in parameters:
            raise unknown_name("keyword", name, free, where=where)
        checked[name] = _convert(value, _annotation(function, name), f"{where}.{name}")
    for name in free:
        if parameters[name].default is inspect.Parameter.empty and name not in checked:
            raise RecipeError(f"'{where}.{name}' is needed", where=where, expected=name)
    return checked


def _annotation(function: Callable[..., Any], name: str) -> Any:
    """Resolve one annotation; the others may name types that are imported for checkers only."""
    target = function.__init__ if inspect.isclass(function) else function
    only = types.SimpleNamespace(__annotations__={name: target.__annotations__.get(name, Any)})
    return typing.get_type_hints(only, globalns=target.__globals__, include_extras=True)[name]


def _convert(value: Any, annotation: Any, where: str) -> Any:
    wants_number = annotation in (int, float)
    try:
        if wants_number and isinstance(value, bool | str):
            raise TypeError  # YAML already tells numbers from text and from true/false
        return TypeAdapter(
            annotation, config=ConfigDict(arbitrary_types_allowed=True)
        ).validate_python(value)
    except (ValidationError, TypeError) as error:
        name = getattr(annotation, "__name__", None) if wants_number else None
        expected = name or str(annotation).replace("typing.", "")
        raise RecipeError(
            f"'{where}' has a wrong value", expected=expected, found=repr(value)
        ) from error
