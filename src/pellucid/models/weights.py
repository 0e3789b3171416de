"""Save and load the weights of a model as safetensors: nothing in the file is executed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from pellucid.errors import RunError
from pellucid.run_folder import write_atomically

_LISTED = 5


def save_weights(model: nn.Module, path: Path) -> None:
    """Write every parameter and persistent buffer to `path`, atomically, in their own dtypes.

    A tensor that two names share is written under both, so that the file does not depend on how
    the model ties them.

    Raises:
        RunError: when it cannot be written.
    """
    tensors = {name: value.detach().cpu().contiguous() for name, value in _tensors(model).items()}
    seen: set[int] = set()
    for name, value in tensors.items():
        if value.untyped_storage().data_ptr() in seen:  # tied, or a view: safetensors refuses both
            tensors[name] = value = value.clone()
        seen.add(value.untyped_storage().data_ptr())
    write_atomically(path, safetensors.torch.save(tensors))


def load_weights(model: nn.Module, path: Path) -> None:
    """Read the weights of `model` from `path`; every name and shape must fit.

    Values are converted to the model's dtypes and device. When anything does not fit, the model is
    left as it was.

    Raises:
        RunError: when the file is missing, is not whole and valid safetensors (a pickle is never
            opened), or belongs to a model of another shape; the first differences are listed.
    """
    found = read_tensors(path)
    wanted = _tensors(model)
    _refuse_differences(
        {name: tuple(value.shape) for name, value in wanted.items()},
        {name: tuple(value.shape) for name, value in found.items()},
        path,
    )
    model.load_state_dict(found, strict=True)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, on the CPU.

    Raises:
        RunError: when the file is missing, truncated or something else under that name.
    """
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


def weights_digest(state: Mapping[str, Tensor]) -> bytes:
    """Return the SHA-256 over names, shapes, types and values.

    Args:
        state: weights by name; their order does not matter.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.digest()


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    state = model.state_dict()
    other = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if other:
        raise RunError("only tensors can be saved", where=", ".join(other[:_LISTED]))
    return state


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


def _refuse_differences(
    wanted: dict[str, tuple[int, ...]], found: dict[str, tuple[int, ...]], path: Path
) -> None:
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
            hint="use the recipe the weights were trained with",
        )
