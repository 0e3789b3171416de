"""A batch of graphs as one tensor, so that whatever carries pictures carries graphs.

Rows of the tensor, each with one entry per node: C features, then what both sides of an autoencoder
are told — whether there is a node, where it lies (down, across), and one row of the adjacency per
node. Told rows are scaled by 1e-5: beside the coded ones they weigh nothing in a mean over
elements.

Shape letters: B graphs, N nodes, C features, R = C + 3 + N rows.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.errors import PellucidError
from pellucid.functional.graph_batch import GraphBatch

TOLD = 1e-5
"""Scale of what is told."""
_FIXED = 3  # mask, down, across


def pack_graphs(graph: GraphBatch) -> Tensor:
    """Return (B, C + 3 + N, N, 1) float32; edges that are not stated are none."""
    mask = graph.mask_BN.float()
    edges = graph.edges_BNN
    told = [
        mask[:, None],
        graph.positions_BN2.float().transpose(1, 2) * mask[:, None],
        mask.new_zeros(*mask.shape, mask.shape[1]) if edges is None else edges.float(),
    ]
    coded = graph.x_BNC.float().transpose(1, 2)
    return torch.cat([coded, TOLD * torch.cat(told, 1)], 1)[..., None]


def unpack_graphs(x_BRN1: Tensor, features: int) -> GraphBatch:
    """Return what `pack_graphs` was given.

    What is told is read up to a common positive factor: a scaled tensor tells the same.

    Raises:
        PellucidError: when the shape is not that of packed graphs of so many features.
    """
    shape = tuple(x_BRN1.shape)
    if len(shape) != 4 or shape[3] != 1 or shape[1] != features + _FIXED + shape[2]:
        raise PellucidError(
            "this is no batch of packed graphs",
            where="unpack_graphs",
            expected=f"(B, {features} + 3 + N, N, 1)",
            found=shape,
        )
    x_BRN = x_BRN1[..., 0]
    told_BN = x_BRN[:, features]
    mask_BN = told_BN > 0
    positions = x_BRN[:, features + 1 : features + _FIXED].float()
    positions = positions / torch.where(mask_BN, told_BN.float(), 1.0)[:, None]
    return GraphBatch(
        x_BRN[:, :features].transpose(1, 2) * mask_BN[..., None],
        mask_BN,
        (positions * mask_BN[:, None]).transpose(1, 2),
        x_BRN[:, features + _FIXED :] > 0,
    )


def padded_to(x_BRN1: Tensor, features: int, nodes: int) -> Tensor:
    """Return the same packed graphs with room for `nodes` nodes.

    Raises:
        DataError: when a graph would not fit.
        PellucidError: see `unpack_graphs`.
    """
    return pack_graphs(unpack_graphs(x_BRN1, features).padded_to(nodes))


def replaced(x_BRN1: Tensor, features_BNC: Tensor) -> Tensor:
    """Return packed graphs with other features on the same nodes, gradients included."""
    coded = features_BNC.float().transpose(1, 2)[..., None]
    return torch.cat([coded, x_BRN1[:, coded.shape[1] :]], 1)


def moved(x_BRN1: Tensor, turn_B22: Tensor, features: int) -> Tensor:
    """Return packed graphs whose places are turned, p → turn · p, gradients included."""
    places = x_BRN1[:, features + 1 : features + _FIXED, :, 0].transpose(1, 2)
    turned = (places @ turn_B22.to(places.dtype).transpose(1, 2)).transpose(1, 2)[..., None]
    return torch.cat([x_BRN1[:, : features + 1], turned, x_BRN1[:, features + _FIXED :]], 1)
