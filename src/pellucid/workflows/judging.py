"""Judge what a run generates, with networks that never saw a generated image."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pellucid.errors import DataError
from pellucid.models.weights import save_weights
from pellucid.run_folder import RunFolder
from pellucid.workflows.progress import progress_bar
from pellucid.workflows.run import Run
from pellucid.workflows.tokens import Tokenizer, each_once

if TYPE_CHECKING:
    from pellucid.evaluation.feature_networks import FeatureNetwork
    from pellucid.evaluation.generation import ImageSet, Judgement


@dataclasses.dataclass(frozen=True)
class Judge:
    """The real images of a run, what its tokenizer makes of held-out ones, and the networks.

    Args:
        train: real training images.
        held_out: of the validation and test splits.
        reconstructed: the same through the tokenizer.
        network: in whose features distances are taken.
        classifier: names classes; None where the data has none.
    """

    train: ImageSet
    held_out: ImageSet
    reconstructed: ImageSet
    network: FeatureNetwork
    classifier: FeatureNetwork | None

    @classmethod
    def open(
        cls, tokenizer: Tokenizer, *, features: str | None = None, progress: bool = True
    ) -> Judge:
        """Read the images and open or train the networks.

        Args:
            tokenizer: whose reconstructions stand beside the samples.
            features: an .npz of a CIFAR ResNet; None trains a small classifier on the run's own
                training split, once, into RUN/judge/.
            progress: draw progress bars.

        Raises:
            DataError: when the data is gone, or there is neither a network nor classes.
        """
        from pellucid.evaluation.feature_networks import open_feature_network
        from pellucid.evaluation.generation import ImageSet

        data: Any = tokenizer.run.data()
        train = _images(data, ("train",))
        held_out = _images(data, ("validation", "test"))
        with progress_bar("reconstructing", shown=progress) as report:
            rebuilt = _reconstruct(tokenizer, held_out.images, report)
        classifier = None
        if train.labels is not None:
            classifier = _classifier(tokenizer.run, data, train, progress)
        if features is None and classifier is None:
            raise DataError(
                "images without classes need a supplied feature network",
                where=tokenizer.run.path,
                expected="--features FILE.npz, or data with classes",
            )
        network = classifier if features is None else open_feature_network(features)
        assert network is not None
        if classifier is not None and network is not classifier:
            classifier = _better(held_out, network, classifier)
        return cls(train, held_out, ImageSet(rebuilt, held_out.labels), network, classifier)

    def __call__(self, images_NCHW: Tensor, labels: Tensor | None) -> Judgement:
        """Judge generated 8-bit images, with the classes that were asked for."""
        from pellucid.evaluation.generation import ImageSet, judge

        return judge(
            ImageSet(images_NCHW, labels),
            self.train,
            self.held_out,
            self.reconstructed,
            self.network,
            self.classifier,
        )


def _better(held_out: ImageSet, one: FeatureNetwork, other: FeatureNetwork) -> FeatureNetwork:
    """Return the network that names more held-out real images rightly."""
    assert held_out.labels is not None
    if one.classes != other.classes:
        return other
    hits = [(n.labels(held_out.images) == held_out.labels).double().mean() for n in (one, other)]
    return one if hits[0] > hits[1] else other


def _images(data: Any, splits: tuple[str, ...]) -> ImageSet:
    from pellucid.evaluation.generation import ImageSet

    pixels, labels = [], []
    for name in splits:
        split = each_once(getattr(data, name))
        for start in range(0, len(split), 512):
            batch = split.batch(range(start, min(start + 512, len(split))))
            pixels.append(data.value_range.to_uint8(batch["x"]))
            if "label" in batch:
                labels.append(batch["label"])
    return ImageSet(torch.cat(pixels), torch.cat(labels) if labels else None)


@torch.no_grad()
def _reconstruct(tokenizer: Tokenizer, images_NCHW: Tensor, report: Any) -> Tensor:
    value_range = tokenizer.value_range
    parts = []
    for start in range(0, len(images_NCHW), 128):
        x_BCHW = value_range.from_uint8(images_NCHW[start : start + 128])
        parts.append(value_range.to_uint8(tokenizer.decode(tokenizer.encode(x_BCHW))))
        report(min(start + 128, len(images_NCHW)), len(images_NCHW))
    return torch.cat(parts)


def _classifier(run: Run, data: Any, train: ImageSet, progress: bool) -> FeatureNetwork:
    """Open RUN/judge/'s classifier when it was trained on these very images, else train it."""
    from pellucid.evaluation.feature_networks import restore_classifier, train_classifier

    assert train.labels is not None
    folder = run.folder.judge
    weights, record = folder / "classifier.safetensors", folder / "classifier.json"
    digest = _digest(train)
    channels, classes = train.images.shape[1], len(data.classes)
    if record.is_file() and weights.is_file():
        node = RunFolder(folder).read_json(record)
        if node.get("images") == digest:
            return restore_classifier(
                weights, channels=channels, classes=classes, name=node["name"]
            )
    with progress_bar("training the judge", shown=progress) as report:
        trained = train_classifier(train.images, train.labels, classes=classes, progress=report)
    Path(record).unlink(missing_ok=True)  # until both are new, the pair counts for nothing
    save_weights(trained.network, weights)
    RunFolder(folder).write_json(record, {"name": trained.name, "images": digest})
    return trained


def _digest(images: ImageSet) -> str:
    assert images.labels is not None
    digest = hashlib.blake2b(images.images.numpy().tobytes(), digest_size=16)
    digest.update(json.dumps(images.labels.tolist()).encode())
    return digest.hexdigest()
