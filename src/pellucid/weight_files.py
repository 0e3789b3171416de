"""Read files of weights: safetensors only, nothing in them is executed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pellucid.errors import RunError

if TYPE_CHECKING:
    from torch import Tensor

_LISTED = 5


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, on the CPU.

    Raises:
        RunError: when the file is missing, truncated or something else under that name.
    """
    import safetensors
    import safetensors.torch

    try:
        return safetensors.torch.load_file(path)
    except FileNotFoundError as error:
        raise RunError("there are no weights", where=path) from error
    except (OSError, safetensors.SafetensorError) as error:
        raise RunError(
            "these weights cannot be read",
            where=path,
            expected="a whole safetensors file",
            found=_what_it_is(path) or error,
            hint="pickled checkpoints can run code when opened and are never read",
        ) from error


def refuse_differences(
    wanted: Mapping[str, tuple[int, ...]],
    found: Mapping[str, tuple[int, ...]],
    path: object,
    *,
    hint: str,
) -> None:
    """Refuse weights whose names or shapes are not those of a model.

    Args:
        wanted: shapes of the model by name.
        found: shapes of the file by name.
        path: what messages call the file.
        hint: what to do.

    Raises:
        RunError: listing the first differences, those of shape first.
    """
    reshaped = [
        f"{name}: model {wanted[name]}, file {found[name]}"
        for name in wanted
        if name in found and wanted[name] != found[name]
    ]
    missing = [f"{name}: model {wanted[name]}, not in the file" for name in wanted.keys() - found]
    unexpected = [f"{name}: file {found[name]}, not in the model" for name in found.keys() - wanted]
    differences = [*reshaped, *sorted(missing), *sorted(unexpected)]
    if differences:
        more = len(differences) - _LISTED
        listed = differences[:_LISTED] + ([f"… and {more} more"] if more > 0 else [])
        raise RunError(
            "these weights belong to another model",
            where=path,
            expected=f"{len(wanted)} tensors",
            found="\n    ".join([f"{len(found)} tensors", *listed]),
            hint=hint,
        )


def _what_it_is(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except OSError:
        return None
    if head[:2] == b"PK":
        return "a zip archive: a torch.save checkpoint, or something zipped"
    if head[:1] == b"\x80":
        return "a Python pickle"
    return None
