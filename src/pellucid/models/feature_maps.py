"""Feature maps of inputs of any size, large ones piece by piece in bounded memory.

Shape letters: B batch, C channels, P positions (one or two axes).
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.functional.padding import pad_to_multiple, round_up
from pellucid.models.inference import Tiling, plan_tiles
from pellucid.models.layers import FeatureExtractor, Layer
from pellucid.models.receptive_field import receptive_field

TILE = {1: 480_000, 2: 512}
"""Longest side worked on at once: samples of waveforms, pixels of images."""


@torch.no_grad()
def feature_maps(
    extractor: FeatureExtractor, x_BCP: Tensor, *, tile: int | None = None, batch: int = 8
) -> dict[str, Tensor]:
    """Return {layer: (B, channels, ⌈side / reduction⌉…)} for inputs of any size.

    Sides are padded to the stride (images by reflection, waveforms by silence). A side above `tile`
    is worked on in overlapping pieces whose maps are blended; where the overlap is twice the
    encoder's reach this equals the whole for encoders without global statistics.

    Args:
        extractor: the layers.
        x_BCP: in the model's value range, on any device.
        tile: longest side worked on at once; None takes 512 pixels, or 480,000 samples.
        batch: pieces at once.

    Raises:
        PellucidError: when a side is 0 or the channels are others.
    """
    autoencoder = extractor.autoencoder
    axes = x_BCP.ndim - 2
    if axes not in TILE or not x_BCP.numel():
        raise PellucidError(
            "there is nothing to take features of",
            expected="(batch, channels, height, width) or (batch, channels, samples)",
            found=tuple(x_BCP.shape),
        )
    sides = tuple(x_BCP.shape[2:])
    padded = _padded(x_BCP, autoencoder.stride)
    tile = tile or TILE[axes]
    device = next(autoencoder.parameters()).device
    if max(padded.shape[2:]) <= tile:
        parts = [extractor(part.to(device)) for part in padded.split(batch)]
        whole = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    else:
        reductions = {layer.name: _grid(layer) for layer in extractor.feature_info}
        tilings = _tilings(extractor, padded, tile)
        whole = _blended(extractor, padded, tilings, reductions, batch, device)
    return {
        layer.name: whole[layer.name]
        if layer.reduction is None
        else whole[layer.name][(..., *[slice(math.ceil(s / layer.reduction)) for s in sides])]
        for layer in extractor.feature_info
    }


def _padded(x_BCP: Tensor, stride: int) -> Tensor:
    if x_BCP.ndim == 4:
        return pad_to_multiple(x_BCP, stride)
    length = x_BCP.shape[-1]
    return torch.nn.functional.pad(x_BCP, (0, round_up(length, stride) - length))


def _tilings(extractor: FeatureExtractor, x_BCP: Tensor, tile: int) -> list[Tiling]:
    stride = extractor.autoencoder.stride
    inside = receptive_field(extractor.autoencoder.encoder)
    reach = tile // 4 if inside is None else round_up(inside, stride)
    overlap = min(2 * reach + 4 * stride, tile // 2)
    return [
        plan_tiles(length, tile=tile, overlap=overlap, stride=stride, reach=reach)
        for length in x_BCP.shape[2:]
    ]


def _grid(layer: Layer) -> int:
    if layer.reduction is None:
        raise PellucidError(
            f"'{layer.name}' describes its input as a whole and cannot be put together from pieces",
            where="layers",
            expected="a smaller input, or a layer with a reduction",
        )
    return layer.reduction


def _blended(
    extractor: FeatureExtractor,
    x_BCP: Tensor,
    tilings: list[Tiling],
    reductions: dict[str, int],
    batch: int,
    device: torch.device,
) -> dict[str, Tensor]:
    whole = {
        layer.name: x_BCP.new_zeros(
            len(x_BCP),
            layer.channels,
            *(side // reductions[layer.name] for side in x_BCP.shape[2:]),
        )
        for layer in extractor.feature_info
    }
    along = [list(zip(t.starts, t.weights, strict=True)) for t in tilings]
    pieces = itertools.product(range(len(x_BCP)), itertools.product(*along))
    while chosen := list(itertools.islice(pieces, batch)):
        places = [
            (item, ..., *(slice(start, start + len(weight)) for start, weight in sides))
            for item, sides in chosen
        ]
        maps = extractor(torch.stack([x_BCP[place] for place in places]).to(device))
        for layer in extractor.feature_info:
            reduction = reductions[layer.name]
            for (item, sides), part in zip(chosen, maps[layer.name], strict=True):
                cells = [
                    slice(start // reduction, (start + len(weight)) // reduction)
                    for start, weight in sides
                ]
                # A cell's weight is the mean of its pixels', so the weights still sum to one.
                weights = [weight.unflatten(0, (-1, reduction)).mean(1) for _, weight in sides]
                blend = weights[0] if len(weights) == 1 else weights[0][:, None] * weights[1]
                whole[layer.name][(item, ..., *cells)] += blend * part.to(x_BCP.device)
    return whole
