"""The codes of every split as a codebook left them, for what models codes and not latents.

Shape letters: N samples, P positions (any number of axes).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import safetensors.torch
import torch
from torch import Tensor

from pellucid.codebooks.files import CodebookFiles
from pellucid.errors import RunError, unknown_name
from pellucid.models.weights import read_tensors
from pellucid.run_folder import RunFolder


@dataclasses.dataclass(frozen=True)
class Codes:
    """The codes of one split.

    Args:
        codes: (N, P…) int64.
        labels: (N,) int64 classes of the samples, or None.
    """

    codes: Tensor
    labels: Tensor | None


def pack_codes(splits: Mapping[str, Codes]) -> bytes:
    """Return the content of codes.safetensors."""
    tensors = {}
    for name, split in splits.items():
        tensors[f"{name}.codes"] = split.codes.to(torch.int32).contiguous()
        if split.labels is not None:
            tensors[f"{name}.labels"] = split.labels.to(torch.int64).contiguous()
    return safetensors.torch.save(tensors)


def read_codes(folder: RunFolder, name: str, split: str) -> Codes:
    """Return the stored codes of one split of a codebook.

    Raises:
        RunError: when the codebook or its codes are not there.
        RecipeError: when it has no such split.
    """
    path = CodebookFiles(folder, name).codes
    if not path.is_file():
        raise RunError(
            f"no codes of a codebook '{name}'",
            where=path,
            hint=f"pellucid codebook {folder.path} --name {name}",
        )
    tensors = read_tensors(path)
    if f"{split}.codes" not in tensors:
        known = [key.removesuffix(".codes") for key in tensors if key.endswith(".codes")]
        raise unknown_name("split", split, known, where=path)
    labels = tensors.get(f"{split}.labels")
    return Codes(tensors[f"{split}.codes"].long(), labels)
