"""A graph recipe with a permuter: train, evaluate, diagnose, one page; all unchanged workflows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid.build.assemble import build_autoencoder, build_data
from pellucid.diagnosis.evidence import Finding
from pellucid.evaluation.symmetry import measure_symmetry
from pellucid.functional.dihedral import turned
from pellucid.recipe import Recipe
from pellucid.workflows.diagnose import diagnose, subject_of
from pellucid.workflows.features import feature_info, features
from pellucid.workflows.report import report
from pellucid.workflows.run import Run
from pellucid.workflows.train import train
from pellucid.workflows.treatments import propose

GRAPH = {"kind": "graph", "channels": 16, "patch": 4, "depth": 1, "heads": 2, "tokens": 2}


def recipe(path, permuter) -> Recipe:
    return Recipe.from_node(
        {
            "name": "tiny-graph",
            "data": {"kind": "images", "path": str(path), "size": 12, "channels": 1, "flip": False},
            "encoder": GRAPH,
            "bottleneck": {"kind": "gaussian", "dim": 4, "weight": 1e-4},
            "decoder": {**GRAPH, "side": 3},
            "permuter": permuter,
            "objective": {"l2": {"weight": 1.0}, "edge": {"weight": 0.0}},
            "training": {
                "steps": 6,
                "batch_size": 8,
                "warmup_steps": 2,
                "validate_every": 3,
                "checkpoint_every": 3,
                "log_every": 1,
                "precision": "float32",
            },
            "evaluation": {"codecs": [], "save_reconstructions": 2, "resamples": 20},
        }
    )


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "images.npy"
    coarse = np.random.default_rng(0).integers(0, 256, (60, 3, 3), dtype=np.uint8)
    np.save(path, coarse.repeat(4, 1).repeat(4, 2))
    return path


@pytest.fixture(scope="module")
def run(images, tmp_path_factory) -> Run:
    permuter = {"kind": "learned", "side": 3, "anneal_steps": 4, "final_temperature": 1e-3}
    out = tmp_path_factory.mktemp("runs") / "graph"
    return train(recipe(images, permuter), out=out, progress=False)


def test_the_evaluation_says_what_the_permuter_does(run):
    node = run.evaluation()["symmetry"]
    assert node["promised"]
    assert node["group"] == "dihedral"
    assert node["invariance_error"] < 1e-4
    assert node["equivariance_error"] < 1e-4
    assert node["pose_bits"] == 3
    errors = list(node["by_element"].values())
    assert len(errors) == 8
    np.testing.assert_allclose(errors, errors[0], rtol=1e-4)
    np.testing.assert_allclose(np.mean(node["by_position"]), node["error_after"], rtol=1e-4)
    assert node["error_best"] <= node["error_after"] + 1e-9
    assert set(node["permuter"]) >= {"entropy", "soft_minus_hard", "temperature"}
    assert node["active"]["of"] == 8
    assert 0 <= node["active"]["closed_form"] <= 8


def test_training_logs_raw_and_penalised_kl_and_the_permuter(run):
    lines = [line for line in run.folder.read_metrics() if line["split"] == "train"]
    names = set(lines[-1]["values"])
    assert {
        "bottleneck.kl_nats_raw",
        "bottleneck.kl_nats_penalised",
        "bottleneck.soft_hard_gap",
        "terms.permutation_entropy.value",
    } <= names
    assert (
        lines[-1]["values"]["bottleneck.temperature"] < lines[0]["values"]["bottleneck.temperature"]
    )


def test_the_page_has_a_section(run):
    page = report(run).read_text()
    assert "Symmetry" in page
    assert "soft − hard error" in page
    assert "exactly as the permuter promises" in page


def test_features_leave_a_model_with_a_permuter_and_do_not_see_how_a_tile_lies(run, tmp_path):
    assert {layer.name for layer in feature_info(run)} == {"nodes", "h", "latent"}
    table = features(run, layers=["latent"], pool="flatten", progress=False)
    assert table.x.shape[1] == 2 * 4
    files = tmp_path / "files"
    files.mkdir()
    tile = run.data().test[0]["x"]
    for name, x in (("still", tile), ("turned", tile.rot90(1, (1, 2)))):
        grey = ((x[0].numpy() + 1) * 127.5).round().astype(np.uint8)
        Image.fromarray(grey).save(files / f"{name}.png")
    given = features(run, files, layers=["latent"], pool="flatten", progress=False)
    assert len(given.x) == 2
    np.testing.assert_allclose(given.x[0], given.x[1], atol=1e-5)


def test_the_diagnosis_tests_the_row_and_sees_canonical_samples(run):
    subject = subject_of(run)
    model = run.load()
    x = torch.stack([run.data().train[i]["x"] for i in range(4)])
    canonical = model.arrange(x).x
    latent = subject.encode(canonical)
    torch.testing.assert_close(subject.decode(latent.mean), subject.forward(canonical))
    assert len(subject.symmetries) == 7
    found = diagnose(run, budget_seconds=20)
    assert "permutation-variance" in found.tested
    assert all(f.id != "permutation-variance" for f in found.findings)


def test_a_finding_proposes_a_cooler_permuter(run):
    finding = Finding("permutation-variance", 0.9, 0.1, "1", "", (), "", ())
    assert propose(run.recipe, finding) == {
        "permuter.final_temperature": 2e-4,
        "permuter.anneal_steps": 3,
    }


def test_without_a_permuter_latents_see_orientation(images, tmp_path):
    plain = recipe(images, {"kind": "off"})
    data = build_data(plain)
    model = build_autoencoder(plain).eval()
    found = measure_symmetry(model, data.train, data.test, max_samples=8)
    assert not found.promised
    assert found.invariance_error > 0.01  # drawn weights, nothing learned
    assert found.permuter == {}
    assert found.active == {}
    x = torch.stack([data.test[i]["x"] for i in range(2)])
    assert not torch.equal(model.encode(turned(x, 1)).mean, model.encode(x).mean)
