"""Frozen features are asked what tiles show; ridge is ridge.

Shape letters: N samples, D features.
"""

import pytest
import torch

from pellucid.bottlenecks import Identity
from pellucid.errors import PellucidError
from pellucid.evaluation.marker_probe import measure_probe
from pellucid.functional.ridge import fit_ridge_classifier
from pellucid.models import Autoencoder
from pellucid.nn.patch import PatchDecoder, PatchEncoder


def test_both_forms_of_ridge_are_the_closed_form():
    generator = torch.Generator().manual_seed(0)
    for n, d in ((40, 5), (6, 20)):
        x = torch.randn(n, d, generator=generator).double()
        labels = torch.arange(n) % 2
        model = fit_ridge_classifier(x, labels, alphas=(0.3,))
        standard = (x - x.mean(0)) / x.std(0, correction=0)
        y = 2.0 * labels.double() - 1
        gram = standard.T @ standard / n + 0.3 * torch.eye(d).double()
        expected = torch.linalg.solve(gram, standard.T @ (y - y.mean()) / n)
        torch.testing.assert_close(model.weight_DK[:, 1], expected)


def test_a_separable_question_is_answered_and_noise_is_not():
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 3, (300,), generator=generator)
    x = torch.randn(300, 8, generator=generator)
    x[torch.arange(300), labels] += 4
    model = fit_ridge_classifier(x[:200], labels[:200])
    assert (model.predict(x[200:]) == labels[200:]).double().mean() > 0.9
    noise = fit_ridge_classifier(torch.randn(200, 8, generator=generator), labels[:200])
    assert (noise.predict(x[200:]) == labels[200:]).double().mean() < 0.6
    with pytest.raises(PellucidError, match="two classes"):
        fit_ridge_classifier(x, torch.zeros(300, dtype=torch.long))


class Tiles:
    """Four markers, one of which is bright in a tile and another in its centre."""

    def __init__(self, count, seed, labels=False):
        generator = torch.Generator().manual_seed(seed)
        self.x = 0.1 * torch.randn(count, 4, 6, 6, generator=generator)
        tile, centre = torch.randint(0, 4, (2, count), generator=generator)
        rows = torch.arange(count)
        self.x[rows, tile] += 1.0
        self.x[rows, tile, 2:4, 2:4] -= 1.0
        self.x[rows, centre, 2:4, 2:4] += 2.0
        self.labels = tile if labels else None

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        item = {"x": self.x[index], "target": self.x[index], "group": index // 2}
        return item if self.labels is None else {**item, "label": int(self.labels[index])}


def test_latents_that_keep_everything_answer_what_the_mean_cannot():
    torch.manual_seed(0)
    model = Autoencoder(
        PatchEncoder(4, channels=16, patch=2, width=16),
        Identity(16),
        PatchDecoder(16, 4, patch=2, hidden=16, overlap=0),
    )
    probes = measure_probe(model, Tiles(400, 1), Tiles(120, 2), resamples=50)
    assert [probe.question for probe in probes] == [
        "which marker dominates the tile",
        "which marker dominates its centre",
    ]
    centre = probes[1]
    assert centre.classes == 4
    assert 0.15 < centre.chance < 0.45
    assert set(centre.accuracy) == {"latent", "mean-pooling", "pca-144"}
    assert centre.numbers["latent"] == centre.numbers["pca-144"] == 144
    assert centre.accuracy["pca-144"].value > 0.95
    assert centre.accuracy["latent"].value > centre.accuracy["mean-pooling"].value
    assert centre.accuracy["latent"].n == 60  # groups, not tiles
    labelled = measure_probe(model, Tiles(60, 1, True), Tiles(40, 2, True), resamples=20)
    assert labelled[0].question == "which label it has"
    assert centre.to_json()["accuracy"]["latent"]["unit"] == "1"
