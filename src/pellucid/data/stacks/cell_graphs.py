"""Cells as graphs: windows of a region whose nodes are cells and whose edges are neighbours.

Shape letters: N cells, C channels.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from pellucid.data.stacks.cells import CellTable
from pellucid.errors import DataError, unknown_name
from pellucid.functional.graph_batch import Graph
from pellucid.functional.graph_edges import delaunay_edges, nearest_edges

Neighbours = Literal["nearest", "delaunay"]


@dataclasses.dataclass(frozen=True)
class Neighbourhood:
    """Who is whose neighbour.

    Args:
        kind: "nearest" joins each cell to its k nearest, "delaunay" those that touch.
        k: for "nearest".
        longest: edges above this length in pixels are dropped, or None.

    Raises:
        RecipeError: for an unknown kind.
        DataError: for a value that is out of range.
    """

    kind: Neighbours = "nearest"
    k: int = 6
    longest: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Neighbours):
            raise unknown_name("kind of neighbours", self.kind, get_args(Neighbours))
        if self.k < 1 or (self.longest is not None and not self.longest > 0):
            raise DataError(
                "a neighbourhood has a size",
                where="data.k, data.longest",
                expected="k ≥ 1, longest > 0 or null",
                found=f"k {self.k}, longest {self.longest}",
            )

    def edges(self, pixels_N2: Tensor) -> Tensor:
        """Return (E, 2) pairs of neighbouring cells, each once."""
        if self.kind == "delaunay":
            return delaunay_edges(pixels_N2, longest=self.longest)
        edges = nearest_edges(pixels_N2, self.k)
        if self.longest is None or not len(edges):
            return edges
        length = (pixels_N2[edges[:, 0]] - pixels_N2[edges[:, 1]]).norm(dim=1)
        return edges[length <= self.longest]


def cell_graphs(
    table: CellTable,
    *,
    window: float = 64.0,
    neighbours: Neighbours = "nearest",
    k: int = 6,
    longest: float | None = None,
    unit: float = 10.0,
    least: int = 3,
    mean_C: np.ndarray | None = None,
    std_C: np.ndarray | None = None,
) -> tuple[list[Graph], list[str]]:
    """Cut every region into windows and make a graph of the cells of each.

    Args:
        table: cells with their mean markers and centroids.
        window: side of a window in pixels.
        neighbours: "nearest" joins each cell to its k nearest, "delaunay" those that touch.
        k: for "nearest".
        longest: edges above this length in pixels are dropped, or None.
        unit: pixels that positions count as 1, about the distance of neighbouring cells.
        least: windows with fewer cells are left out.
        mean_C: subtracted from the markers; of the training cells, or None.
        std_C: divides them, or None.

    Returns:
        The graphs, positions relative to the centre of their window, and the region of each.

    Raises:
        DataError: when there are no cells, no window holds enough of them, or a value is out of
            range.
        RecipeError: for an unknown kind of neighbours.
    """
    neighbourhood = Neighbourhood(neighbours, k, longest)
    if not (window > 0 and unit > 0 and least >= 1):
        raise DataError(
            "a window of cells has a size",
            expected="window > 0, unit > 0, least ≥ 1",
            found=f"window {window}, unit {unit}, least {least}",
        )
    if len(table) == 0:
        raise DataError(
            "there are no cells", expected="masks with labels above 0", hint="see `find_masks`"
        )
    markers_NC = table.markers_NC.astype(np.float32)
    if mean_C is not None:
        markers_NC = markers_NC - mean_C
    if std_C is not None:
        markers_NC = markers_NC / np.maximum(std_C, 1e-6)
    graphs: list[Graph] = []
    regions: list[str] = []
    for region in dict.fromkeys(table.regions_N.tolist()):
        own = np.flatnonzero(table.regions_N == region)
        places = np.floor(table.centroids_N2[own] / window).astype(int)
        for place in np.unique(places, axis=0):
            rows = own[(places == place).all(1)]
            if len(rows) < least:
                continue
            pixels = torch.from_numpy(table.centroids_N2[rows] - (place + 0.5) * window).float()
            x_NC = torch.from_numpy(np.ascontiguousarray(markers_NC[rows]))
            graphs.append(Graph(x_NC, pixels / unit, neighbourhood.edges(pixels)))
            regions.append(str(region))
    if not graphs:
        raise DataError(
            "no window holds enough cells",
            expected=f"{least} cells within {window:g} pixels",
            found=f"{len(table)} cells in {len(set(table.regions_N.tolist()))} regions",
            hint="a larger window, or a smaller least",
        )
    return graphs, regions
