"""Networks in whose features sets of images are compared: supplied, or trained here.

All of them take 8-bit images, exactly what is written to files.

Shape letters: N images, B batch, C channels, H height, W width, D features.
"""

from __future__ import annotations

import dataclasses
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.errors import DataError
from pellucid.models.weights import load_weights
from pellucid.nn.cifar_resnet import MEAN, STD, CifarResNet
from pellucid.nn.classifier import SmallClassifier

_BATCH = 256


@dataclasses.dataclass(frozen=True)
class FeatureNetwork:
    """Features and class scores of 8-bit images.

    Args:
        name: which network, and what it was trained on, in words.
        prepare: uint8 (B, C, H, W) → what the network takes.
        network: has `features` (B, D) and returns logits (B, classes).
        classes: of its output layer.
    """

    name: str
    prepare: Callable[[Tensor], Tensor]
    network: nn.Module
    classes: int

    @torch.no_grad()
    def features(self, images_NCHW: Tensor) -> Tensor:
        """Return (N, D) float32."""
        parts = images_NCHW.split(_BATCH)
        return torch.cat([self.network.features(self.prepare(part)) for part in parts])  # type: ignore[operator]

    @torch.no_grad()
    def labels(self, images_NCHW: Tensor) -> Tensor:
        """Return (N,) the likeliest class of each image."""
        parts = images_NCHW.split(_BATCH)
        return torch.cat([self.network(self.prepare(part)).argmax(1) for part in parts])


def open_feature_network(path: str | Path) -> FeatureNetwork:
    """Open a CIFAR ResNet (20, 32, 44, 56 …) from an .npz of its weights.

    Images of another size are brought to 32×32 with antialiasing, grey ones to three channels.

    Raises:
        DataError: when the file is missing, holds objects, or is of another network.
    """
    place = Path(path)
    arrays = _read_arrays(place)
    blocks = len(
        {m[1] for name in arrays if (m := re.match(r"layer1\.(\d+)\.conv1\.weight$", name))}
    )
    if not blocks or "linear.weight" not in arrays:
        raise DataError(
            "these are not the weights of a feature network",
            where=place,
            expected="conv1.weight, layer1.0.conv1.weight …, linear.weight: a CIFAR ResNet",
            found=", ".join(list(arrays)[:5]) or "no arrays",
        )
    network = CifarResNet(blocks, len(arrays["linear.weight"]))
    state = {name: torch.from_numpy(np.array(value)) for name, value in arrays.items()}
    try:
        found = network.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise DataError(
            "these weights are of another network", where=place, found=str(error)[:300]
        ) from error
    missing = [name for name in found.missing_keys if not name.endswith("num_batches_tracked")]
    if missing or found.unexpected_keys:
        raise DataError(
            "these weights are of another network",
            where=place,
            expected=f"all of ResNet-{6 * blocks + 2}",
            found=f"missing {missing[:3]}, unexpected {found.unexpected_keys[:3]}",
        )
    name = f"ResNet-{6 * blocks + 2} from {place.name}"
    return FeatureNetwork(name, _as_cifar, network.eval(), network.linear.out_features)


def _read_arrays(place: Path) -> Mapping[str, np.ndarray]:
    try:
        with np.load(place, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError as error:
        raise DataError("there is no such feature network", where=place) from error
    except (OSError, ValueError, zipfile.BadZipFile, AttributeError) as error:
        raise DataError(
            "cannot read this feature network",
            where=place,
            expected="an .npz of plain numbers",
            found=(str(error).splitlines() or [type(error).__name__])[0],
        ) from error


def _as_cifar(images_BCHW: Tensor) -> Tensor:
    x = images_BCHW.float() / 255
    if x.shape[1] == 1:
        x = x.expand(-1, 3, -1, -1)
    if x.shape[-2:] != (32, 32):
        x = F.interpolate(x, size=(32, 32), mode="bilinear", antialias=True, align_corners=False)
    return (x - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def _as_small(images_BCHW: Tensor) -> Tensor:
    return images_BCHW.float() / 127.5 - 1


def train_classifier(
    images_NCHW: Tensor,
    labels_N: Tensor,
    *,
    classes: int,
    epochs: int = 8,
    batch_size: int = 64,
    learning_rate: float = 2e-3,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> FeatureNetwork:
    """Train a small classifier on real images; it never sees a code or a generated image.

    Images are shifted by up to two pixels while training.

    Args:
        images_NCHW: uint8.
        labels_N: their classes.
        classes: how many there are.
        epochs: passes over the images.
        batch_size: images per step.
        learning_rate: AdamW's, with a cosine to zero.
        seed: of weights, order and shifts.
        progress: told the steps done.

    Raises:
        DataError: when there are fewer images than one batch.
    """
    if len(images_NCHW) < batch_size:
        raise DataError(
            "too few images to train a classifier",
            expected=f"at least {batch_size}",
            found=len(images_NCHW),
        )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = SmallClassifier(images_NCHW.shape[1], classes)
        optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=0.01)
        steps = len(images_NCHW) // batch_size
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * steps)
        for epoch in range(epochs):
            order = torch.randperm(len(images_NCHW))
            for step in range(steps):
                rows = order[step * batch_size : (step + 1) * batch_size]
                x_BCHW = _shifted(_as_small(images_NCHW[rows]))
                loss = F.cross_entropy(network(x_BCHW), labels_N[rows], label_smoothing=0.05)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                schedule.step()
                if progress is not None:
                    progress(epoch * steps + step + 1, epochs * steps)
    name = f"a small classifier trained on {len(images_NCHW):,} real training images of this run"
    return FeatureNetwork(name, _as_small, network.eval(), classes)


def restore_classifier(path: Path, *, channels: int, classes: int, name: str) -> FeatureNetwork:
    """Open a classifier that was trained here before.

    Raises:
        RunError: when its weights are missing or of another shape.
    """
    network = SmallClassifier(channels, classes)
    load_weights(network, path)
    return FeatureNetwork(name, _as_small, network.eval(), classes)


def _shifted(x_BCHW: Tensor, most: int = 2) -> Tensor:
    """Move a whole batch by up to `most` pixels, the border repeated."""
    height, width = x_BCHW.shape[-2:]
    down, across = torch.randint(0, 2 * most + 1, (2,)).tolist()
    padded = F.pad(x_BCHW, (most,) * 4, mode="replicate")
    return padded[..., down : down + height, across : across + width]
