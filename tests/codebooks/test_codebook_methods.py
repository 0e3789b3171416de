"""Laws of the methods, and what scores say of codebooks whose answer is known."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pytest
import torch
from fitted_run import run_with_latents

from pellucid.codebooks import Codebook
from pellucid.codebooks.fitting import Settings, fit_codebook
from pellucid.codebooks.methods.decoded import fit_decoded
from pellucid.codebooks.methods.geodesic import GraphSettings, fit_geodesic
from pellucid.codebooks.methods.kmeans import centres, fit_kmeans
from pellucid.codebooks.methods.medoids import exact_medoids, fit_kmedoids
from pellucid.codebooks.rules import Nearest
from pellucid.codebooks.scoring import held_out, preflight, score
from pellucid.errors import PellucidError
from pellucid.functional.nearest_code import nearest_code
from pellucid.metrics.clusters import normalised_mutual_information, purity


def points(count: int = 400, dim: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)


def squared_error(rows: np.ndarray, vectors: torch.Tensor) -> float:
    nearest = vectors[nearest_code(torch.from_numpy(rows), vectors)]
    return float((torch.from_numpy(rows) - nearest).square().sum())


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return run_with_latents(tmp_path_factory.mktemp("methods"))


@pytest.mark.parametrize("backend", ["faiss", "torch"])
def test_kmeans_is_never_worse_when_codes_are_added(backend, monkeypatch):
    if backend == "torch":
        monkeypatch.setitem(sys.modules, "faiss", None)
    rows = points()
    vectors = centres(rows, 4)
    errors = [squared_error(rows, vectors)]
    for size in (5, 6, 9):
        gaps = (torch.from_numpy(rows)[:, None] - vectors).square().sum(2).min(1).values
        start = torch.cat([vectors, torch.from_numpy(rows)[gaps.topk(size - len(vectors)).indices]])
        vectors = centres(rows, size, start_KD=start.numpy())
        errors.append(squared_error(rows, vectors))
    assert errors == sorted(errors, reverse=True)


def test_as_many_means_as_points_leave_no_error():
    rows = points(30)
    assert squared_error(rows, fit_kmedoids(rows, 30).vectors_KD) == 0


def test_a_medoid_update_equals_brute_force_and_never_loses():
    rows = torch.from_numpy(points())
    medoids = torch.arange(0, 400, 40)
    codes = nearest_code(rows, rows[medoids])
    updated = exact_medoids(rows, medoids, codes)
    for code in range(10):
        members = (codes == code).nonzero()[:, 0]
        totals = torch.cdist(rows[members].double(), rows[members].double()).sum(1)
        assert updated[code] == members[totals.argmin()]


def test_converged_medoids_are_a_fixed_point():
    rows = points()
    fitted = fit_kmedoids(rows, 12)
    assert fitted.facts["converged"]
    tensor = torch.from_numpy(rows)
    medoids = nearest_code(fitted.vectors_KD, tensor)
    again = exact_medoids(tensor, medoids, nearest_code(tensor, fitted.vectors_KD))
    assert torch.equal(again, medoids)


def test_geodesic_codes_of_fitted_points_are_those_of_the_graph():
    rows = points()
    fitted = fit_geodesic(rows, 12, settings=GraphSettings(neighbours=8))
    assert fitted.facts["converged"]
    assert fitted.facts["unreachable"] == 0
    codes = fitted.rule(torch.from_numpy(rows).T[None].contiguous())[0]
    assert torch.equal(codes, fitted.rule.codes_N)


def test_two_clouds_are_two_components_and_each_gets_codes():
    rows = np.concatenate([points(100), points(100, seed=1) + 50])
    fitted = fit_geodesic(rows, 4, settings=GraphSettings(neighbours=5))
    assert fitted.facts["connectivity"]["components"] == 2
    assert fitted.facts["connectivity"]["sizes"] == (100, 100)
    assert fitted.facts["unreachable"] == 0
    far = fitted.rule(torch.full((1, 3, 1), 51.0))
    assert fitted.vectors_KD[far.item()].min() > 40


def test_an_identity_metric_makes_the_pulled_back_codebook_the_straight_one():
    rows = points(200)
    metric = np.broadcast_to(np.eye(3, dtype=np.float32), (200, 3, 3)).copy()
    settings = GraphSettings(neighbours=8)
    plain = fit_geodesic(rows, 9, settings=settings)
    pulled = fit_geodesic(rows, 9, settings=settings, metric_NDD=metric)
    torch.testing.assert_close(plain.vectors_KD, pulled.vectors_KD)


def test_decoded_codes_ignore_what_the_decoder_ignores():
    rows = points(300, 2)
    rows[:, 1] *= 100
    seen = torch.from_numpy(rows[:, :1].copy())
    fitted = fit_decoded(rows, seen, lambda z: z[:, :1].reshape(-1, 1), 8)
    shifted = torch.from_numpy(rows)[:, :, None].clone()
    codes = fitted.rule(shifted)
    shifted[:, 1] += 1e3
    assert torch.equal(fitted.rule(shifted), codes)
    assert squared_error(rows[:, :1], fitted.vectors_KD[:, :1]) < 0.1 * rows[:, 0].var() * 300


@pytest.mark.parametrize("method", ["kmeans", "kmedoids", "geodesic", "pullback", "decoder"])
@pytest.mark.parametrize("source", ["mean", "sample"])
def test_every_method_fits_real_latents_and_is_scored(exported, method, source):
    _, model, latents, data = exported
    settings = Settings(method, source, 8, 80, GraphSettings(neighbours=5))
    fitted = fit_codebook(latents.splits["train"], model, settings)
    assert fitted.facts["points"] == 80
    book = Codebook("x", fitted.vectors_KD, fitted.rule, model)
    samples = held_out(data.test, latents.splits["test"], data.value_range)
    scores = score(book, samples, pushed=4).metrics
    gap = scores["psnr_mean"].value - scores["psnr"].value
    assert scores["psnr_gap"].value == pytest.approx(gap, abs=1e-6)
    assert scores["psnr"].low <= scores["psnr"].value <= scores["psnr"].high
    assert scores["path_length"].value >= 0
    assert 0 <= scores["nmi"].value <= 1
    assert all(np.isfinite(metric.value) for metric in scores.values())


def test_a_codebook_that_holds_every_latent_loses_nothing(exported):
    _, model, latents, data = exported
    samples = held_out(data.test, latents.splits["test"], data.value_range)
    vectors = samples.mean.flatten(2).transpose(1, 2).reshape(-1, 3)
    scores = score(Codebook("x", vectors, Nearest(vectors), model), samples, pushed=4).metrics
    assert scores["psnr_gap"].value == pytest.approx(0, abs=1e-6)
    assert scores["latent_distance"].value == pytest.approx(0, abs=1e-6)
    assert scores["pulled_back_length"].value == pytest.approx(0, abs=1e-5)


def test_preflight_is_the_closed_form_kl(exported):
    split = exported[2].splits["test"]
    zero = np.zeros_like(split.mean)
    unit = dataclasses.replace(split, mean=zero + 1, logvar=zero)
    found = preflight(unit, 8)
    assert found["log2_size"] == 3
    assert found["kl_bits_per_token"] == pytest.approx(3 * 0.5 / np.log(2))
    assert preflight(dataclasses.replace(split, logvar=None), 8) is None


def test_agreement_with_classes_has_its_closed_forms():
    labels = np.repeat([0, 1], 50)
    assert purity(labels, labels) == normalised_mutual_information(labels, labels) == 1
    independent = np.tile([0, 1], 50)
    assert purity(independent, labels) == 0.5
    assert normalised_mutual_information(independent, labels) == pytest.approx(0, abs=1e-12)
    finer = np.arange(100) // 25
    expected = np.log(2) / np.sqrt(np.log(4) * np.log(2))
    assert normalised_mutual_information(finer, labels) == pytest.approx(expected)
    with pytest.raises(PellucidError, match="one class per code"):
        purity(labels, labels[:-1])


def test_more_codes_than_points_are_refused(exported):
    _, model, latents, _ = exported
    with pytest.raises(PellucidError, match="more codes than there are points"):
        fit_codebook(latents.splits["train"], model, Settings(size=10_000))
    with pytest.raises(PellucidError, match="≤ 1, the different latents"):
        fit_kmeans(np.zeros((20, 2), np.float32), 15)
    split = dataclasses.replace(latents.splits["train"], z=None)
    with pytest.raises(PellucidError, match="no variance to sample"):
        fit_codebook(split, model, Settings(source="sample", size=4))
