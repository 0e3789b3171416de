"""Features of single cells: the mean of a map over the pixels of every label.

Shape letters: N cells, D features, R rows and Q columns of positions, H, W pixels.
"""

from __future__ import annotations

import numpy as np


def pool_labels(
    y_DRQ: np.ndarray, labels_HW: np.ndarray, reduction: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels (N,) and (N, D): each cell's mean over its pixels, 0 being no cell.

    A pixel has the features of the position it lies in, so a cell smaller than a position has that
    position's.

    Args:
        y_DRQ: one map; R·reduction ≥ H, Q·reduction ≥ W.
        labels_HW: integers.
        reduction: pixels per position.
    """
    from scipy.sparse import coo_matrix

    rows, columns = np.nonzero(labels_HW)
    found, cell = np.unique(labels_HW[rows, columns], return_inverse=True)
    position = rows // reduction * y_DRQ.shape[2] + columns // reduction
    ones = np.ones(len(cell), np.float32)
    size = (len(found), y_DRQ.shape[1] * y_DRQ.shape[2])
    pixels = coo_matrix((ones, (cell, position)), shape=size).tocsr()
    areas = np.bincount(cell, minlength=len(found)).astype(np.float32)
    return found, (pixels @ y_DRQ.reshape(len(y_DRQ), -1).T) / areas[:, None]
