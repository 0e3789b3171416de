"""Every format gives back what was written, refuses what it cannot hold, and leaves no halves."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pellucid.errors import DataError, PellucidError, RunError
from pellucid.export import FORMATS, FeatureTable, Ragged, load_table, write_table
from pellucid.export.staging import Staging, X
from pellucid.models.layers import Layer

LAYERS = (Layer("stride_4", 3, 4), Layer("latent", 2, 4))
NAMES = tuple(f"{layer.name}.c{c}" for layer in LAYERS for c in range(layer.channels))


def staged(staging: Staging, sizes=((2, 3),) * 5, pool="mean") -> FeatureTable:
    rng = np.random.default_rng(0)
    for index, size in enumerate(sizes):
        told = {"name": [f"é{index}.png"], "split": ["train"], "group": [index // 2]}
        told |= {"label": ["cat"], "y": [1.5], "x": [index + 0.5]}
        if pool == "none":
            maps = {layer.name: rng.normal(size=(1, layer.channels, *size)) for layer in LAYERS}
            staging.add(told, maps)
        else:
            staging.add(told, {X: rng.normal(size=(1, len(NAMES)))})
    return staging.table(
        model="ab" * 32,
        run="mine",
        layers=LAYERS,
        pool=pool,
        columns=NAMES if pool != "none" else (),
        skipped=[("bad.png", "truncated")],
    )


@pytest.mark.parametrize("to", list(FORMATS))
def test_pooled_features_come_back_whole(to, tmp_path):
    path = tmp_path / f"deep/f.{to}"
    with Staging(tmp_path) as staging:
        table = staged(staging)
        write_table(table, path)
        write_table(table, path)  # over an old one
        found = load_table(path)
        assert np.array_equal(found.x, table.x)
    assert found.columns == table.columns
    assert (found.model, found.run, found.pool, found.layers) == ("ab" * 32, "mine", "mean", LAYERS)
    assert found.skipped == (("bad.png", "truncated"),)
    for name, column in table.samples.items():
        assert found.samples[name].tolist() == column.tolist(), name
    assert np.array_equal(found.layer("latent"), found.x[:, 3:])
    assert sorted(p.name for p in tmp_path.rglob("*") if p.name.startswith(".f")) == []


@pytest.mark.parametrize("to", ["npz", "zarr"])
@pytest.mark.parametrize("sizes", [((2, 3),) * 3, ((2, 3), (4, 1), (1, 1))])
def test_whole_maps_come_back_whole(to, sizes, tmp_path):
    with Staging() as staging:
        table = staged(staging, sizes, "none")
        write_table(table, tmp_path / f"f.{to}")
        found = load_table(tmp_path / f"f.{to}")
        for layer in LAYERS:
            for index, size in enumerate(sizes):
                assert found.maps[layer.name][index].shape == (layer.channels, *size)
                assert np.array_equal(found.maps[layer.name][index], table.maps[layer.name][index])
            assert isinstance(found.maps[layer.name], Ragged) == (len(set(sizes)) > 1)


def test_positions_become_rows_of_anndata(tmp_path):
    import anndata

    with Staging() as staging:
        table = staged(staging, ((2, 3), (1, 2)), "none")
        write_table(table, tmp_path / "f.h5ad")
        adata = anndata.read_h5ad(tmp_path / "f.h5ad")
        assert adata.shape == (8, 5)
        assert list(adata.var_names) == list(NAMES)
        third = [table.maps[layer.name][0][:, 1, 2] for layer in LAYERS]  # row 1, column 2
        assert np.allclose(adata["é0.png#5"].X[0], np.concatenate(third))
        assert adata.obsm["spatial"][5].tolist() == [10.0, 6.0]  # (2 + ½)·4, (1 + ½)·4
        assert adata.uns["pellucid"]["model"] == "ab" * 32
        assert adata.obs["label"].dtype == "category"
        other = dataclasses.replace(table, layers=(LAYERS[0], Layer("latent", 2, 8)))
        with pytest.raises(DataError, match="different grids"):
            write_table(other, tmp_path / "g.h5ad")


def test_wrong_files_are_refused_in_words(tmp_path):
    with Staging() as staging:
        table = staged(staging, pool="none")
        with pytest.raises(DataError, match="no room for whole maps"):
            write_table(table, tmp_path / "f.parquet")
        with pytest.raises(PellucidError, match="unknown format 'csv'"):
            write_table(table, tmp_path / "f.csv")
        with pytest.raises(DataError, match="another format"):
            write_table(table, tmp_path / "f.npz", to="zarr")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "f.npz").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(RunError, match="cannot read these features"):
        load_table(tmp_path / "f.npz")
    np.savez(tmp_path / "g.npz", about="{}")
    with pytest.raises(RunError, match="no features file"):
        load_table(tmp_path / "g.npz")
    with pytest.raises(DataError, match="no such features file"):
        load_table(tmp_path / "none.zarr")


def test_features_of_another_model_are_refused():
    with Staging() as staging:
        table = staged(staging)
        assert table.require_model("ab" * 32, run="mine") is table
        with pytest.raises(RunError, match="belong to another model"):
            table.require_model("cd" * 32, run="mine")
