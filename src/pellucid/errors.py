"""Messages: what is wrong, where, what was expected, what was found, the nearest valid name."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType


class PellucidError(ValueError):
    """Report bad input in one readable message.

    Args:
        what: one sentence saying what is wrong.
        where: the file, recipe key or argument.
        expected: what would have been accepted.
        found: what was there instead.
        hint: what to do next, or the nearest valid name.
    """

    def __init__(
        self,
        what: str,
        *,
        where: object = None,
        expected: object = None,
        found: object = None,
        hint: str | None = None,
    ) -> None:
        parts = [what]
        for label, value in (("where", where), ("expected", expected), ("found", found)):
            if value is not None:
                parts.append(f"  {label}: {value}")
        if hint is not None:
            parts.append(f"  hint: {hint}")
        super().__init__("\n".join(parts))


class RecipeError(PellucidError):
    """A recipe, an override or a component's arguments are wrong."""


class DataError(PellucidError):
    """A data source cannot be used."""


class RunError(PellucidError):
    """A run folder, checkpoint or result file cannot be read or written."""


class BitstreamError(PellucidError):
    """A coded file is damaged, of another model, or asks for more than it can hold."""


class NonFiniteError(PellucidError):
    """Training met NaN or infinity and stopped before it could spoil the weights."""


class MissingExtraError(PellucidError, ImportError):
    """An optional dependency is not installed."""


def first_line(error: BaseException) -> str:
    """Return the first line of another library's message, or the error's type when it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def nearest(name: str, valid: Iterable[str]) -> str | None:
    """Return the valid name closest to `name`, or None when nothing is close."""
    by_lower = {v.lower(): v for v in valid}
    match = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.5)
    return by_lower[match[0]] if match else None


def unknown_name(
    kind: str, name: str, valid: Iterable[str], *, where: object = None
) -> RecipeError:
    """Build the error for a name that does not exist, with the nearest one that does.

    Args:
        kind: what the name should have been, e.g. "bottleneck".
        name: what was written.
        valid: the names that exist.
        where: the recipe key or argument.
    """
    valid = sorted(valid)
    guess = nearest(name, valid)
    return RecipeError(
        f"unknown {kind} '{name}'",
        where=where,
        expected=f"one of: {', '.join(valid)}",
        hint=f"did you mean '{guess}'?" if guess else None,
    )


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import an optional dependency or name the extra that brings it.

    Args:
        module: dotted module name, e.g. "torchvision".
        extra: the extra of this project that installs it, e.g. "image".
        purpose: what needs it, e.g. "named image sets".

    Raises:
        MissingExtraError: when the module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{purpose} needs the package '{module.split('.')[0]}', which is not installed",
            hint=f'pip install "pellucid[{extra}]"',
        ) from error
