"""What frozen latents know: a linear classifier on them, beside mean-pooling and PCA.

Shape letters: N tiles, C channels, H height, W width, D features.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from pellucid.evaluation.passes import Reconstructor, batches
from pellucid.functional.bootstrap import bootstrap_interval
from pellucid.functional.ridge import fit_ridge_classifier
from pellucid.models.autoencoder import Autoencoder
from pellucid.models.precision import Precision
from pellucid.records import MetricValue
from pellucid.references.principal import principal_axes
from pellucid.references.samples import affordable, spaced

SMALLEST_CLASS = 0.02
"""A class is kept when at least this share of the training tiles are of it."""


@dataclasses.dataclass(frozen=True)
class Probe:
    """Accuracies of one question put to several features.

    Args:
        question: what is asked of a tile, in words.
        classes: how many answers there are.
        chance: accuracy of always giving the most frequent training answer.
        accuracy: features → accuracy on held-out tiles, with its interval over groups.
        numbers: features → how many numbers per tile they have.
    """

    question: str
    classes: int
    chance: float
    accuracy: dict[str, MetricValue]
    numbers: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """Return plain dictionaries and numbers."""
        node = dataclasses.asdict(self)
        node["accuracy"] = {name: value.to_json() for name, value in self.accuracy.items()}
        return node


def measure_probe(
    autoencoder: Autoencoder,
    train_set: Any,
    held_out_set: Any,
    *,
    max_samples: int = 1024,
    batch_size: int = 64,
    precision: Precision = "float32",
    resamples: int = 1000,
    seed: int = 0,
) -> list[Probe]:
    """Ask latents what tiles show, and ask mean-pooling and PCA at equal numbers the same.

    The questions: which label a tile has, where the data have labels; which marker dominates the
    tile (its mean, standardised over the training tiles, is largest); and which one dominates its
    centre, which the tile's mean does not say.

    Args:
        autoencoder: left as it was found.
        train_set: map-style dataset of {"x", "target", "group"[, "label"]}.
        held_out_set: likewise.
        max_samples: at most so many tiles of either, evenly spaced.
        batch_size: samples at once.
        precision: in which the model computes.
        resamples: of the bootstrap over groups.
        seed: of the bootstrap.

    Returns:
        One probe per question with at least two classes; none where nothing can be asked.
    """
    reconstruct = Reconstructor(autoencoder, precision)
    sides = [
        _Side.read(part, reconstruct, max_samples, batch_size) for part in (train_set, held_out_set)
    ]
    train, held = sides
    features = _features(train, held)
    found = []
    for question, own, other in _questions(train, held):
        kept, seen = _frequent(own, other)
        if len(own[kept].unique()) < 2 or int(seen.sum()) < 2:
            continue
        names, answers = own[kept].unique(return_inverse=True)
        truth = torch.searchsorted(names, other[seen])
        groups = [
            group for group, is_seen in zip(held.groups, seen.tolist(), strict=True) if is_seen
        ]
        accuracy = {}
        for name, (fit_on, told) in features.items():
            model = fit_ridge_classifier(fit_on[kept], answers)
            hits = (model.predict(told[seen]) == truth).double().tolist()
            interval = bootstrap_interval(hits, groups, resamples=resamples, seed=seed)
            accuracy[name] = MetricValue(
                interval.value, "1", interval.low, interval.high, interval.n,
                f"ridge on {fit_on.shape[1]} standardised numbers, {int(kept.sum())} training "
                f"tiles, α {model.alpha:g}; share of {int(seen.sum())} held-out tiles right",
            )  # fmt: skip
        found.append(
            Probe(
                question=question,
                classes=len(names),
                chance=float((truth == answers.mode().values).double().mean()),
                accuracy=accuracy,
                numbers={name: fit_on.shape[1] for name, (fit_on, _) in features.items()},
            )
        )
    return found


@dataclasses.dataclass(frozen=True)
class _Side:
    x: Tensor
    latent: Tensor
    groups: list[str]
    labels: Tensor | None

    @classmethod
    def read(cls, dataset: Any, reconstruct: Reconstructor, most: int, batch_size: int) -> _Side:
        first = next(batches(dataset, [0], 1))
        most = min(most, affordable(first.target[0].numel()))
        tiles, latents, groups, labels = [], [], [], []
        for batch in batches(dataset, spaced(len(dataset), most), batch_size):
            tiles.append(batch.target.float())
            latents.append(reconstruct(batch.target)[1].mean.float().flatten(1).cpu())
            groups += batch.groups
            labels += batch.labels or []
        given = torch.tensor(labels) if labels else None
        return cls(torch.cat(tiles), torch.cat(latents), groups, given)

    def means(self) -> Tensor:
        """Return (N, C) means of the tiles."""
        return self.x.mean((2, 3))

    def centre(self) -> Tensor:
        """Return (N, C) means of the middle ninth."""
        third_h, third_w = (max(1, side // 3) for side in self.x.shape[-2:])
        return self.x[..., third_h : 2 * third_h, third_w : 2 * third_w].mean((2, 3))


def _features(train: _Side, held: _Side) -> dict[str, tuple[Tensor, Tensor]]:
    """Return name → (training features, held-out features)."""
    numbers = train.latent.shape[1]
    axes = principal_axes(train.x.flatten(1), min(numbers, len(train.x) - 1))
    kept = len(axes.axes)
    return {
        "latent": (train.latent, held.latent),
        f"pca-{kept}": (
            axes.coordinates(train.x.flatten(1)),
            axes.coordinates(held.x.flatten(1)),
        ),
        "mean-pooling": (train.means(), held.means()),
    }


def _questions(train: _Side, held: _Side) -> list[tuple[str, Tensor, Tensor]]:
    """Return (question, training answers, held-out answers)."""
    found = []
    if train.labels is not None and held.labels is not None:
        found.append(("which label it has", train.labels, held.labels))
    if train.x.shape[1] > 2:
        for words, of in (("the tile", _Side.means), ("its centre", _Side.centre)):
            own, other = of(train), of(held)
            mean, std = own.mean(0), own.std(0).clamp_min(1e-6)
            answers = [((values - mean) / std).argmax(1) for values in (own, other)]
            found.append((f"which marker dominates {words}", *answers))
    return found


def _frequent(own: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Return which samples of both sides have an answer that is frequent in training."""
    names, counts = own.unique(return_counts=True)
    frequent = names[counts >= max(2, SMALLEST_CLASS * len(own))]
    return torch.isin(own, frequent), torch.isin(other, frequent)
