"""Send a whole region through a model of stacks, tile by tile, in bounded memory.

Tiles have the size that the model was trained on, because its GroupNorms take their statistics per
tile. A row of tiles is read, normalised and worked on at a time.

Shape letters: N tiles, C channels, H height, W width, D latent channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pellucid.models.inference import plan_tiles

if TYPE_CHECKING:
    from pellucid.data.stacks.normalisers import Chain
    from pellucid.data.stacks.store import Store
    from pellucid.models.autoencoder import Autoencoder


@torch.no_grad()
def reconstruct_region(
    autoencoder: Autoencoder,
    chain: Chain,
    store: Store,
    number: int,
    out_CHW: Any,
    *,
    size: int,
    batch: int = 32,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write decode(encode(region)) in the unit of the data into `out_CHW`.

    Tiles overlap by a quarter and are blended; sides below a tile are mirrored.

    Args:
        autoencoder: the model.
        chain: what stands between values and model.
        store: of the region, with the model's channels.
        number: of the region.
        out_CHW: float32 array of the region's size, zero; may be memory-mapped.
        size: side of the tiles.
        batch: tiles at once.
        progress: called with (rows of tiles done, all).
    """
    region = store.regions[number]
    stride = autoencoder.stride
    overlap = max(stride, size // 4 // stride * stride)
    rows, columns = (
        plan_tiles(max(length, size), tile=size, overlap=overlap, stride=1, reach=0)
        for length in (region.height, region.width)
    )
    for done, (top, down) in enumerate(zip(rows.starts, rows.weights, strict=True)):
        strip = _strip(store, number, top, size)
        tiles = torch.stack([strip[:, :, left : left + size] for left in columns.starts])
        parts = torch.cat([_through(autoencoder, chain, part) for part in tiles.split(batch)])
        height = min(size, region.height - top)
        total = torch.zeros(len(strip), size, strip.shape[2])
        for left, across, part in zip(columns.starts, columns.weights, parts, strict=True):
            total[:, :, left : left + size] += down[:, None] * across * part
        out_CHW[:, top : top + height] += total[:, :height, : region.width].numpy()
        if progress is not None:
            progress(done + 1, len(rows.starts))


@torch.no_grad()
def encode_region(
    autoencoder: Autoencoder,
    chain: Chain,
    store: Store,
    number: int,
    *,
    size: int,
    batch: int = 64,
) -> Tensor:
    """Return latents of separate tiles, (rows, columns, D, h, w); ragged borders are left out."""
    region = store.regions[number]
    across = region.width // size
    found = []
    for top in range(0, region.height - size + 1, size):
        strip = _strip(store, number, top, size)[:, :, : across * size]
        tiles = strip.unfold(2, size, size).permute(2, 0, 1, 3)
        x, _ = chain.forward(tiles.contiguous())
        found.append(torch.cat([autoencoder.encode(part).mean for part in x.split(batch)]))
    return torch.stack(found)


def _through(autoencoder: Autoencoder, chain: Chain, tiles_NCHW: Tensor) -> Tensor:
    x, scale = chain.forward(tiles_NCHW)
    return chain.inverse(autoencoder.decode(autoencoder.encode(x)).float(), scale)


def _strip(store: Store, number: int, top: int, size: int) -> Tensor:
    """Return (C, size, W ≥ size) rows of a region, mirrored where the region is smaller."""
    window = store.window(number, slice(top, top + size))
    missing = [max(0, size - length) for length in window.shape[1:]]
    if any(missing):
        window = np.pad(window, ((0, 0), (0, missing[0]), (0, missing[1])), mode="symmetric")
    return torch.from_numpy(np.ascontiguousarray(window))
