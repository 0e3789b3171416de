"""A tiny real autoencoder on seeded images, for the tests of the training room."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset

from pellucid.functional.value_range import ValueRange
from pellucid.models.autoencoder import Autoencoder
from pellucid.nn.discriminators import Discriminators, PatchDiscriminator
from pellucid.objectives.objective import Objective, Weighted
from pellucid.objectives.pixel import L1, L2
from pellucid.run_folder import RunFolder
from pellucid.training.adversary import Adversary
from pellucid.training.fit import fit
from pellucid.training.record import FitResult


class TinyImages(Dataset[Any]):
    """Smooth random images; the input is noisy as a pure function of (index, epoch)."""

    def __init__(self, n: int = 24, *, noise: float = 0.1, spoiled: int | None = None) -> None:
        generator = torch.Generator().manual_seed(1)
        coarse = torch.rand(n, 3, 4, 4, generator=generator) * 2 - 1
        self.images = nn.functional.interpolate(coarse, size=16, mode="bilinear")
        self.noise, self.spoiled = noise, spoiled

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, address: int | tuple[int, int]) -> dict[str, Any]:
        index, epoch = address if isinstance(address, tuple) else (address, 0)
        target = self.images[index]
        generator = torch.Generator().manual_seed(1000 * epoch + index)
        x = target + self.noise * torch.randn(target.shape, generator=generator)
        if index == self.spoiled:
            x = x.clone()
            x[0, 0, 0] = float("nan")
        return {"x": x, "target": target, "index": index, "group": f"photo-{index}"}


class TinyEncoder(nn.Module):
    in_channels, channels, stride = 3, 8, 4
    intermediates = ()

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 4, 2, 1)
        self.norm = nn.GroupNorm(2, 8)
        self.second = nn.Conv2d(8, 8, 4, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.nn.functional.silu(self.norm(self.first(x))))


class TinyDecoder(nn.Module):
    in_channels, out_channels, stride, head = 8, 3, 4, "none"

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(8, 16, 3, padding=1)
        self.last_layer = nn.Conv2d(16, 48, 1)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        h = torch.nn.functional.silu(self.first(z))
        return torch.nn.functional.pixel_shuffle(self.last_layer(h), 4)


def bottleneck_of(kind: str) -> nn.Module:
    """Return one of the real bottlenecks that carry state or draw random numbers."""
    if kind == "gaussian":
        from pellucid.bottlenecks.gaussian import Gaussian

        return Gaussian(8, 8)
    if kind == "vq":
        from pellucid.bottlenecks.vq import VQ

        return VQ(8, codes=16)
    from pellucid.bottlenecks.identity import Identity

    return Identity(8)


def tiny_model(kind: str = "identity", seed: int = 0) -> Autoencoder:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Autoencoder(TinyEncoder(), bottleneck_of(kind), TinyDecoder())


def tiny_objective() -> Objective:
    return Objective({"l1": Weighted(L1(), 1.0), "l2": Weighted(L2(), 0.5)})


def tiny_adversary(**keywords: Any) -> Adversary:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        parts = [PatchDiscriminator(3, width=4, layers=2)]
    return Adversary(Discriminators(parts), **({"learning_rate": 1e-3} | keywords))


def tiny_fit(folder: Path, *, kind: str = "identity", **changes: Any) -> FitResult:
    """Fit the tiny model with settings that exercise every schedule within 20 steps."""
    settings: dict[str, Any] = {
        "steps": 20,
        "batch_size": 4,
        "learning_rate": 3e-3,
        "warmup_steps": 3,
        "weight_decay": 0.01,
        "validate_every": 7,
        "checkpoint_every": 5,
        "log_every": 4,
        "gradient_shares_every": 6,
        "precision": "float32",
        "accelerator": "cpu",
        "threads": 1,
        "progress": False,
    }
    model = changes.pop("model", None) or tiny_model(kind)
    train_set = changes.pop("train_set", None) or TinyImages()
    validation_set = changes.pop("validation_set", TinyImages(10, noise=0.0))
    return fit(
        model,
        changes.pop("objective", None) or tiny_objective(),
        train_set,
        validation_set,
        RunFolder(folder),
        value_range=ValueRange(),
        **(settings | changes),
    )
