"""Cells as training data: windows, splits, normaliser, and masks that cannot be used."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from pellucid.build.stacks import build_normaliser
from pellucid.data import CellData
from pellucid.data.stacks.normalisers import Chain
from pellucid.errors import DataError, RecipeError
from pellucid.functional.cell_tensor import unpack_graphs

NAMES = ("CD3", "CD20", "DNA")
SIDE, PITCH = 80, 8


def write_tissue(folder: Path, regions: int = 3, *, labels=None, spoil=None) -> Path:
    """Write regions of 80 × 80 pixels with a cell on every 8 × 8, and their masks."""
    rng = np.random.default_rng(0)
    (folder / "img").mkdir(parents=True)
    (folder / "masks").mkdir()
    count = SIDE // PITCH
    for number in range(regions):
        grid = np.arange(1, count**2 + 1).reshape(count, count)
        cells = np.kron(grid, np.ones((PITCH, PITCH), int)).astype(np.uint16)
        cells[::PITCH], cells[:, ::PITCH] = 0, 0
        levels = rng.gamma(2.0, 3.0, (3, count**2 + 1)) * np.array([1, 10, 4])[:, None]
        values = rng.poisson(levels[:, cells]).astype(np.float32)
        if spoil is not None:
            spoil(number, values)
        np.savez(folder / "img" / f"s{number}_001.npz", values, channels=np.array(NAMES))
        mask = cells if labels is None else labels(number, cells)
        if mask is not None:
            tifffile.imwrite(folder / "masks" / f"s{number}_001_arr_0.tiff", mask)
    return folder / "img"


@pytest.fixture(scope="module")
def tissue(tmp_path_factory) -> Path:
    return write_tissue(tmp_path_factory.mktemp("tissue") / "set")


def data(path: Path, steps=None, **keywords) -> CellData:
    return CellData(str(path), normaliser=build_normaliser(steps), **{"window": 40, **keywords})


def test_windows_cover_every_cell_once_and_splits_share_none(tissue):
    found = data(tissue, split="region")
    rows = [
        np.concatenate([window.rows_N for window in part.plain().windows])
        for part in (found.train, found.validation, found.test)
    ]
    together = np.concatenate(rows)
    assert len(together) == len(np.unique(together)) == len(found.table) == 300
    assert found.report.cells == 300
    assert [len(part) for part in (found.train, found.validation, found.test)] == [4, 4, 4]


def test_the_normaliser_is_fitted_on_training_cells_alone(tissue):
    found = data(tissue, split="region")
    own = np.concatenate([w.rows_N for w in found.train.plain().windows])
    x, _ = found.normaliser.forward(torch.from_numpy(found.table.markers_NC[own]))
    torch.testing.assert_close(x.mean(0), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(x.std(0, correction=0), torch.ones(3), atol=1e-4, rtol=0)


@pytest.mark.parametrize("steps", [None, [{"kind": "log1p"}], [{"kind": "per-sample"}]])
def test_samples_come_back_in_mean_counts(tissue, steps):
    found = data(tissue, steps, split="region")
    batch = found.test.batch([0, 2])
    graph = unpack_graphs(batch["x"], 3)
    counts = found.normaliser.inverse(batch["x"][:, :3, :, 0], batch.get("scale"))
    for row, index in enumerate((0, 2)):
        own = counts[row].T[graph.mask_BN[row]]
        np.testing.assert_allclose(own, found.test.raw(index), rtol=1e-3, atol=1e-3)


def test_a_saved_normaliser_gives_the_same_samples(tissue, tmp_path):
    found = data(tissue, split="region")
    found.normaliser.save(tmp_path / "n.safetensors")
    again = CellData(
        str(tissue), normaliser=Chain.load(tmp_path / "n.safetensors"), channels=list(found.names),
        window=40, split="region", splits=found.splits,
    )  # fmt: skip
    assert torch.equal(again.test.batch([0])["x"], found.test.batch([0])["x"])


def test_training_windows_are_a_function_of_epoch_and_keep_distances(tissue):
    found = data(tissue, split="region", shift=False, mask_channels=0.5)
    one, same, other = (found.train[0, epoch] for epoch in (3, 3, 4))
    assert torch.equal(one["x"], same["x"])
    assert not torch.equal(one["target"], other["target"])
    plain = unpack_graphs(found.train.plain()[0]["target"][None], 3)
    turned = unpack_graphs(one["target"][None], 3)
    torch.testing.assert_close(turned.x_BNC, plain.x_BNC)
    distance = [torch.cdist(g.positions_BN2, g.positions_BN2) for g in (plain, turned)]
    torch.testing.assert_close(distance[0], distance[1], atol=1e-3, rtol=1e-3)


def test_blocks_keep_their_margin(tissue):
    found = data(tissue, split="blocks", block=40, margin=6)
    places = {
        name: found.table.centroids_N2[np.concatenate([w.rows_N for w in part.plain().windows])]
        for name, part in (("train", found.train), ("test", found.test))
    }
    regions = {
        name: found.table.regions_N[np.concatenate([w.rows_N for w in part.plain().windows])]
        for name, part in (("train", found.train), ("test", found.test))
    }
    for place, region in zip(places["test"], regions["test"], strict=True):
        near = places["train"][regions["train"] == region]
        assert len(near) == 0 or np.abs(near - place).max(1).min() >= 6


def test_neighbours_are_as_asked(tissue):
    nearest = unpack_graphs(data(tissue, split="region", k=1).test.batch([0])["x"], 3)
    touching = data(tissue, split="region", neighbours="delaunay", longest=9.0)
    delaunay = unpack_graphs(touching.test.batch([0])["x"], 3)
    counts = [g.edges_BNN.sum() for g in (nearest, delaunay) if g.edges_BNN is not None]
    assert counts[0] < counts[1]
    with pytest.raises(RecipeError, match="kind of neighbours"):
        data(tissue, neighbours="friends")


def test_an_alive_channel_elsewhere_and_a_nan_channel_are_said_and_not_fed(tmp_path):
    def spoil(number, values):
        values[1] = np.nan

    found = data(write_tissue(tmp_path / "nan", spoil=spoil), split="region")
    assert found.names == ("CD3", "DNA")
    assert any("CD20 (not a number anywhere)" in remark for remark in found.report.remarks)
    with pytest.raises(DataError, match="'CD20' cannot be learned"):
        data(tmp_path / "nan" / "img", split="region", channels=["CD3", "CD20"])


def test_a_region_without_mask_or_with_nan_is_skipped_and_counted(tmp_path):
    def spoil(number, values):
        if number == 1:
            values[0, 3, 3] = np.nan

    path = write_tissue(
        tmp_path / "some", 6, spoil=spoil, labels=lambda n, cells: None if n == 0 else cells
    )
    skipped = data(path, split="region").report.skipped
    assert skipped["no mask"]["count"] == 1
    assert skipped["NaN or infinite values"]["count"] == 1


@pytest.mark.parametrize(
    ("labels", "keywords", "said"),
    [
        (lambda n, cells: None, {}, "no masks for these regions"),
        (lambda n, cells: cells[:-1], {}, "mask and stack differ in size"),
        (lambda n, cells: cells * 0, {}, "the masks hold no cells"),
        (lambda n, cells: (cells == 12).astype(np.uint16), {}, "holds enough cells"),
        (lambda n, cells: cells, {"window": 9, "min_cells": 9}, "holds enough cells"),
        (lambda n, cells: cells, {"window": 0}, "a window of cells has a size"),
        (lambda n, cells: cells, {"block": 30, "margin": 15}, "held-out block holds nothing"),
        (lambda n, cells: cells, {"k": 0}, "a neighbourhood has a size"),
    ],
)
def test_masks_that_cannot_be_used_are_refused_in_words(tmp_path, labels, keywords, said):
    path = write_tissue(tmp_path / "set", labels=labels)
    with pytest.raises(DataError, match=said):
        data(path, **{"split": "region", **keywords})


def test_one_cell_per_window_is_enough_where_it_is_asked_for(tmp_path):
    path = write_tissue(
        tmp_path / "set", 8, labels=lambda n, cells: np.isin(cells, [12]).astype(np.uint16)
    )
    found = data(path, split="region", min_cells=1)
    x = found.test.batch([0])["x"]
    assert x.shape == (1, 3 + 3 + 1, 1, 1)
    assert not x[:, 6:].any()  # nobody has a neighbour


def test_real_cells(imc):
    found = data(imc, split="region", window=64)
    assert len(found.table) == 237
    assert len(found.train) > 0
    assert len(found.test) > 0
