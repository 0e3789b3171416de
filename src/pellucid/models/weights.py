"""Save and load the weights of a model as safetensors: nothing in the file is executed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from pellucid.atomic_files import write_atomically
from pellucid.errors import RunError
from pellucid.weight_files import read_tensors, refuse_differences

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


def derived_names(model: nn.Module) -> set[str]:
    """Return the tensors that parts of the model can work out from their others.

    A part names them in `derived` and answers `derive(state)`, its own tensors by name, with them.
    Training needs them, using the model does not, so a released file goes without.
    """
    return {
        f"{prefix}.{name}" if prefix else name
        for prefix, part in model.named_modules()
        for name in getattr(part, "derived", ())
    }


def load_weights(model: nn.Module, path: Path, *, leave: str | None = None) -> None:
    """Read the weights of `model` from `path`; every name and shape must fit.

    Values are converted to the model's dtypes and device. Only derived tensors may be missing. When
    anything does not fit, the model is left as it was.

    Args:
        model: the model.
        path: a safetensors file.
        leave: a part that stays as it is, whether the file knows it or not.

    Raises:
        RunError: when the file is missing, is not whole and valid safetensors (a pickle is never
            opened), or belongs to a model of another shape; the first differences are listed.
    """
    found = _completed(model, read_tensors(path))
    wanted = _tensors(model)
    if leave is not None:
        own = {name: value for name, value in wanted.items() if name.startswith(f"{leave}.")}
        found = {n: v for n, v in found.items() if not n.startswith(f"{leave}.")} | own
    refuse_differences(
        {name: tuple(value.shape) for name, value in wanted.items()},
        {name: tuple(value.shape) for name, value in found.items()},
        path,
        hint="use the recipe the weights were trained with",
    )
    model.load_state_dict(found, strict=True)


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


def _completed(model: nn.Module, found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a file with derived ones that it goes without."""
    complete = dict(found)
    part: Any
    for prefix, part in model.named_modules():
        names = getattr(part, "derived", ())
        start = f"{prefix}." if prefix else ""
        if all(start + name in found for name in names):
            continue
        own = {n.removeprefix(start): v for n, v in found.items() if n.startswith(start)}
        complete |= {start + name: value for name, value in part.derive(own).items()}
    return complete


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    state = model.state_dict()
    other = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if other:
        raise RunError("only tensors can be saved", where=", ".join(other[:_LISTED]))
    return state
