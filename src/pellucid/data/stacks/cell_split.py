"""One split of windows of cells as a map-style dataset, a pure function of (seed, epoch, index).

Shape letters: B windows, N cells of a window, C markers, R = C + 3 + N rows of packed cells.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pellucid.data.addressing import AddressedSplit, sample_generator
from pellucid.data.order import Address
from pellucid.data.stacks.blocks import Block
from pellucid.data.stacks.cell_graphs import Neighbourhood
from pellucid.data.stacks.cells import CellTable
from pellucid.data.stacks.normalisers import Chain
from pellucid.data.stacks.tiles import TileAugmentation
from pellucid.functional.cell_tensor import pack_graphs
from pellucid.functional.graph_batch import Graph, pad_graphs


@dataclasses.dataclass(frozen=True)
class Window:
    """A rectangle of one block and the cells whose centroids lie in it.

    Args:
        block: its place in the split's list.
        top: first row, in pixels.
        left: first column.
        height: pixels.
        width: pixels.
        rows_N: its cells, as rows of the table.
    """

    block: int
    top: float
    left: float
    height: float
    width: float
    rows_N: np.ndarray


def cut_windows(
    table: CellTable, regions: Sequence[str], blocks: Sequence[Block], side: float, least: int
) -> tuple[list[Window], int]:
    """Cut blocks into windows of about `side` pixels that cover them; every cell is in one.

    Args:
        table: of the cells.
        regions: names, as blocks number them.
        blocks: to cut.
        side: of a window, in pixels.
        least: windows with fewer cells are left out.

    Returns:
        The windows, and the cells of those that are left out.
    """
    found, lost = [], 0
    for number, block in enumerate(blocks):
        members = cells_of(table, regions[block.region], block)
        rows, columns = (max(1, round(length / side)) for length in (block.height, block.width))
        height, width = block.height / rows, block.width / columns
        for place in range(rows * columns):
            top = block.top + place // columns * height
            left = block.left + place % columns * width
            own = _inside(table, members, top, left, height, width)
            if len(own) >= least:
                found.append(Window(number, top, left, height, width, own))
            else:
                lost += len(own)
    return found, lost


def cells_of(table: CellTable, region: str, block: Block) -> np.ndarray:
    """Return the rows of the cells whose centroids lie in a block."""
    own = np.flatnonzero(table.regions_N == region)
    return _inside(table, own, block.top, block.left, block.height, block.width)


class CellSplit(AddressedSplit[TileAugmentation]):
    """Yield {"x", "target", "index", "group"[, "scale"]}; x and target are packed cells (R, N, 1).

    Samples asked for together have room for the largest of them. A training window lies anywhere
    in its block, turned and mirrored; where too few cells lie there it keeps its own place.

    Args:
        table: of cells, with the channels that are fed.
        regions: names, as blocks number them.
        chain: fitted on training cells.
        blocks: of this split.
        groups: group number per block; resampled together for intervals.
        windows: at their own places.
        repeats: samples per window.
        neighbourhood: who is whose neighbour.
        unit: pixels that positions count as 1.
        least: cells of a window, at least.
        augmentation: for training; its crops are shifts, its turns go by any angle.
    """

    def __init__(
        self,
        table: CellTable,
        regions: Sequence[str],
        chain: Chain,
        blocks: Sequence[Block],
        groups: Sequence[int],
        windows: Sequence[Window],
        *,
        repeats: int = 1,
        neighbourhood: Neighbourhood,
        unit: float,
        least: int,
        augmentation: TileAugmentation | None = None,
    ) -> None:
        super().__init__(np.tile(np.arange(len(windows)), repeats)[:, None], augmentation)
        self.table, self.regions, self.chain = table, list(regions), chain
        self.blocks, self.groups, self.windows = list(blocks), list(groups), list(windows)
        self.neighbourhood, self.unit, self.least = neighbourhood, unit, least
        self._members = [cells_of(table, self.regions[b.region], b) for b in self.blocks]

    @property
    def most(self) -> int:
        """Cells of the largest window."""
        return max(len(window.rows_N) for window in self.windows)

    def name(self, index: int) -> str:
        """Return region and place of a window."""
        window = self.window(index)
        region = self.regions[self.blocks[window.block].region]
        return f"{region} at {window.top:.0f},{window.left:.0f}"

    def group(self, index: int) -> int:
        """Return the group of a window."""
        return self.groups[self.window(index).block]

    def window(self, index: int) -> Window:
        """Return a sample's window, at its own place."""
        return self.windows[int(self.places[index, 0])]

    def raw(self, index: int, epoch: int = 0) -> np.ndarray:
        """Return (N, C) markers in the unit of the data, of the cells the model would get."""
        return self.table.markers_NC[self._drawn(index % len(self), epoch)[0].rows_N]

    def _stacked(self, addresses: Sequence[Address]) -> dict[str, Tensor]:
        drawn = [self._graph(*pair) for pair in addresses]
        target = pack_graphs(pad_graphs([graph for graph, _, _ in drawn]))
        x = target
        if self.augmentation is not None and self.augmentation.mask_channels > 0:
            shown_BC = torch.from_numpy(~np.stack([hidden for _, _, hidden in drawn])).float()
            x = target.clone()
            x[:, : shown_BC.shape[1]] *= shown_BC[:, :, None, None]
        batch = {
            "x": x,
            "target": target,
            "index": torch.tensor([index for index, _ in addresses]),
            "group": torch.tensor([self.group(index) for index, _ in addresses]),
        }
        scales = [scale for _, scale, _ in drawn if scale is not None]
        return {**batch, "scale": torch.cat(scales)} if scales else batch

    def _graph(self, index: int, epoch: int) -> tuple[Graph, Tensor | None, np.ndarray]:
        """Return the window's graph, the scale of a per-sample step, which channels are hidden."""
        window, turn, mirrored, hidden_C = self._drawn(index, epoch)
        middle = (window.top + window.height / 2, window.left + window.width / 2)
        pixels = torch.from_numpy(self.table.centroids_N2[window.rows_N]).float()
        pixels = pixels - torch.tensor(middle)
        if mirrored:
            pixels = pixels * torch.tensor([1.0, -1.0])
        cos, sin = math.cos(turn), math.sin(turn)
        pixels = pixels @ torch.tensor([[cos, -sin], [sin, cos]])
        counts_NC = torch.from_numpy(self.table.markers_NC[window.rows_N])
        x_1CN, scale = self.chain.forward(counts_NC.T[None])
        edges = self.neighbourhood.edges(pixels)
        return Graph(x_1CN[0].T, pixels / self.unit, edges), scale, hidden_C

    def _drawn(self, index: int, epoch: int) -> tuple[Window, float, bool, np.ndarray]:
        """Return where the window lies, by how much it is turned, mirrored, and what is hidden."""
        window, channels = self.window(index), len(self.table.channels)
        if self.augmentation is None:
            return window, 0.0, False, np.zeros(channels, bool)
        rng = sample_generator(self.augmentation.seed, index, epoch)
        down, across, mirrored, turned = rng.random(4).tolist()  # always as many draws
        hidden_C = rng.random(channels) < self.augmentation.mask_channels
        if self.augmentation.random_crop:
            block = self.blocks[window.block]
            top = block.top + down * (block.height - window.height)
            left = block.left + across * (block.width - window.width)
            size = window.height, window.width
            rows = _inside(self.table, self._members[window.block], top, left, *size)
            if len(rows) >= self.least:
                window = Window(window.block, top, left, *size, rows)
        turn = 2 * math.pi * turned if self.augmentation.rotate else 0.0
        return window, turn, self.augmentation.flip and mirrored < 0.5, hidden_C


def _inside(
    table: CellTable, rows_N: np.ndarray, top: float, left: float, height: float, width: float
) -> np.ndarray:
    places = table.centroids_N2[rows_N]
    low, high = np.array([top, left]), np.array([top + height, left + width])
    return rows_N[((places >= low) & (places < high)).all(1)]
