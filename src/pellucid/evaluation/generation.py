"""Judge generated images as a set: near the real ones, varied, of the class asked for, not copied.

No number here pairs a generated image with a real one. Three sets are measured against the real
training images alike: held-out real images (the floor), their reconstructions (what the tokenizer
allows) and the generated ones. Equal counts make the biases of the estimates equal.

Shape letters: N images, C channels, H height, W width.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import DataError
from pellucid.evaluation.feature_networks import FeatureNetwork
from pellucid.functional.bootstrap import bootstrap_interval
from pellucid.functional.frechet import LEAST_SAMPLES, frechet_distance, moments
from pellucid.functional.kernel_distance import kernel_distance
from pellucid.functional.manifold import nearest_neighbours, precision_recall
from pellucid.records import MetricValue

MOST_FOR_MANIFOLDS = 5000
COPY_QUANTILE = 0.01


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """Some 8-bit images.

    Args:
        images: (N, C, H, W) uint8.
        labels: (N,) their classes, or the classes that were asked for; None where there are none.
    """

    images: Tensor
    labels: Tensor | None = None

    def __len__(self) -> int:
        return len(self.images)

    def first(self, count: int) -> ImageSet:
        """Return at most `count` of them."""
        labels = None if self.labels is None else self.labels[:count]
        return ImageSet(self.images[:count], labels)


@dataclasses.dataclass(frozen=True)
class Judgement:
    """What was measured of generated images.

    Args:
        metrics: by name, see `judge`.
        refused: metric → why it was not measured.
        network: in whose features, in words.
        classifier: who named classes, in words; None without classes.
        nearest: (N,) for each generated image the training image nearest to it.
        nearest_distance: (N,) root-mean-square difference of the two, in levels of 255.
    """

    metrics: dict[str, MetricValue]
    refused: dict[str, str]
    network: str
    classifier: str | None
    nearest: Tensor
    nearest_distance: Tensor

    def to_json(self) -> dict[str, Any]:
        """Return plain data; the neighbours go into pictures."""
        return {
            "metrics": {name: value.to_json() for name, value in self.metrics.items()},
            "refused": self.refused,
            "network": self.network,
            "classifier": self.classifier,
        }


def judge(
    generated: ImageSet,
    train: ImageSet,
    held_out: ImageSet,
    reconstructed: ImageSet,
    network: FeatureNetwork,
    classifier: FeatureNetwork | None,
    *,
    seed: int = 0,
) -> Judgement:
    """Measure generated images against the training images, beside what is real and rebuilt.

    `frechet_…` and `kernel_…` (of samples, reconstructions, real), `precision`, `recall`,
    `conditional_accuracy` with `accuracy_reconstructions` and `accuracy_real`,
    `nearest_training_distance` with `…_reconstructions`, and `copies`: the share of generated
    images nearer to a training image than all but 1 % of the reconstructions of held-out ones are.

    Args:
        generated: with the classes asked for, where some were.
        train: real training images.
        held_out: real images that neither tokenizer nor prior nor classifier saw.
        reconstructed: the same through the tokenizer.
        network: in whose features distances are taken.
        classifier: names classes; None without classes.
        seed: of subsets.

    Raises:
        DataError: when images differ in shape, or a set is too small for anything.
    """
    _check(generated, train, held_out, reconstructed)
    sets = {"samples": generated, "reconstructions": reconstructed, "real": held_out}
    count = min(len(one) for one in sets.values())
    sets = {name: one.first(count) for name, one in sets.items()}
    features = {name: network.features(one.images) for name, one in sets.items()}
    real_ND = network.features(train.images)
    metrics, refused = _distances(features, real_ND, network.name, count, seed)
    metrics |= _manifolds(features["samples"], real_ND, network.name, seed)
    if classifier is not None:
        metrics |= _accuracies(
            {"samples": generated, "reconstructions": reconstructed, "real": held_out}, classifier
        )
    neighbours, copies = _neighbours(sets, train)
    metrics |= copies
    return Judgement(
        metrics,
        refused,
        network.name,
        None if classifier is None else classifier.name,
        neighbours.index,
        neighbours.distance,
    )


def _check(*sets: ImageSet) -> None:
    shapes = {tuple(one.images.shape[1:]) for one in sets}
    if len(shapes) > 1:
        raise DataError("these images differ in shape", found=sorted(shapes))
    smallest = min(len(one) for one in sets)
    if smallest < 16:
        raise DataError("too few images to judge", expected="at least 16 of a kind", found=smallest)


def _distances(
    features: dict[str, Tensor], real_ND: Tensor, network: str, count: int, seed: int
) -> tuple[dict[str, MetricValue], dict[str, str]]:
    metrics, refused = {}, {}
    against = f"against {len(real_ND):,} real training images, in 8 bits, features of {network}"
    enough = min(count, len(real_ND)) >= LEAST_SAMPLES
    if not enough:
        refused["frechet"] = (
            f"refused under {LEAST_SAMPLES:,} images of a kind ({count:,} here): "
            "the kernel distance serves small sets"
        )
    reference = moments(real_ND) if enough else None
    for name, x_ND in features.items():
        if reference is not None:
            value = frechet_distance(moments(x_ND), reference)
            metrics[f"frechet_{name}"] = MetricValue(
                value, "squared feature", None, None, count, f"Fréchet distance {against}"
            )
        found = kernel_distance(x_ND, real_ND, subsets=20, seed=seed)
        spread = 0.0 if found.error is None else 1.96 * found.error
        metrics[f"kernel_{name}"] = MetricValue(
            found.value,
            "1",
            found.value - spread,
            found.value + spread,
            count,
            f"squared MMD of the cubic kernel, {found.subsets} subsets of {found.size}, {against}",
        )
    return metrics, refused


def _manifolds(
    samples_ND: Tensor, real_ND: Tensor, network: str, seed: int
) -> dict[str, MetricValue]:
    generator = torch.Generator().manual_seed(seed)
    size = min(len(samples_ND), len(real_ND), MOST_FOR_MANIFOLDS)
    rows = torch.randperm(len(real_ND), generator=generator)[:size]
    found = precision_recall(real_ND[rows], samples_ND[:size])
    how = f"k = {found.neighbours}, {size:,} real training images, features of {network}"
    return {
        "precision": MetricValue(found.precision, "1", None, None, size, how),
        "recall": MetricValue(found.recall, "1", None, None, size, how),
    }


def _accuracies(sets: dict[str, ImageSet], classifier: FeatureNetwork) -> dict[str, MetricValue]:
    names = {
        "samples": "conditional_accuracy",
        "reconstructions": "accuracy_reconstructions",
        "real": "accuracy_real",
    }
    metrics = {}
    for key, one in sets.items():
        if one.labels is None:
            continue
        hits = (classifier.labels(one.images) == one.labels).double().numpy()
        interval = bootstrap_interval(hits)
        metrics[names[key]] = MetricValue(
            interval.value, "1", interval.low, interval.high, len(hits), f"by {classifier.name}"
        )
    return metrics


def _neighbours(sets: dict[str, ImageSet], train: ImageSet) -> tuple[Any, dict[str, MetricValue]]:
    pixels = {name: _pixels(one.images) for name, one in sets.items() if name != "real"}
    train_ND = _pixels(train.images)
    nearest = {name: nearest_neighbours(x_ND, train_ND) for name, x_ND in pixels.items()}
    how = "root-mean-square difference to the nearest training image, median"
    metrics = {}
    for name, suffix in (("samples", ""), ("reconstructions", "_reconstructions")):
        distance = nearest[name].distance
        metrics[f"nearest_training_distance{suffix}"] = MetricValue(
            float(distance.median()), "levels of 255", None, None, len(distance), how
        )
    edge = nearest["reconstructions"].distance.quantile(COPY_QUANTILE)
    copies = (nearest["samples"].distance < edge).double().numpy()
    interval = bootstrap_interval(copies)
    metrics["copies"] = MetricValue(
        interval.value, "1", interval.low, interval.high, len(copies),
        f"nearer to a training image than {edge:.1f} levels, as {COPY_QUANTILE:.0%} of the "
        "reconstructions of held-out images are",
    )  # fmt: skip
    return nearest["samples"], metrics


def _pixels(images_NCHW: Tensor) -> Tensor:
    """Return pixels so scaled that an L2 distance is a root-mean-square difference in levels."""
    flat = images_NCHW.flatten(1).float()
    return flat / flat.shape[1] ** 0.5
