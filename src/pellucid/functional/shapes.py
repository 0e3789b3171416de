"""The check that image functions make first: a pair of equal batches, large enough."""

from __future__ import annotations

from torch import Tensor

from pellucid.errors import PellucidError


def check_pair(x_hat: Tensor, x: Tensor, *, where: str) -> None:
    """Refuse a reconstruction and a target of different shapes, which would broadcast silently.

    Raises:
        PellucidError: when the shapes differ or the batch is empty.
    """
    if x_hat.shape != x.shape:
        raise PellucidError(
            "a reconstruction and its target differ in shape",
            where=where,
            expected=tuple(x.shape),
            found=tuple(x_hat.shape),
        )
    if x.numel() == 0:
        raise PellucidError("an empty batch cannot be compared", where=where, found=tuple(x.shape))


def check_images(x: Tensor, *, smallest: int, where: str, hint: str | None = None) -> None:
    """Refuse what is not (B, C, H, W) or is smaller than `smallest` pixels on a side.

    Raises:
        PellucidError: when it is not an image batch, or too small.
    """
    if x.dim() != 4:
        raise PellucidError(
            "images are needed", where=where, expected="(B, C, H, W)", found=tuple(x.shape)
        )
    height, width = x.shape[-2:]
    if min(height, width) < smallest:
        raise PellucidError(
            "the images are too small",
            where=where,
            expected=f"at least {smallest}×{smallest} pixels",
            found=f"{height}×{width}",
            hint=hint,
        )
