"""A run of stacks from end to end: train, evaluate, page, reconstruct, diagnose, inspect."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from pellucid.data.stacks.normalisers import Chain
from pellucid.data.stacks.store import Store
from pellucid.errors import DataError, PellucidError, RecipeError
from pellucid.workflows.evaluate import evaluate
from pellucid.workflows.inspect import inspect
from pellucid.workflows.reconstruct import reconstruct
from pellucid.workflows.run import Run
from pellucid.workflows.stack_pass import encode_region, reconstruct_region
from pellucid.workflows.train import train

NAMES = ["CD3", "CD20", "DNA", "SMA", "DEAD"]
TINY = [
    "data.size=16",
    "data.block=40",
    "data.margin=4",
    "encoder.width=8",
    "encoder.multipliers=[1,2]",
    "encoder.channels=8",
    "decoder.width=8",
    "decoder.multipliers=[1,2]",
    "bottleneck.dim=8",
    "training.steps=12",
    "training.batch_size=8",
    "training.validate_every=6",
    "training.checkpoint_every=6",
    "evaluation.pca=[16]",
    "evaluation.resamples=50",
    "evaluation.masked=true",
]


@pytest.fixture(scope="module")
def stacks(tmp_path_factory) -> Path:
    """Two regions of five channels whose scales differ a hundredfold; one channel is dead."""
    folder = tmp_path_factory.mktemp("tissue")
    rng = np.random.default_rng(0)
    for number in range(2):
        coarse = rng.random((3, 15, 15))
        mixed = np.einsum("cf,fhw->chw", rng.random((5, 3)), coarse) ** 3
        scale = np.array([0.5, 2.0, 50.0, 5.0, 0.0])[:, None, None]
        values = rng.poisson(scale * np.kron(mixed, np.ones((1, 8, 8)))).astype(np.float32)
        np.savez(folder / f"slide_{number:03d}.npz", values, channels=np.array(NAMES))
    return folder


@pytest.fixture(scope="module")
def run(stacks, tmp_path_factory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "tissue"
    return train("tissue-stack", overrides=[f"data.path={stacks}", *TINY], out=out, progress=False)


def test_the_run_states_channels_and_keeps_its_normaliser(run):
    assert run.recipe.data["channels"] == NAMES[:4]
    chain = run.normaliser()
    assert isinstance(chain, Chain)
    assert chain.channels == tuple(NAMES[:4])
    assert run.value_range is None
    report = json.loads(run.folder.data.read_text())
    assert report["normalisation"] == ["arcsinh (cofactor 1.0)", "zscore"]
    assert report["channels"][4]["state"] == "all zero"


def test_the_evaluation_tells_every_marker_beside_pca(run):
    found = run.evaluation()
    assert found is not None
    assert [marker["name"] for marker in found["markers"]] == NAMES[:4]
    assert {"mean", "pca-16", "pca-32", "patch-pca-32"} == set(found["references"])
    assert found["latent"]["numbers"] == 2 * 2 * 8
    live = [marker["r2"] for marker in found["markers"] if marker["live"]]
    assert found["metrics"]["r2"]["value"] == pytest.approx(np.median(live))
    assert found["differences"]["mean"]["r2"]["value"] == pytest.approx(
        found["metrics"]["r2"]["value"] - found["references"]["mean"]["r2"]["value"]
    )
    assert found["metrics"]["masked_r2"]["value"] < 1
    again = evaluate(run, progress=False)
    assert again["markers"] == found["markers"]


def test_the_page_shows_channels_markers_and_mosaics(run):
    page = run.folder.report.read_text()
    for word in ("Markers", "CD20", "live markers", "all zero", "arcsinh", "data:image/png"):
        assert word in page
    assert "PSNR" not in page.split("Recipe")[0].split("<main>")[-1]


def test_whole_regions_come_back_in_counts_with_their_names(run, stacks, tmp_path):
    found = reconstruct(run, stacks, out=tmp_path, progress=False)
    assert [item["name"] for item in found["stacks"]] == ["slide_000_arr_0", "slide_001_arr_0"]
    with tifffile.TiffFile(tmp_path / found["stacks"][0]["file"]) as file:
        values = file.asarray()
        assert "SMA" in str(file.ome_metadata)
    assert values.shape == (4, 120, 120)
    assert np.isfinite(values).all()
    assert set(found["stacks"][0]["r2"]) == set(NAMES[:4])


def test_a_region_in_tiles_is_what_the_model_makes_of_its_tiles(run):
    data = run.data()
    model, chain = run.load(), data.normaliser
    store: Store = data.train.store
    latents = encode_region(model, chain, store, 0, size=16)
    assert latents.shape == (7, 7, 8, 2, 2)
    tile = torch.from_numpy(store.window(0, slice(32, 48), slice(48, 64)))[None]
    torch.testing.assert_close(
        latents[2, 3], model.encode(chain.forward(tile)[0]).mean[0], atol=1e-4, rtol=1e-3
    )

    class Echo(torch.nn.Module):
        stride = 4

        def encode(self, x):
            return x

        def decode(self, z):
            return z

    out = np.zeros((4, 120, 120), np.float32)
    reconstruct_region(Echo(), chain, store, 0, out, size=16)  # type: ignore[arg-type]
    np.testing.assert_allclose(out, store.window(0), rtol=1e-3, atol=1e-2)


def test_features_of_tiles_say_where_each_tile_lies(run, stacks):
    from pellucid.workflows.features import features

    own = features(run, split="test")
    assert len(own) == len(run.data().test)
    given = features(run, stacks)
    assert len(given) == 2 * 7 * 7
    assert np.isfinite(given.x).all()


def test_raw_counts_are_diagnosed_with_names_and_cured(stacks, tmp_path):
    from pellucid.diagnosis.rules.channel_scale_imbalance import channel_names
    from pellucid.workflows.diagnose import declared, examine_run

    raw = train(
        "tissue-stack",
        overrides=[f"data.path={stacks}", *TINY, "data.normalise=[]", "training.steps=2"],
        out=tmp_path / "raw",
        evaluate=False,
        progress=False,
    )
    found = examine_run(raw, budget_seconds=20)
    assert found.samples > 0

    class Case:
        class subject:
            recipe = declared(raw.recipe)

    live = torch.tensor([True, True, False, True])
    assert channel_names(Case, live) == ["CD3", "CD20", "SMA"]  # type: ignore[arg-type]


def test_inspect_says_what_it_would_do_and_draws_every_channel(stacks, tmp_path):
    report = inspect(stacks, out=tmp_path / "page.html", progress=False)
    assert report["kind"] == "stacks"
    assert report["normalisation"][0].startswith("arcsinh")
    assert "loudest would own the error" in report["why"][0]
    assert report["channels"][4]["state"] == "all zero"
    assert report["suggestions"][0]["recipe"] == "tissue-stack"
    page = (tmp_path / "page.html").read_text()
    assert page.count("data:image/png") == 2 * 5
    with pytest.raises(DataError, match="only stacks"):
        inspect("photographs", out=tmp_path / "x.html", progress=False)


@pytest.mark.parametrize(
    ("overrides", "error", "said"),
    [
        (["decoder.head=tanh"], RecipeError, "no bounds"),
        (["data.normalise=[{kind: zscor}]"], RecipeError, "did you mean 'zscore'"),
        (["training.monitor=psnr"], RecipeError, "unknown validation metric"),
        (["objective.ssim.weight=0.1"], RecipeError, "does not know its range"),
    ],
)
def test_what_makes_no_sense_for_stacks_is_refused(stacks, tmp_path, overrides, error, said):
    with pytest.raises(error, match=said):
        train(
            "tissue-stack",
            overrides=[f"data.path={stacks}", *TINY, *overrides],
            out=tmp_path / "r",
            progress=False,
        )


def test_one_channel_with_a_cosine_term_is_refused(tmp_path):
    folder = tmp_path / "one"
    folder.mkdir()
    np.save(folder / "a.npy", np.random.default_rng(0).poisson(3, (1, 120, 120)).astype("f4"))
    with pytest.raises(PellucidError, match="only a sign"):
        train(
            "tissue-stack",
            overrides=[f"data.path={folder}", *TINY, "objective.cosine.weight=1"],
            out=tmp_path / "r",
            progress=False,
        )


def test_features_of_cells_go_to_anndata(run, stacks, tmp_path):
    import anndata

    from pellucid.workflows.feature_cells import write_cells

    with pytest.raises(DataError, match="no masks"):
        write_cells(run, stacks, out=tmp_path / "cells.h5ad")
    masks = stacks / "masks"
    masks.mkdir()
    labels = np.zeros((120, 120), np.int32)
    labels[10:20, 30:50], labels[60:61, 70:71] = 4, 9
    tifffile.imwrite(masks / "slide_000_arr_0.tiff", labels)
    try:
        told = write_cells(run, stacks, layers=["stride_4", "latent"], out=tmp_path / "cells.h5ad")
    finally:
        (masks / "slide_000_arr_0.tiff").unlink()
        masks.rmdir()
    assert told["rows"] == 2
    assert [skip["reason"] for skip in told["skipped"]] == ["no mask"]
    adata = anndata.read_h5ad(tmp_path / "cells.h5ad")
    assert adata.obs["cell"].tolist() == [4, 9]
    assert adata.obs["area"].tolist() == [200, 1]
    assert adata.obsm["spatial"].tolist() == [[40.0, 15.0], [70.5, 60.5]]  # x, y
    assert adata.uns["pellucid"]["model"] == run.digest()
