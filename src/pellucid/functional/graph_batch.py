"""Graphs of unequal size in one batch: padded nodes, a mask, positions, an adjacency.

Shape letters: B graphs, N nodes (of the largest graph), C features of a node, E edges.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pellucid.errors import DataError


@dataclasses.dataclass(frozen=True)
class Graph:
    """One graph.

    Args:
        x_NC: features of its nodes.
        positions_N2: where they are, in any unit of length.
        edges_E2: pairs of node numbers, or None for a graph without stated neighbours.
    """

    x_NC: Tensor
    positions_N2: Tensor
    edges_E2: Tensor | None = None


@dataclasses.dataclass(frozen=True)
class GraphBatch:
    """Graphs padded to the size of the largest.

    Args:
        x_BNC: features; zero where there is no node.
        mask_BN: True where there is a node; every graph has at least one.
        positions_BN2: where the nodes are; zero where there is none.
        edges_BNN: True between neighbours (symmetric, no node is its own), or None.

    Raises:
        DataError: when shapes disagree, a graph is empty, or a value of a node is not finite.
    """

    x_BNC: Tensor
    mask_BN: Tensor
    positions_BN2: Tensor
    edges_BNN: Tensor | None = None

    def __post_init__(self) -> None:
        nodes = tuple(self.x_BNC.shape[:2])
        found = {
            "mask_BN": (tuple(self.mask_BN.shape), nodes),
            "positions_BN2": (tuple(self.positions_BN2.shape), (*nodes, 2)),
        }
        if self.edges_BNN is not None:
            found["edges_BNN"] = (tuple(self.edges_BNN.shape), (*nodes, nodes[-1]))
        for name, (shape, expected) in found.items():
            if shape != expected:
                raise DataError(
                    "the parts of a batch of graphs disagree",
                    where=name,
                    expected=expected,
                    found=shape,
                )
        if self.mask_BN.dtype != torch.bool:
            raise DataError("a mask is boolean", where="mask_BN", found=self.mask_BN.dtype)

    @property
    def sizes(self) -> Tensor:
        """(B,) nodes of each graph."""
        return self.mask_BN.sum(1)

    def checked(self) -> GraphBatch:
        """Return the batch itself once its values are known to be usable.

        Kept apart from construction: on an accelerator it waits for the device.

        Raises:
            DataError: for a graph without nodes, or a node with NaN or infinite values.
        """
        empty = (~self.mask_BN.any(1)).nonzero().flatten().tolist()
        if empty:
            raise DataError(
                "a graph without nodes has nothing to reconstruct",
                where=f"graph {empty[0]}",
                expected="at least one node",
                found=f"{len(empty)} empty of {len(self.mask_BN)} graphs",
            )
        kept = self.x_BNC[self.mask_BN], self.positions_BN2[self.mask_BN]
        for name, values in zip(("features", "positions"), kept, strict=True):
            if not values.isfinite().all():
                bad = int((~values.isfinite()).any(1).sum())
                raise DataError(
                    f"the {name} hold NaN or infinity", found=f"{bad} of {len(values)} nodes"
                )
        return self

    def permuted(self, order_BN: Tensor) -> GraphBatch:
        """Return the same graphs with their nodes in another order (padding may move too).

        Args:
            order_BN: row i of the result is row order[i] of this batch.
        """
        rows = torch.arange(len(order_BN), device=order_BN.device)[:, None]
        edges = self.edges_BNN
        if edges is not None:
            edges = edges[rows[:, :, None], order_BN[:, :, None], order_BN[:, None, :]]
        return GraphBatch(
            self.x_BNC[rows, order_BN],
            self.mask_BN[rows, order_BN],
            self.positions_BN2[rows, order_BN],
            edges,
        )

    def padded_to(self, nodes: int) -> GraphBatch:
        """Return the same graphs with room for `nodes` nodes.

        Raises:
            DataError: when a graph would not fit.
        """
        extra = nodes - self.x_BNC.shape[1]
        if extra < 0:
            raise DataError(
                "the graphs do not fit", expected=f"≤ {nodes} nodes", found=self.x_BNC.shape[1]
            )
        edges = None if self.edges_BNN is None else F.pad(self.edges_BNN, (0, extra, 0, extra))
        return GraphBatch(
            F.pad(self.x_BNC, (0, 0, 0, extra)),
            F.pad(self.mask_BN, (0, extra)),
            F.pad(self.positions_BN2, (0, 0, 0, extra)),
            edges,
        )


def pad_graphs(graphs: Sequence[Graph]) -> GraphBatch:
    """Put graphs of unequal size into one batch.

    Raises:
        DataError: for no graph, graphs of different features, an empty graph, values that are not
            finite, or an edge to a node that does not exist.
    """
    if not graphs:
        raise DataError("there is no graph to batch")
    most = max(len(graph.x_NC) for graph in graphs)
    features = graphs[0].x_NC.shape[-1]
    for number, graph in enumerate(graphs):
        _check_graph(graph, number, features)
    like = graphs[0].x_NC
    x = like.new_zeros(len(graphs), most, features)
    positions = like.new_zeros(len(graphs), most, 2)
    mask = torch.zeros(len(graphs), most, dtype=torch.bool, device=like.device)
    stated = any(graph.edges_E2 is not None for graph in graphs)
    edges = mask.new_zeros(len(graphs), most, most) if stated else None
    for row, graph in enumerate(graphs):
        count = len(graph.x_NC)
        x[row, :count], positions[row, :count] = graph.x_NC, graph.positions_N2
        mask[row, :count] = True
        if edges is not None and graph.edges_E2 is not None:
            a, b = graph.edges_E2.long().unbind(1)
            edges[row, a, b] = edges[row, b, a] = True
    if edges is not None:
        edges.diagonal(dim1=1, dim2=2).fill_(False)
    return GraphBatch(x, mask, positions, edges).checked()


def from_geometric(batch: Any) -> GraphBatch:
    """Pad a batch of PyTorch Geometric: `x`, `pos`, and where they exist `batch`, `edge_index`.

    The package itself is not needed: only these attributes are read.

    Raises:
        DataError: when a needed attribute is missing, and as `pad_graphs`.
    """
    for name in ("x", "pos"):
        if not isinstance(getattr(batch, name, None), Tensor):
            raise DataError(
                f"this batch has no '{name}'",
                where=type(batch).__name__,
                expected="node features `x` (nodes, C) and positions `pos` (nodes, 2)",
            )
    owner = getattr(batch, "batch", None)
    owner = torch.zeros(len(batch.x), dtype=torch.long) if owner is None else owner
    index = getattr(batch, "edge_index", None)
    graphs = []
    for number in range(int(owner.max()) + 1 if len(owner) else 0):
        mine = (owner == number).nonzero().flatten()
        edges = None
        if index is not None:
            place = torch.full((len(owner),), -1, dtype=torch.long)
            place[mine] = torch.arange(len(mine))
            inside = place[index.T]
            edges = inside[(inside >= 0).all(1)]
        graphs.append(Graph(batch.x[mine], batch.pos[mine], edges))
    return pad_graphs(graphs)


def grid_positions(rows: int, columns: int) -> Tensor:
    """Return (rows · columns, 2) places (down, across) of a grid around its centre, row by row.

    The unit is the distance between neighbours.
    """
    down = torch.arange(rows, dtype=torch.float32) - (rows - 1) / 2
    across = torch.arange(columns, dtype=torch.float32) - (columns - 1) / 2
    return torch.cartesian_prod(down, across)


def _check_graph(graph: Graph, number: int, features: int) -> None:
    where = f"graph {number}"
    if graph.x_NC.ndim != 2 or graph.x_NC.shape[1] != features:
        raise DataError(
            "graphs of one batch have the same features",
            where=where,
            expected=f"(nodes, {features})",
            found=tuple(graph.x_NC.shape),
        )
    if graph.positions_N2.shape != (len(graph.x_NC), 2):
        raise DataError(
            "every node has a position",
            where=where,
            expected=(len(graph.x_NC), 2),
            found=tuple(graph.positions_N2.shape),
        )
    edges = graph.edges_E2
    if (
        edges is not None
        and len(edges)
        and not 0 <= int(edges.min()) <= int(edges.max()) < len(graph.x_NC)
    ):
        raise DataError(
            "an edge names a node that does not exist",
            where=where,
            expected=f"0 … {len(graph.x_NC) - 1}",
            found=f"{int(edges.min())} … {int(edges.max())}",
        )
