"""Pictures of any size through a tokenizer: to codes and back.

Shape letters: C channels, H height, W width, R rows and Q columns of codes, L residual levels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.functional.padding import crop_to, pad_to_multiple, round_up
from pellucid.models.autoencoder import Autoencoder


@torch.no_grad()
def encode_picture(autoencoder: Autoencoder, x_CHW: Tensor, *, levels: int | None = None) -> Tensor:
    """Return the codes (R, Q, L) of one picture; R = ⌈H / stride⌉, Q = ⌈W / stride⌉.

    The whole picture is encoded at once; it needs as much memory as its encoder.

    Args:
        autoencoder: with codes.
        x_CHW: in the model's value range.
        levels: residual levels to write; None writes all.

    Raises:
        PellucidError: when the model has no codes, or not so many levels.
    """
    latent = autoencoder.encode(pad_to_multiple(x_CHW[None], autoencoder.stride))
    if latent.codes is None:
        raise PellucidError(
            "this model has no codes",
            expected="a quantising bottleneck",
            found=type(autoencoder.bottleneck).__name__,
        )
    codes = latent.codes[0] if latent.codes.ndim == 4 else latent.codes[0, ..., None]
    if levels is not None and not 1 <= levels <= codes.shape[-1]:
        raise PellucidError(
            "this many residual levels do not exist",
            expected=f"1 … {codes.shape[-1]}",
            found=levels,
        )
    return codes[..., :levels]  # the first levels do not depend on the later ones


@torch.no_grad()
def decode_picture(
    autoencoder: Autoencoder, codes_RQL: Tensor, *, height: int, width: int
) -> Tensor:
    """Return (C, H, W) in the model's value range, the padding cut off.

    Args:
        autoencoder: the model that wrote the codes.
        codes_RQL: integers; fewer levels than the model has are a lower rate.
        height: H, must lie in the last row of codes.
        width: W, must lie in the last column.

    Raises:
        PellucidError: for a size that the codes do not give, or codes out of range.
    """
    rows, columns = codes_RQL.shape[:2]
    stride = autoencoder.stride
    if (round_up(height, stride), round_up(width, stride)) != (rows * stride, columns * stride):
        raise PellucidError(
            "the size does not fit the codes",
            expected=f"up to {rows * stride} × {columns * stride} for {rows} × {columns} codes",
            found=f"{height} × {width}",
        )
    codes = codes_RQL[None]
    if autoencoder.bottleneck.residual_levels is None:
        codes = codes[..., 0]
    return crop_to(autoencoder.decode_codes(codes), height, width)[0]
