"""Small live autoencoders and datasets for the tests of this room."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pellucid.bottlenecks.contract import Bottleneck, BottleneckOutput
from pellucid.functional.value_range import ValueRange
from pellucid.models.autoencoder import Autoencoder
from pellucid.records import Latent
from pellucid.references.linear import PCAReference

SIZE, PATCH, NUMBERS = 16, 8, 6
RANGE = ValueRange()


def pictures(n: int, channels: int = 3, seed: int = 0, size: int = SIZE) -> Tensor:
    """Smooth pictures that are exact in 8 bits, in [−1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, channels, 5, 5, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=size, mode="bicubic").clamp(0, 1)
    noise = 0.04 * torch.randn(n, channels, size, size, generator=generator)
    return RANGE.from_uint8(((smooth + noise).clamp(0, 1) * 255).round().to(torch.uint8))


class Pictures(torch.utils.data.Dataset):
    """A split as the data room hands it over."""

    def __init__(self, x: Tensor, groups: int | None = None, labels: bool = False) -> None:
        self.x, self.groups, self.labels = x, groups or len(x), labels

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = {"x": self.x[index], "target": self.x[index], "index": index}
        item["group"] = index % self.groups
        return {**item, "label": index % 2} if self.labels else item

    def name(self, index: int) -> str:
        return f"picture {index}"


class PatchProjection(nn.Module):
    """PCA's axes as a strided convolution."""

    def __init__(self, pca: PCAReference) -> None:
        super().__init__()
        axes = pca.principal.axes
        self.in_channels, self.channels, self.stride = pca.shape[0], len(axes), PATCH
        self.conv = nn.Conv2d(self.in_channels, self.channels, PATCH, stride=PATCH)
        self.conv.weight.data = axes.view(-1, self.in_channels, PATCH, PATCH).clone()
        self.conv.bias.data = -(axes @ pca.principal.mean)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class PatchExpansion(nn.Module):
    """PCA's axes as a transposed convolution, in float32 whatever the input."""

    def __init__(self, pca: PCAReference) -> None:
        super().__init__()
        axes = pca.principal.axes
        self.in_channels, self.out_channels, self.stride = len(axes), pca.shape[0], PATCH
        self.conv = nn.ConvTranspose2d(
            self.in_channels, self.out_channels, PATCH, stride=PATCH, bias=False
        )
        self.conv.weight.data = axes.view(-1, self.out_channels, PATCH, PATCH).clone()
        mean = pca.principal.mean.view(self.out_channels, PATCH, PATCH)
        self.register_buffer("mean", mean.clone())

    def forward(self, z: Tensor) -> Tensor:
        tiled = self.mean.repeat(1, z.shape[-2], z.shape[-1])  # type: ignore[operator]
        return (self.conv(z) + tiled).float()


class PassThrough(Bottleneck):
    """Continuous latents; with `logvar`, a Gaussian of that log-variance; noisy in train mode."""

    def __init__(self, channels: int, logvar: float | None = None) -> None:
        super().__init__()
        self.channels = self.out_channels = channels
        self.logvar = logvar

    def forward(self, h_BCP: Tensor) -> BottleneckOutput:
        z = h_BCP + torch.randn_like(h_BCP) if self.training else h_BCP
        logvar = None if self.logvar is None else torch.full_like(h_BCP, self.logvar)
        return BottleneckOutput(z, Latent(h_BCP, logvar), {}, {})

    def decode_codes(self, codes: Tensor) -> Tensor:
        return codes

    def declared_vjp(self, z_BCP: Tensor, gradient_BCP: Tensor) -> Tensor:
        return gradient_BCP

    def code_space(self, h_BCP: Tensor) -> Tensor:
        return h_BCP

    def through_code_space(self, z_BDP: Tensor) -> Tensor:
        return z_BDP


class Rounding(PassThrough):
    """Sixteen levels for the first channel, none for the others: log₂16 bits per position."""

    bits_per_position = 4.0

    def forward(self, h_BCP: Tensor) -> BottleneckOutput:
        codes = ((h_BCP[:, 0] / 8 + 0.5) * 16).floor().clamp(0, 15).long()
        z = torch.zeros_like(h_BCP)
        z[:, 0] = ((codes + 0.5) / 16 - 0.5) * 8
        return BottleneckOutput(z, Latent(h_BCP, codes=codes, quantized=z), {}, {})

    def code_space(self, h_BCP: Tensor) -> Tensor:
        return h_BCP[:, :1]


def pca_autoencoder(
    train: Tensor, bottleneck: Bottleneck | None = None, numbers: int = NUMBERS
) -> Autoencoder:
    """An autoencoder that is patch-PCA by construction."""
    patches = (train.shape[-1] // PATCH) ** 2
    pca = PCAReference.fit(train, numbers * patches, stride=PATCH)
    assert pca.patch == PATCH
    bottleneck = bottleneck or PassThrough(numbers)
    return Autoencoder(PatchProjection(pca), bottleneck, PatchExpansion(pca))
