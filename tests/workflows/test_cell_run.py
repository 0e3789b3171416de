"""A run of cells from end to end: train, evaluate, page, features, inspect; what has no meaning."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from pellucid.errors import PellucidError
from pellucid.workflows.diagnose import diagnose, subject_of
from pellucid.workflows.evaluate import evaluate
from pellucid.workflows.features import feature_info, features, write_features
from pellucid.workflows.inspect import inspect
from pellucid.workflows.reconstruct import reconstruct
from pellucid.workflows.run import Run
from pellucid.workflows.subject_cells import padded_sets
from pellucid.workflows.train import train

NAMES = ["CD3", "CD20", "DNA", "SMA", "DEAD"]
SMALL = {"channels": 16, "depth": 1, "heads": 2, "tokens": 2}
TINY = [
    "data.window=40",
    "data.split=region",
    *[f"{part}.{key}={value}" for part in ("encoder", "decoder") for key, value in SMALL.items()],
    "bottleneck.dim=4",
    "training.steps=12",
    "training.batch_size=4",
    "training.validate_every=6",
    "training.checkpoint_every=6",
    "evaluation.resamples=50",
    "evaluation.pca=[1]",
    "evaluation.masked=true",
]


@pytest.fixture(scope="module")
def tissue(tmp_path_factory) -> Path:
    """Four regions of 100 cells of two types, which follow each other in stripes; masks beside."""
    root = tmp_path_factory.mktemp("tissue")
    rng = np.random.default_rng(0)
    for folder in ("img", "masks"):
        (root / folder).mkdir()
    for number in range(4):
        grid = np.arange(1, 101).reshape(10, 10)
        cells = np.kron(grid, np.ones((8, 8), int)).astype(np.uint16)
        cells[::8], cells[:, ::8] = 0, 0
        kind = np.concatenate([[0.5], np.tile([0.0, 1.0], 50)])
        levels = np.stack([8 * kind + 0.3, 3 * (1 - kind) + 0.2, 5 + 0 * kind, 2 + kind, 0 * kind])
        values = rng.poisson(levels[:, cells] * rng.gamma(9, 1 / 9, 101)[cells]).astype(np.float32)
        np.savez(root / "img" / f"s_{number:03d}.npz", values, channels=np.array(NAMES))
        tifffile.imwrite(root / "masks" / f"s_{number:03d}_arr_0.tiff", cells)
    return root


@pytest.fixture(scope="module")
def run(tissue, tmp_path_factory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "cells"
    return train("tissue-cells", overrides=[f"data.path={tissue}", *TINY], out=out, progress=False)


@pytest.fixture(scope="module")
def framed(tissue, tmp_path_factory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "framed"
    overrides = [f"data.path={tissue}", *TINY, "permuter={kind: learned}"]
    return train("tissue-cells", overrides=overrides, out=out, progress=False)


@pytest.fixture(scope="module")
def per_cell(tissue, tmp_path_factory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "per-cell"
    more = ["encoder.per_node=true", "decoder.per_node=true", "data.neighbours=delaunay"]
    overrides = [f"data.path={tissue}", *TINY, *more, "encoder.places=relative"]
    return train("tissue-cells", overrides=overrides, out=out, progress=False)


def test_the_run_states_channels_and_keeps_a_normaliser_of_cells(run):
    assert run.recipe.data["channels"] == NAMES[:4]
    chain = run.normaliser()
    assert chain is not None
    assert chain.channels == tuple(NAMES[:4])
    report = json.loads(run.folder.data.read_text())
    assert report["cells"] == 400
    assert any("DEAD (all zero)" in remark for remark in report["remarks"])


def test_opened_again_it_gives_the_same_cells_and_numbers(run):
    found = run.evaluation()
    again = evaluate(run, progress=False)
    assert again["markers"] == found["markers"]
    assert again["metrics"] == found["metrics"]


def test_the_evaluation_tells_every_marker_beside_pca_of_cells(run):
    found = run.evaluation()
    assert found["kind"] == "cells"
    assert [marker["name"] for marker in found["markers"]] == NAMES[:4]
    assert {"mean", "window-mean", "cell-pca-1"} == set(found["references"])
    assert found["latent"]["numbers"] == 2 * 4
    assert found["latent"]["fair"] == "cell-pca-1"
    assert sum(found["samples"]["cells"]) == 100
    live = [marker["r2"] for marker in found["markers"] if marker["live"]]
    assert found["metrics"]["r2"]["value"] == pytest.approx(np.median(live))
    assert "gradient_error" not in found["metrics"]
    one = found["references"]["cell-pca-1"]["r2"]["value"]
    assert found["differences"]["cell-pca-1"]["r2"]["value"] == pytest.approx(
        found["metrics"]["r2"]["value"] - one
    )


def test_every_live_marker_is_also_asked_for_where_it_is_not_shown(run):
    found = run.evaluation()
    rows = [row for row in found["markers"] if row["live"]]
    assert rows
    assert all(row["masked_r2"] < 1 for row in rows)
    assert all(row["masked_r2"] is None for row in found["markers"] if not row["live"])
    median = np.median([row["masked_r2"] for row in rows])
    assert found["metrics"]["masked_r2"]["value"] == pytest.approx(median)


def test_latents_per_cell_state_their_rate_and_size(per_cell):
    found = per_cell.evaluation()
    assert found["latent"]["numbers"] == 2 * 4 + 4 * 25
    assert found["latent"]["per_cell"] == 4
    assert found["latent"]["fair"] == ""  # as many numbers as markers
    assert found["metrics"]["cell_kl_bits"]["value"] > 0
    assert any("no linear reference of equal numbers" in remark for remark in found["remarks"])


def test_a_learned_frame_makes_latents_blind_to_turns(run, framed):
    seen, blind = (r.evaluation()["metrics"]["turn_error"]["value"] for r in (run, framed))
    assert blind < 1e-3 < seen


def test_the_page_speaks_of_cells(run):
    page = run.folder.report.read_text()
    for words in ("held-out cells", "PCA of cells, 1 number per cell", "numbers per window"):
        assert words in page
    assert "held-out tiles" not in page
    assert "data:image/png" in page


def test_features_have_one_row_per_window_or_per_cell(run, per_cell, tissue):
    windows = features(run)
    assert windows.x is not None
    assert windows.x.shape == (16, 8)
    assert sorted(windows.samples["cells"]) == [25] * 16
    cells = features(per_cell)
    assert cells.x is not None
    assert cells.x.shape == (400, 4)
    np.testing.assert_allclose(cells.samples["counts.DNA"].mean(), 5, rtol=0.2)
    given = features(run, tissue, layers=["reconstruction", "window"])
    assert given.x is not None
    assert given.x.shape == (400, 4 + 8)
    assert given.columns[:4] == tuple(f"reconstruction.{name}" for name in NAMES[:4])
    assert np.asarray(given.layer("window")).shape == (400, 8)
    assert {layer.name for layer in feature_info(run)} >= {"window", "latent", "nodes"}


def test_a_cells_row_is_its_own_latent(per_cell):
    table, data, model = features(per_cell, split="test"), per_cell.data(), per_cell.load()
    batch = data.test.batch([1])
    with torch.no_grad():
        latent = model.encode(batch["x"]).mean[0, :, 2:].T
    own = table.samples["window"] == data.test.name(1)
    assert table.x is not None
    np.testing.assert_allclose(table.x[own], latent.numpy(), atol=1e-4, rtol=1e-3)
    rows = data.test.windows[1].rows_N
    np.testing.assert_allclose(table.samples["x"][own], data.table.centroids_N2[rows, 1] + 0.5)


def test_h5ad_holds_places_and_marker_names(run, tmp_path):
    anndata = pytest.importorskip("anndata")
    out = tmp_path / "cells.h5ad"
    written = write_features(run, layers=["nodes", "reconstruction"], out=out, to="h5ad")
    assert written["rows"] == 400
    found = anndata.read_h5ad(out)
    assert found.obsm["spatial"].shape == (400, 2)
    assert "reconstruction.CD20" in found.var_names
    assert {"counts.CD3", "cell", "area", "window", "split"} <= set(found.obs.columns)


def test_from_the_command_line(tissue, tmp_path, monkeypatch, capsys):
    from pellucid.cli import main

    def type_in(*words: str) -> None:
        monkeypatch.setattr(sys, "argv", ["pellucid", *map(str, words)])
        with contextlib.suppress(SystemExit):
            main()
        assert "error" not in capsys.readouterr().err

    run = tmp_path / "run"
    type_in("train", "tissue-cells", f"data.path={tissue}", *TINY, "-o", run)
    type_in("evaluate", run)
    type_in("report", run)
    assert (run / "evaluation.json").is_file()
    type_in("features", run, "--cells", "--to", "h5ad", "-o", tmp_path / "cells.h5ad")
    assert (tmp_path / "cells.h5ad").is_file()


def test_inspect_says_that_there_are_masks(tissue):
    found = inspect(tissue, progress=False)
    assert found["masks"] == 4
    commands = {s["recipe"]: s["command"] for s in found["suggestions"]}
    assert commands["tissue-cells"].startswith("pellucid train tissue-cells data.path=")


def test_what_has_no_meaning_for_cells_is_refused_in_words(run, tissue, tmp_path):
    with pytest.raises(PellucidError, match="cells"):
        reconstruct(run, tissue, out=tmp_path, progress=False)
    with pytest.raises(PellucidError, match="cells lie on no grid"):
        features(run, pool="none")
    for override, said in (
        ("permuter={kind: oracle}", "same in every order"),
        ("permuter={kind: learned, over: nodes}", "same in every order"),
        ("encoder.kind=residual", "encoder of cells"),
        ("decoder.tokens=3", "different tokens"),
    ):
        overrides = [f"data.path={tissue}", *TINY, override]
        with pytest.raises(PellucidError, match=said):
            train("tissue-cells", overrides=overrides, out=tmp_path / "no", progress=False)


@pytest.mark.parametrize("which", ["run", "framed"])
def test_the_diagnosis_sees_padded_windows_and_decodes_at_their_places(which, request):
    run = request.getfixturevalue(which)
    subject, data = subject_of(run), run.data()
    train, held = padded_sets(run.load(), data, data.train, data.test)
    x = torch.stack([train[0], held[1]])
    assert x.shape[-2:] == (1, 1)
    latent = subject.encode(x)
    assert subject.decode_at is not None
    assert subject.forward is not None
    torch.testing.assert_close(subject.decode_at(latent.mean, x), subject.forward(x))
    for move in subject.symmetries:
        moved = move(x)
        assert not torch.equal(moved, x)
        torch.testing.assert_close(subject.encode(moved).mean, latent.mean, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("which", ["run", "per_cell", "framed"])
def test_the_diagnosis_tests_what_applies_and_says_what_does_not(which, request):
    found = diagnose(request.getfixturevalue(which), budget_seconds=15)
    assert {"under-training", "posterior-collapse", "range-mismatch"} <= set(found.tested)
    waits = {row.id for row in found.not_tested}
    assert {"checkerboard", "metallic-artefacts", "codebook-collapse"} <= waits
    about = {f.id for f in found.findings if f.confidence >= 0.5}
    assert about <= {"under-training", "capacity-limit", "rate-starvation", "learning-rate"}, about
