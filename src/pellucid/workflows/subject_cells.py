"""What a run of cells tells a diagnosis: windows of one padded size, a decoder that knows places.

A diagnosis wants samples of one shape and x_hat shaped like x. Windows are padded to the largest,
and get one more axis, so that nobody takes the list of cells for the pixels of a picture. What is
told of the cells comes back as it was, and weighs nothing.

Shape letters: B windows, N cells of the largest, C markers, R = C + 3 + N rows of packed cells.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from pellucid.functional.cell_tensor import moved, pack_graphs, padded_to, replaced, unpack_graphs
from pellucid.models.cell_autoencoder import CellAutoencoder
from pellucid.records import Latent
from pellucid.references.samples import entry


class PaddedWindows(Dataset[Tensor]):
    """Yield windows (R, N, 1, 1) with room for the largest.

    Args:
        data: map-style dataset of {"x": packed cells, …}.
        model: with a permuter, windows come as it turns them: there a bare z is decoded rightly.
        nodes: N.
    """

    def __init__(self, data: Any, model: CellAutoencoder, nodes: int) -> None:
        self.data, self.model, self.nodes = data, model, nodes

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> Tensor:
        x_RN1 = entry(self.data[index], "x")
        x = padded_to(x_RN1[None], self.model.in_channels, self.nodes)
        with torch.no_grad():
            return self.model.arrange(x).x[0, ..., None]


def padded_sets(model: CellAutoencoder, data: Any, *sets: Any) -> list[Any]:
    """Return sets of windows padded to the largest of the data."""
    nodes = max(part.most for part in (data.train, data.validation, data.test) if len(part))
    return [None if part is None else PaddedWindows(part, model, nodes) for part in sets]


def cell_facts(
    model: CellAutoencoder,
    loss_terms: Callable[[Tensor], dict[str, Tensor]],
    kl_weight: float | None,
    data: Any,
) -> dict[str, Any]:
    """Return the keywords of `Subject` that differ for windows of cells.

    Args:
        model: of the run.
        loss_terms: of packed cells (B, R, N, 1).
        kl_weight: beside an error that is a mean over the cells that exist.
        data: the run's, for the size of its windows.
    """
    markers = model.in_channels

    def decode_at(z: Tensor, x: Tensor) -> Tensor:
        told = replaced(x[..., 0], x.new_zeros(len(x), x.shape[2], markers))
        return model.decode(Latent(mean=z, told=told))[..., None]

    def turned_over(x: Tensor) -> Tensor:
        return _reordered(x, torch.arange(x.shape[2] - 1, -1, -1))

    def moved_on(x: Tensor) -> Tensor:
        return _reordered(x, torch.arange(x.shape[2]).roll(x.shape[2] // 3 + 1))

    def _reordered(x: Tensor, order_N: Tensor) -> Tensor:
        order_BN = order_N.to(x.device).expand(len(x), -1)
        return pack_graphs(unpack_graphs(x[..., 0], markers).permuted(order_BN))[..., None]

    def turned(x: Tensor) -> Tensor:
        cos, sin = math.cos(1.0), math.sin(1.0)
        turn = torch.tensor([[cos, -sin], [sin, cos]], device=x.device)
        return moved(x[..., 0], turn.expand(len(x), 2, 2), markers)[..., None]

    sizes = [len(window.rows_N) for window in data.train.windows]
    nodes = max(part.most for part in (data.train, data.validation, data.test) if len(part))
    turns = () if model.permuter is None else (turned,)
    real = markers * sum(sizes) / len(sizes) / ((markers + 3 + nodes) * nodes)
    return {
        "encode": lambda x: model.encode(x[..., 0]),
        "decode_at": decode_at,
        "forward": lambda x: model(x[..., 0]).x_hat[..., None],
        "loss_terms": lambda x: loss_terms(x[..., 0]),
        # an error here is a mean over padding too: the same price beside a smaller number
        "kl_weight": None if kl_weight is None else kl_weight * real,
        "symmetries": () if model.encoder.per_node else (turned_over, moved_on, *turns),
    }
