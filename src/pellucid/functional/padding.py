"""Pad an image to sides a network accepts, and cut the padding off again.

Shape letters: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from pellucid.errors import PellucidError


def round_up(side: int, multiple: int) -> int:
    """Return the smallest multiple of `multiple` that is not below `side`."""
    return -(-side // multiple) * multiple


def check_length(x_BCT: Tensor, multiple: int, *, channels: int) -> None:
    """Refuse a batch of waveforms whose length is not a multiple of a network's stride.

    Raises:
        PellucidError: naming the length found and the nearest valid ones.
    """
    length = x_BCT.shape[-1] if x_BCT.ndim else 0
    if x_BCT.ndim == 3 and x_BCT.shape[1] == channels and length and length % multiple == 0:
        return
    raise PellucidError(
        "a network for waveforms takes whole frames",
        expected=f"(batch, {channels}, {_nearest_sides(length, multiple)}), "
        f"a multiple of {multiple} samples",
        found=tuple(x_BCT.shape),
        hint="cut or pad; models.waveform.reconstruct_waveform pads any length and cuts it back",
    )


def check_sides(x_BCHW: Tensor, multiple: int, *, channels: int | None = None) -> None:
    """Refuse an image batch whose sides are not multiples of a network's stride.

    Args:
        x_BCHW: (B, C, H, W) the batch.
        multiple: what both sides must be a multiple of, in pixels.
        channels: the C that is expected, or None for any.

    Raises:
        PellucidError: naming the sizes found and the nearest valid ones.
    """
    if x_BCHW.ndim != 4:
        raise PellucidError(
            "a network for images takes a batch of images",
            expected="4 axes: (batch, channels, height, width)",
            found=f"{x_BCHW.ndim} axes: {tuple(x_BCHW.shape)}",
        )
    if channels is not None and x_BCHW.shape[1] != channels:
        raise PellucidError(
            "the batch has another number of channels than the network",
            expected=f"{channels} channels",
            found=f"{x_BCHW.shape[1]} channels in {tuple(x_BCHW.shape)}",
        )
    height, width = x_BCHW.shape[-2:]
    if height == 0 or width == 0 or height % multiple or width % multiple:
        raise PellucidError(
            f"both sides of an image must be multiples of the stride {multiple}",
            expected=f"{_nearest_sides(height, multiple)} × {_nearest_sides(width, multiple)}",
            found=f"{height} × {width}",
            hint="crop or resize; models.inference.reconstruct pads any size and cuts it back",
        )


def pad_to_multiple(x_BCHW: Tensor, multiple: int, *, least: int = 0) -> Tensor:
    """Pad bottom and right until both sides are multiples of `multiple`; cut with `crop_to`.

    The padding mirrors the image without repeating its edge; where the image is too small to be
    mirrored that far, the edge is repeated.

    Args:
        x_BCHW: (B, C, H, W), H and W at least 1.
        multiple: pixels.
        least: both sides come out at least as long, a multiple of `multiple`.
    """
    height, width = x_BCHW.shape[-2:]
    x_BCHW = _pad_side(x_BCHW, max(least, round_up(height, multiple)) - height, axis=-2)
    return _pad_side(x_BCHW, max(least, round_up(width, multiple)) - width, axis=-1)


def crop_to(x_BCHW: Tensor, height: int, width: int) -> Tensor:
    """Return the top left (B, C, height, width): the inverse of `pad_to_multiple`."""
    return x_BCHW[..., :height, :width]


def _pad_side(x_BCHW: Tensor, amount: int, *, axis: int) -> Tensor:
    mirrored = min(amount, x_BCHW.shape[axis] - 1)
    for size, mode in ((mirrored, "reflect"), (amount - mirrored, "replicate")):
        if size > 0:
            padding = (0, size, 0, 0) if axis == -1 else (0, 0, 0, size)
            x_BCHW = F.pad(x_BCHW, padding, mode=mode)
    return x_BCHW


def _nearest_sides(side: int, multiple: int) -> str:
    below, above = side // multiple * multiple, round_up(max(side, 1), multiple)
    return str(above) if below in (0, above) else f"{below} or {above}"
