"""Means over labels, against a plain loop."""

from __future__ import annotations

import numpy as np

from pellucid.functional.label_pooling import pool_labels


def test_means_over_cells_equal_a_plain_loop():
    rng = np.random.default_rng(0)
    y_DRQ = rng.normal(size=(3, 5, 6)).astype(np.float32)
    labels_HW = rng.integers(0, 7, size=(19, 23)) * 3  # neither gapless nor a multiple
    found, pooled = pool_labels(y_DRQ, labels_HW, 4)
    assert found.tolist() == [3, 6, 9, 12, 15, 18]
    fine = np.kron(y_DRQ, np.ones((1, 4, 4)))[:, :19, :23]
    for row, label in enumerate(found):
        assert np.allclose(pooled[row], fine[:, labels_HW == label].mean(1), atol=1e-5)
