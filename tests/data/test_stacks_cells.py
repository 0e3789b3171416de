"""Cells from masks: closed forms, and masks that are missing or do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from pellucid.data.stacks import cell_table, open_stacks
from pellucid.errors import DataError


@pytest.fixture
def masked(tmp_path: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    stack = rng.random((3, 20, 24)).astype(np.float32)
    labels = np.zeros((20, 24), np.uint16)
    labels[2:6, 3:8], labels[10:12, 20:24], labels[15, 1] = 7, 2, 300
    (tmp_path / "img").mkdir()
    (tmp_path / "masks").mkdir()
    np.save(tmp_path / "img" / "s_001.npy", stack)
    tifffile.imwrite(tmp_path / "masks" / "s_001.tiff", labels)
    return tmp_path, stack, labels


def test_means_centroids_and_areas_are_those_of_the_pixels(masked):
    folder, stack, labels = masked
    found = open_stacks(folder / "img")
    cells = cell_table(found.root, found.regions)
    assert cells.labels_N.tolist() == [2, 7, 300]
    assert cells.areas_N.tolist() == [8, 20, 1]
    np.testing.assert_allclose(cells.centroids_N2, [[10.5, 21.5], [3.5, 5.0], [15, 1]])
    for row, label in enumerate(cells.labels_N):
        np.testing.assert_allclose(
            cells.markers_NC[row], stack[:, labels == label].mean(1), rtol=1e-6
        )
    assert set(cells.regions_N) == {"s_001"}
    assert cells.channels == found.channels


def test_missing_masks_are_an_error_that_says_where_they_belong(tmp_path):
    np.save(tmp_path / "s_001.npy", np.ones((3, 8, 8), np.float32))
    found = open_stacks(tmp_path)
    with pytest.raises(DataError, match="no masks") as error:
        cell_table(found.root, found.regions)
    assert "masks/s_001.tiff" in str(error.value)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.zeros((19, 24), np.uint16), "differ in size"),
        (np.zeros((20, 24), np.float32), "no label mask"),
    ],
)
def test_a_mask_that_does_not_fit_is_an_error(masked, labels, said):
    folder, _, _ = masked
    tifffile.imwrite(folder / "masks" / "s_001.tiff", labels)
    found = open_stacks(folder)
    with pytest.raises(DataError, match=said):
        cell_table(found.root, found.regions)


def test_real_cells(imc):
    found = open_stacks(imc)
    cells = cell_table(found.root, found.regions)
    assert len(cells) == 17 + 21 + 25 + 55 + 21 + 30 + 20 + 26 + 22
    assert np.isfinite(cells.markers_NC).all()
