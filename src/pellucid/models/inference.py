"""Reconstruct images of any size, large ones tile by tile in bounded memory.

Shape letters: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import dataclasses
import itertools

import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.functional.blend import blend_ramp
from pellucid.functional.padding import crop_to, pad_to_multiple, round_up
from pellucid.models.autoencoder import Autoencoder
from pellucid.models.precision import Precision, autocast_for
from pellucid.models.receptive_field import receptive_field


@torch.no_grad()
def reconstruct(
    autoencoder: Autoencoder,
    x_BCHW: Tensor,
    *,
    tile: int | None = 512,
    overlap: int | None = None,
    batch: int = 8,
    precision: Precision = "float32",
) -> Tensor:
    """Return decode(encode(x)) for images of any height and width.

    Sides are padded to the stride by reflection and cut back. An image with a side above `tile` is
    worked on in overlapping tiles, of which the rim that saw a false border is discarded and the
    rest blended smoothly. With `overlap` at least twice the reach this *equals* the whole image for
    networks without global statistics. GroupNorm takes its statistics per tile and attention looks
    only inside its tile, so there tiles differ from the whole: an untrained residual network on
    192 × 192 noise in tiles of 128 by 25 dB below the signal, less the larger the tile. A decoder
    that draws tiles of one size only (`tile`) gets exactly those, a third of them shared.

    Args:
        autoencoder: the model; left in its mode, run as evaluated.
        x_BCHW: (B, C, H, W) in the model's value range, on any device.
        tile: longest side worked on at once, in pixels; None never tiles.
        overlap: pixels neighbouring tiles share; None takes twice the measured reach plus four
            strides, at most half the tile.
        batch: images or tiles worked on at once.
        precision: "float32", "bf16" or "auto".

    Returns:
        (B, out_channels, H, W), float32, on the device of x.

    Raises:
        PellucidError: when a side is 0, or tile and overlap do not fit the stride.
    """
    _check(x_BCHW, batch)
    height, width = x_BCHW.shape[-2:]
    stride = autoencoder.stride
    fixed = getattr(autoencoder.decoder, "tile", None)
    if isinstance(fixed, int):
        tile, overlap = fixed, max(stride, fixed // 3)
    padded = pad_to_multiple(x_BCHW, stride, least=fixed or 0)
    if tile is None or max(padded.shape[-2:]) <= tile:
        parts = [_through(autoencoder, part, precision) for part in padded.split(batch)]
        return crop_to(torch.cat(parts), height, width)
    rows, columns = _tilings(autoencoder, padded, tile, overlap)
    return crop_to(
        _blend_tiles(autoencoder, padded, rows, columns, batch, precision), height, width
    )


@dataclasses.dataclass(frozen=True)
class Tiling:
    """Equal tiles along one axis and their weights, which sum to one on every pixel.

    Args:
        starts: first pixel of each tile.
        weights: (len(starts), size) of each tile's pixels.
    """

    starts: list[int]
    weights: Tensor


def plan_tiles(length: int, *, tile: int, overlap: int, stride: int, reach: int) -> Tiling:
    """Cover `length` pixels with tiles that start on multiples of `stride`.

    Args:
        length: pixels, a multiple of `stride`.
        tile: largest size of a tile.
        overlap: least number of pixels two neighbours share.
        stride: of the network.
        reach: pixels at an inner side of a tile that saw a false border and get weight 0, as far
            as the overlap allows.

    Raises:
        PellucidError: when tiles of this size cannot advance.
    """
    size = min(tile // stride * stride, length)
    step = size - round_up(overlap, stride)
    if size == length:
        return Tiling([0], torch.ones(1, length))
    if overlap < 0 or step < stride:
        raise PellucidError(
            "tiles with this overlap do not advance",
            where="tile, overlap",
            expected=f"tile − overlap ≥ {stride}, the stride",
            found=f"tile {tile}, overlap {overlap}",
        )
    starts = [*range(0, length - size, step), length - size]
    shared = size - step
    ramp = min(shared, max(2 * stride, shared - 2 * reach))
    rising = torch.cat([torch.zeros((shared - ramp) // 2), blend_ramp(ramp)])
    weights = torch.ones(len(starts), size)
    weights[1:, : len(rising)] = rising
    weights[:-1, size - len(rising) :] = rising.flip(0)
    total = torch.zeros(length)
    for start, weight in zip(starts, weights, strict=True):
        total[start : start + size] += weight
    spans = [total[start : start + size] for start in starts]
    return Tiling(starts, weights / torch.stack(spans))


def _tilings(
    autoencoder: Autoencoder, x_BCHW: Tensor, tile: int, overlap: int | None
) -> tuple[Tiling, Tiling]:
    stride = autoencoder.stride
    if isinstance(getattr(autoencoder.decoder, "tile", None), int):
        assert overlap is not None
        rows, columns = (
            plan_tiles(length, tile=tile, overlap=overlap, stride=stride, reach=0)
            for length in x_BCHW.shape[-2:]
        )
        return rows, columns
    inside, positions = receptive_field(autoencoder.encoder), receptive_field(autoencoder.decoder)
    if inside is None or positions is None:
        reach = tile // 4  # endless: the best that half a tile of overlap can do
    else:
        reach = round_up(inside, stride) + positions * stride  # a cell is right as a whole or not
        if autoencoder.postfilter is not None:
            reach += autoencoder.postfilter.reach
    if overlap is None:
        overlap = min(2 * reach + 4 * stride, tile // 2)
    rows, columns = (
        plan_tiles(length, tile=tile, overlap=overlap, stride=stride, reach=reach)
        for length in x_BCHW.shape[-2:]
    )
    return rows, columns


def _blend_tiles(
    autoencoder: Autoencoder,
    x_BCHW: Tensor,
    rows: Tiling,
    columns: Tiling,
    batch: int,
    precision: Precision,
) -> Tensor:
    images, _, height, width = x_BCHW.shape
    x_hat = x_BCHW.new_zeros(images, autoencoder.out_channels, height, width, dtype=torch.float32)
    places = itertools.product(
        range(images),
        zip(rows.starts, rows.weights, strict=True),
        zip(columns.starts, columns.weights, strict=True),
    )
    while chosen := list(itertools.islice(places, batch)):
        tiles, weights = [], []
        for image, (top, down), (left, across) in chosen:
            tiles.append((image, ..., slice(top, top + len(down)), slice(left, left + len(across))))
            weights.append((down[:, None] * across).to(x_hat.device))
        parts = _through(autoencoder, torch.stack([x_BCHW[tile] for tile in tiles]), precision)
        for tile, weight, part in zip(tiles, weights, parts, strict=True):
            x_hat[tile] += weight * part
    return x_hat


def _through(autoencoder: Autoencoder, x_BCHW: Tensor, precision: Precision) -> Tensor:
    device = next(autoencoder.parameters()).device
    with autocast_for(device, precision):
        x_hat = autoencoder.decode(autoencoder.encode(x_BCHW.to(device)))
    return x_hat.float().to(x_BCHW.device)


def _check(x_BCHW: Tensor, batch: int) -> None:
    if x_BCHW.ndim != 4 or 0 in x_BCHW.shape:
        raise PellucidError(
            "there is nothing to reconstruct",
            expected="a batch (images, channels, height, width) without empty axes",
            found=tuple(x_BCHW.shape),
        )
    if batch < 1:
        raise PellucidError("a batch needs at least one image", where="batch", found=batch)
