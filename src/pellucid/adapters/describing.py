"""What every adapter does: look at the object it was given, and build the Subject."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

from pellucid.diagnosis import Subject
from pellucid.errors import PellucidError, unknown_name


def need(model: object, *attributes: str, expected: str) -> None:
    """Refuse an object without these (dotted) attributes.

    Args:
        model: what the user handed over.
        attributes: e.g. "quantizer.quantizers".
        expected: the class the adapter is for.

    Raises:
        PellucidError: naming the class and what is missing.
    """
    missing = [name for name in attributes if not _has(model, name)]
    if missing:
        raise PellucidError(
            "this adapter is for another kind of model",
            expected=expected,
            found=f"a {type(model).__name__} without {', '.join(missing)}",
        )


def describe(known: Mapping[str, Any], declared: Mapping[str, Any]) -> Subject:
    """Build a Subject from what the adapter knows and what the user declares, which wins.

    Raises:
        RecipeError: when the user declares what a Subject does not have.
    """
    fields = {field.name for field in dataclasses.fields(Subject)}
    for name in declared:
        if name not in fields:
            raise unknown_name("field of Subject", name, fields)
    return Subject(**{**known, **declared})


def whole_frames(length: int, hop: int) -> None:
    """Refuse waveforms that a codec would pad: it would answer with another length.

    Raises:
        PellucidError: with the nearest length that is a whole number of frames.
    """
    if length % hop:
        raise PellucidError(
            "the crops are no whole number of the codec's frames",
            where="x",
            expected=f"a multiple of {hop} samples",
            found=f"{length} samples",
            hint=f"crop to {max(1, length // hop) * hop}",
        )


def _has(model: object, name: str) -> bool:
    missing = object()
    found = functools.reduce(lambda at, part: getattr(at, part, missing), name.split("."), model)
    return found is not missing
