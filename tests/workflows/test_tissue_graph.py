"""The recipe `tissue-graph` on stacks: train, evaluate, page, reconstruct, diagnose."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pellucid.workflows.diagnose import diagnose
from pellucid.workflows.reconstruct import reconstruct
from pellucid.workflows.report import report
from pellucid.workflows.run import Run
from pellucid.workflows.train import train

TINY = [
    "data.size=12",
    "data.block=40",
    "data.margin=4",
    "encoder.channels=16",
    "encoder.depth=1",
    "encoder.tokens=2",
    "decoder.channels=16",
    "decoder.depth=1",
    "decoder.tokens=2",
    "decoder.side=3",
    "permuter.side=3",
    "bottleneck.dim=8",
    "training.steps=8",
    "training.batch_size=8",
    "training.validate_every=4",
    "training.checkpoint_every=4",
    "evaluation.pca=[16]",
    "evaluation.resamples=20",
    "evaluation.save_reconstructions=2",
]


@pytest.fixture(scope="module")
def stacks(tmp_path_factory) -> Path:
    """One region of five channels; counts."""
    folder = tmp_path_factory.mktemp("tissue")
    rng = np.random.default_rng(0)
    mixed = np.einsum("cf,fhw->chw", rng.random((5, 3)), rng.random((3, 20, 20))) ** 3
    values = rng.poisson(5 * np.kron(mixed, np.ones((1, 8, 8)))).astype(np.float32)
    np.savez(folder / "region.npz", values, channels=np.array(["a", "b", "c", "d", "e"]))
    return folder


@pytest.fixture(scope="module")
def run(stacks, tmp_path_factory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "graph"
    return train("tissue-graph", overrides=[f"data.path={stacks}", *TINY], out=out, progress=False)


def test_markers_symmetry_and_probe_stand_in_one_evaluation(run):
    found = run.evaluation()
    assert [marker["name"] for marker in found["markers"]] == ["a", "b", "c", "d", "e"]
    assert found["latent"]["numbers"] == 16
    assert found["symmetry"]["promised"]
    assert found["symmetry"]["invariance_error"] < 1e-4
    assert {probe["question"] for probe in found["probe"]} >= {"which marker dominates the tile"}
    for probe in found["probe"]:
        assert {"latent", "pca-16", "mean-pooling"} == set(probe["accuracy"])


def test_the_page_shows_them(run):
    page = report(run).read_text()
    for word in ("Markers", "Symmetry", "What latents know", "mean-pooling"):
        assert word in page


def test_a_whole_region_comes_back(run, stacks, tmp_path):
    found = reconstruct(run, stacks, out=tmp_path, progress=False)
    assert (found["stacks"][0]["height"], found["stacks"][0]["width"]) == (160, 160)


def test_the_diagnosis_tests_permutation_variance_and_finds_none(run):
    found = diagnose(run, budget_seconds=20)
    assert "permutation-variance" in found.tested
    assert all(f.id != "permutation-variance" or not f.asserted for f in found.findings)
