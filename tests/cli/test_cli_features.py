"""`pellucid features` as a user types it, and the same from Python."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import pellucid as library
from pellucid.build.assemble import build_autoencoder
from pellucid.errors import PellucidError, RunError
from pellucid.models.weights import save_weights
from pellucid.recipe import Recipe, dump_yaml
from pellucid.run_folder import RunFolder

RATE = 8000


def test_own_samples_with_names_and_groups(pellucid, trained, tmp_path):
    path = tmp_path / "f.parquet"
    words = ["--layers", "stride_4,latent", "--to", "parquet", "-o", path, "--json", "-q"]
    code, out, err = pellucid("features", trained, *words)
    assert code == 0, err
    written = json.loads(out)
    splits = RunFolder(trained).read_json(RunFolder(trained).splits)["items"]
    table = library.load_features(path, trained)
    assert table.model == written["model"]
    assert len(table) == written["rows"]
    assert set(table.samples["name"].tolist()) == {n for part in splits.values() for n in part}
    for name, split in zip(table.samples["name"], table.samples["split"], strict=True):
        assert name in splits[split]
    data = library.Run.open(trained).data()
    index = table.samples["name"].tolist().index(data.test.name(0))
    latent = library.Run.open(trained).load().encode(data.test[0]["x"][None]).mean
    assert np.allclose(table.layer("latent")[index], latent.mean((2, 3))[0].detach(), atol=1e-5)


def test_files_of_any_size_and_a_broken_one(pellucid, trained, photos, tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    Image.open(photos / "0.png").resize((37, 51)).save(source / "a.png")
    shutil.copy(photos / "1.png", source / "b.png")
    (source / "c.png").write_bytes(b"not an image")
    path = tmp_path / "maps.npz"
    words = ["--layers", "stride_4", "--pool", "none", "-o", path, "--json", "-q"]
    code, out, _ = pellucid("features", trained, source, *words)
    assert code == 0
    assert [skipped["name"] for skipped in json.loads(out)["skipped"]] == ["c.png"]
    table = library.load_features(path)
    assert [table.maps["stride_4"][i].shape[1:] for i in range(2)] == [(13, 10), (10, 12)]
    code, _, err = pellucid("features", trained, source, "--pool", "flatten", "-o", path, "-q")
    assert code == 1
    assert "different sizes" in err
    assert "keep whole maps" in err
    assert table.model == library.load_features(path).model  # the old file stands


def test_list_says_channels_and_reduction(pellucid, trained):
    code, out, _ = pellucid("features", trained, "--list", "--json")
    assert code == 0
    layers = {layer["name"]: layer for layer in json.loads(out)}
    assert layers["stride_4"]["reduction"] == 4
    assert {"h", "latent", "quantized"} <= set(layers)
    code, _, err = pellucid("features", trained, "--layers", "stride4")
    assert code == 1
    assert "did you mean 'stride_4'" in err


def test_h5ad_for_scanpy(pellucid, trained, tmp_path):
    import anndata

    path = tmp_path / "f.h5ad"
    assert pellucid("features", trained, "--to", "h5ad", "-o", path, "-q")[0] == 0
    adata = anndata.read_h5ad(path)
    assert {"name", "split", "group"} <= set(adata.obs.columns)
    assert adata.obsm["spatial"].shape == (len(adata), 2)
    assert adata.uns["pellucid"]["model"] == library.Run.open(trained).digest()


def test_another_model_is_refused(trained, tmp_path):
    table_path = tmp_path / "f.npz"
    library.features(trained, out=table_path, split="test")
    twin = tmp_path / "twin"
    shutil.copytree(trained, twin)
    assert len(library.load_features(table_path, twin)) > 0
    other = library.Run.open(twin).load()
    with torch.no_grad():
        next(other.parameters()).add_(1e-3)
    save_weights(other, RunFolder(twin).model)
    with pytest.raises(RunError, match="another model"):
        library.load_features(table_path, twin)


@pytest.fixture(scope="module")
def talking(tmp_path_factory) -> Path:
    """A run of an untrained VAE for waveforms."""
    network = {"kind": "seanet", "strides": [2, 5], "width": 4}
    node = {
        "name": "tiny",
        "data": {"kind": "audio", "path": "nowhere", "sample_rate": RATE, "length": 4000},
        "encoder": {**network, "channels": 8},
        "bottleneck": {"kind": "gaussian", "dim": 4},
        "decoder": network,
        "objective": {"l1": {"weight": 1.0}},
    }
    recipe = Recipe.from_node(node, where="test")
    folder = RunFolder(tmp_path_factory.mktemp("runs") / "talking")
    folder.path.mkdir()
    folder.recipe.write_text(dump_yaml(recipe.to_node()))
    save_weights(build_autoencoder(recipe), folder.model)
    return folder.path


def test_waveforms_of_any_length(talking, tmp_path):
    rng = np.random.default_rng(0)
    for index, length in enumerate((8000, 8003)):
        soundfile.write(tmp_path / f"{index}.wav", 0.1 * rng.normal(size=length), RATE)
    table = library.features(talking, tmp_path, layers=["stage_1"], pool="none")
    assert [table.maps["stage_1"][i].shape for i in range(2)] == [(8, 4000), (8, 4002)]


@pytest.fixture
def pictures(photos) -> tuple[np.ndarray, np.ndarray]:
    files = sorted(photos.iterdir())
    X = np.stack([np.asarray(Image.open(file))[:32, :32] for file in files])
    return X, (X.mean((1, 2, 3)) > np.median(X.mean((1, 2, 3)))).astype(int)


def test_the_transformer_is_a_scikit_learn_estimator(trained, photos, pictures):
    X, y = pictures
    features = library.Features(str(trained), layer=("stride_4", "latent"), pool="max")
    twin = clone(features)
    assert twin.get_params() == features.get_params()
    Z = features.fit(X).transform(X)
    assert Z.shape == (len(X), len(features.get_feature_names_out()))
    assert features.get_feature_names_out()[0] == "stride_4.c0"
    flat = X.transpose(0, 3, 1, 2).reshape(len(X), -1) / 255
    for same in (X.transpose(0, 3, 1, 2), X / 255, flat):
        assert np.allclose(clone(features).fit_transform(same), Z, atol=1e-4)
    names = [str(file) for file in sorted(photos.iterdir())]
    table = library.features(trained, photos, layers=("stride_4", "latent"), pool="max")
    order = np.argsort(table.samples["name"])
    assert np.allclose(clone(features).fit_transform(names), table.x[order], atol=1e-5)
    assert np.array_equal(pickle.loads(pickle.dumps(features)).transform(X), Z)
    pipeline = make_pipeline(features, StandardScaler(), LogisticRegression())
    assert cross_val_score(pipeline, X, y, cv=3).shape == (3,)


def test_scikit_learns_own_checks(talking):
    """All of them, on a model of waveforms, whose rows may have any length."""
    check_estimator(library.Features(str(talking)), on_fail="raise")


def test_bad_input_is_named(trained, pictures):
    X, _ = pictures
    fitted = library.Features(trained, pool="flatten").fit(X)
    with pytest.raises(PellucidError, match="do not fit the model"):
        fitted.transform(X[..., :2])
    with pytest.raises(PellucidError, match="outside their range"):
        fitted.transform(X.astype(np.float32))
    with pytest.raises(PellucidError, match="another size than at fit"):
        fitted.transform(X[:, :24])
    with pytest.raises(ValueError, match="NaN"):
        fitted.transform(np.full((2, 32, 32, 3), np.nan))
    with pytest.raises(PellucidError, match="unknown pooling"):
        library.Features(trained, pool="median").fit(X)
    with pytest.raises(PellucidError, match="unknown split"):
        library.features(trained, split="tset")
    with pytest.raises(PellucidError, match="no such file"):
        library.features(trained, Path("nowhere"))
