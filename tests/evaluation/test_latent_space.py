"""Lines, walks, neighbours and densities of latents, in closed form."""

from __future__ import annotations

import pytest
import torch

from pellucid.errors import PellucidError
from pellucid.evaluation.latent_space.geometry import (
    discrimination,
    interpolate,
    neighbour_accuracy,
    neighbours,
    traverse,
)
from pellucid.evaluation.latent_space.mixture import fit_mixture
from pellucid.references.principal import principal_axes


def test_a_line_has_its_ends_and_middle():
    a, b = torch.tensor([0.0, 2.0]), torch.tensor([4.0, 0.0])
    line = interpolate(a, b, 5)
    assert line[0].tolist() == [0, 2]
    assert line[-1].tolist() == [4, 0]
    assert line[2].tolist() == [2, 1]


def test_a_walk_goes_along_the_axis_in_deviations():
    torch.manual_seed(0)
    z = torch.randn(5000, 3) * torch.tensor([5.0, 1.0, 0.1]) + torch.tensor([1.0, 2.0, 3.0])
    walk = traverse(principal_axes(z, 3), 0, reach=2.0, steps=5)
    assert torch.allclose(walk[2], z.mean(0), atol=1e-4)
    assert float((walk[-1] - walk[0]).abs()[0]) == pytest.approx(20.0, rel=0.05)
    assert float((walk[-1] - walk[0]).abs()[1:].max()) < 0.5


def test_neighbours_equal_a_plain_search():
    torch.manual_seed(0)
    query, among = torch.randn(7, 4), torch.randn(30, 4)
    indices, distances = neighbours(query, among, 3)
    for row in range(7):
        plain = (among - query[row]).norm(dim=1)
        assert indices[row].tolist() == plain.argsort()[:3].tolist()
        assert torch.allclose(distances[row], plain.sort().values[:3], atol=1e-5)


def test_discrimination_is_one_for_identity_and_a_half_for_nothing():
    torch.manual_seed(0)
    z = torch.randn(600, 8)  # more than a chunk
    assert discrimination(z, z) == (1.0, 1.0)
    score, first = discrimination(z, torch.zeros_like(z).add(z.mean(0)))
    assert score == pytest.approx(0.5, abs=1e-6)
    assert first == pytest.approx(1 / 600)
    same = torch.ones(5, 2)
    assert discrimination(same, same) == (0.5, 0.0)  # ties tell nothing apart


def test_labels_of_neighbours():
    z = torch.tensor([[0.0], [0.1], [5.0], [5.1], [5.3]])
    assert neighbour_accuracy(z, torch.tensor([0, 0, 1, 1, 1])) == (1.0, pytest.approx(0.6))


def test_a_mixture_finds_its_components_and_samples_like_them():
    torch.manual_seed(0)
    centres = torch.tensor([[-6.0, 0.0, 0.0], [6.0, 0.0, 0.0]])
    z = centres[torch.randint(2, (800,))] + torch.randn(800, 3) * 0.5
    mixture = fit_mixture(z[:600], z[600:])
    assert mixture.components >= 2
    assert mixture.likelihoods[mixture.components] > mixture.likelihoods[1] + 0.3
    drawn = mixture.sample(400, seed=1)
    assert torch.equal(drawn, mixture.sample(400, seed=1))
    assert float((drawn[:, 0].abs() < 3).float().mean()) < 0.02
    assert torch.allclose(drawn.mean(0), z.mean(0), atol=0.8)
    with pytest.raises(PellucidError, match="nothing to sample from"):
        fit_mixture(torch.ones(20, 2), torch.ones(4, 2))
