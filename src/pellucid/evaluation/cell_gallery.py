"""Markers of cells as pictures: every cell a disc at its place, original beside reconstruction.

Shape letters: B windows, E cells of all of them, C markers, S side of a picture.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pellucid.data.stacks.cell_split import CellSplit
from pellucid.evaluation.cell_references import WINDOW, CellReferences
from pellucid.evaluation.passes import Reconstructor
from pellucid.evaluation.stack_gallery import CANDIDATES, write_mosaics
from pellucid.evaluation.stack_record import StackEvaluation
from pellucid.evaluation.stack_references import Judge
from pellucid.functional.cell_tensor import unpack_graphs
from pellucid.references.samples import spaced
from pellucid.run_folder import RunFolder

SIDE = 48
"""Pixels of a window's picture."""


def save_cells(
    folder: RunFolder,
    reconstruct: Reconstructor,
    split: CellSplit,
    indices: Sequence[int],
    judge: Judge,
    references: CellReferences,
    result: StackEvaluation,
    count: int,
    shown: Sequence[str] | None,
) -> None:
    """Write one PNG per marker and column, then reconstructions/index.json; see `write_mosaics`.

    Args:
        folder: of the run.
        reconstruct: the model.
        split: held-out windows.
        indices: those that were measured.
        judge: what is judged.
        references: fitted.
        result: of this model on these windows.
        count: how many markers.
        shown: names of the markers to draw, if all are there; else a spread from best to worst.

    Raises:
        RunError: when a file cannot be written.
    """
    chosen = [indices[i] for i in spaced(len(indices), CANDIDATES)]
    batch = split.batch(chosen)
    raws = [split.raw(index) for index in chosen]
    sizes = [len(raw) for raw in raws]
    judged_EC = judge(torch.from_numpy(np.concatenate(raws)))
    y_BRN1 = reconstruct(batch["x"])[0].cpu()
    channels = judged_EC.shape[1]
    counts_BCN = judge.counts(y_BRN1[:, :channels, :, 0], batch.get("scale"))
    mask_BN = unpack_graphs(batch["x"], channels).mask_BN
    linear = references.fair or WINDOW
    values = {
        "original": judged_EC,
        "reconstruction": judge(counts_BCN.transpose(1, 2)[mask_BN]),
        linear: references.reconstruct(judged_EC, sizes)[linear],
    }
    nearest = [_nearest(split, index) for index in chosen]
    columns = {
        name: torch.stack(
            [_drawn(part, own) for part, own in zip(rows.split(sizes), nearest, strict=True)]
        )
        for name, rows in values.items()
    }
    write_mosaics(folder, columns, result, count, shown, kind="cells", what="windows")


def _nearest(split: CellSplit, index: int) -> np.ndarray:
    """Return (S, S) the cell that a pixel shows, or −1 where none is within its radius."""
    window = split.window(index)
    size = np.array([window.height, window.width])
    places_N2 = (split.table.centroids_N2[window.rows_N] - (window.top, window.left)) / size
    radius_N = np.sqrt(split.table.areas_N[window.rows_N] / np.pi) / size.mean()
    grid = (np.indices((SIDE, SIDE)).reshape(2, -1).T + 0.5) / SIDE
    distance = np.linalg.norm(grid[:, None] - places_N2[None], axis=2)
    near = distance.argmin(1)
    inside = distance[np.arange(len(near)), near] <= np.maximum(radius_N[near], 1.0 / SIDE)
    return np.where(inside, near, -1).reshape(SIDE, SIDE)


def _drawn(values_NC: Tensor, nearest_SS: np.ndarray) -> Tensor:
    """Return (C, S, S) with every cell's value in its disc, the lowest value around them."""
    padded = torch.cat([values_NC, values_NC.min(0, keepdim=True).values])
    return padded[torch.from_numpy(nearest_SS)].permute(2, 0, 1).contiguous()
