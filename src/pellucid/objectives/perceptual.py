"""Perceptual terms: one without learned weights, two that read a pretrained network.

A network is no part of the objective's state: it is never trained, never saved with a checkpoint,
and follows its input's device and precision.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from pellucid.errors import RecipeError
from pellucid.functional.precision import float32_island
from pellucid.functional.shapes import check_images
from pellucid.functional.steerable import steerable_distance
from pellucid.functional.value_range import ValueRange
from pellucid.nn.backbone import Backbone
from pellucid.nn.vgg import VGGFeatures, read_linear
from pellucid.objectives.term import Term

_UNIT = ValueRange(0.0, 1.0)
_TINY = 1e-10  # LPIPS's ε
_NOISE = (0.02, 0.05, 0.1, 0.2)  # standard deviations that a distance must rank, unit values


class Perceptual(Term):
    """Measure the steerable-band distance, from 0 to 1, on images; needs no weights.

    Args:
        scales: octaves below half Nyquist; None takes up to four, as many as the image fits.
        strength: share of the comparison of local contrast (rewards texture), the rest compares
            structure (rewards the right texture).

    Raises:
        RecipeError: for a share outside [0, 1], or no scale.

    Source: see `pellucid.functional.steerable`, which states what is compared.
    """

    expects: ClassVar[ValueRange | None] = _UNIT

    def __init__(self, *, scales: int | None = None, strength: float = 0.5) -> None:
        super().__init__()
        if not 0 <= strength <= 1:
            raise RecipeError("a share is between 0 and 1", where="strength", found=strength)
        if scales is not None and scales < 1:
            raise RecipeError("a scale is needed", where="scales", expected="≥ 1", found=scales)
        self.scales, self.strength = scales, strength

    def measure(self, x_hat: Tensor, target: Tensor) -> Tensor:
        return steerable_distance(x_hat, target, scales=self.scales, strength=self.strength).mean()


class LPIPS(Term):
    """Measure the distance of unit-length VGG16 features, summed over five layers.

    Σ_l mean_hw Σ_c w_lc (ŷ_lc − y_lc)², with y divided by its norm over channels. Without `linear`
    every w is 1 (the paper's unlearned baseline); with it the value is LPIPS itself.

    Args:
        pretrained: True reads torchvision's VGG16 from its cache, a path a .safetensors file of
            it, False draws weights (for trying things out).
        linear: .safetensors file of LPIPS's five 1×1 convolutions (`lin0.model.1.weight` …).
        layers: how many of the five layers; each halves the side, and images need one pixel in
            the last.
        width: channels of the first layer, 64 in VGG16; other widths have no pretrained weights.

    Raises:
        MissingExtraError: without torchvision, where its cache is read.
        RunError: when the weights are not to be had or belong to another network.
        RecipeError: when the distance does not rise with noise: the network is fed wrongly, or
            its weights are not what they should be.

    Source: Zhang et al. 2018, "The unreasonable effectiveness of deep features as a perceptual
    metric", section 3.
    """

    expects: ClassVar[ValueRange | None] = _UNIT

    def __init__(
        self,
        *,
        pretrained: bool | str = True,
        linear: str | None = None,
        layers: int = 5,
        width: int = 64,
    ) -> None:
        super().__init__()
        network = VGGFeatures(pretrained=pretrained, layers=layers, width=width)
        self._networks = (_constant(network),)  # a tuple: no submodule, see above
        self._linear = None if linear is None else read_linear(linear, network.channels)
        check_rises_with_noise(self, "lpips")

    @property
    def network(self) -> nn.Module:
        """The network that is read."""
        return self._networks[0]

    @float32_island
    def measure(self, x_hat: Tensor, target: Tensor) -> Tensor:
        network = self._networks[0].to(x_hat.device, x_hat.dtype)
        maps = zip(network(_rgb(x_hat)), _without_gradient(network, _rgb(target)), strict=True)
        total = x_hat.new_zeros(())
        for number, (y_hat, y) in enumerate(maps):
            error_BCHW = (_unit_length(y_hat) - _unit_length(y)).square()
            if self._linear is not None:
                error_BCHW = error_BCHW * self._linear[number].to(error_BCHW).view(1, -1, 1, 1)
            total = total + error_BCHW.sum(1).mean()
        return total


class TimmFeatures(Term):
    """Measure 1 − cosine similarity of a timm network's features, averaged over positions.

    With `name: vit_small_patch14_dinov2` it is the DINOv2 feature distance.

    Args:
        name: timm's name of the network.
        pretrained: True reads timm's cache or hub, a path a .safetensors file, False draws.
        out: index of the stage that is compared; −1 is the deepest.
        size: images are resized to this side first; None leaves them as they are.

    Raises:
        MissingExtraError: without timm.
        RunError: when the weights are not to be had or belong to another network.
        RecipeError: for an unknown network, or when the distance does not rise with noise.
    """

    expects: ClassVar[ValueRange | None] = _UNIT

    def __init__(
        self,
        *,
        name: str = "vit_small_patch14_dinov2",
        pretrained: bool | str = True,
        out: int = -1,
        size: int | None = 224,
    ) -> None:
        super().__init__()
        if size is not None and size < 1:
            raise RecipeError("a size is positive", where="size", found=size)
        network = Backbone(name, pretrained=pretrained, out=out, value_range=(0.0, 1.0))
        self._networks = (_constant(network),)
        self.size = size
        check_rises_with_noise(self, "timm-features", side=size or 64)

    @property
    def network(self) -> nn.Module:
        """The network that is read."""
        return self._networks[0]

    @float32_island
    def measure(self, x_hat: Tensor, target: Tensor) -> Tensor:
        network = self._networks[0].to(x_hat.device, x_hat.dtype)
        y_hat = network(self._resized(x_hat))[-1]
        y = _without_gradient(network, self._resized(target))[-1]
        return (1 - (_unit_length(y_hat) * _unit_length(y)).sum(1)).mean()

    def _resized(self, x_BCHW: Tensor) -> Tensor:
        x = _rgb(x_BCHW)
        if self.size is None or x.shape[-2:] == (self.size, self.size):
            return x
        return nn.functional.interpolate(x, (self.size, self.size), mode="bicubic", antialias=True)


def check_rises_with_noise(
    distance: Callable[[Tensor, Tensor], Tensor], name: str, *, side: int = 64
) -> None:
    """Refuse a distance that does not rank images of rising noise as they are.

    A network with wrong weights, or fed in another range than its own, saturates or turns round.

    Args:
        distance: (x_hat, target) in [0, 1] → scalar.
        name: what messages call it.
        side: of the test image, a smooth pattern with edges.

    Raises:
        RecipeError: naming the responses.
    """
    axis = torch.linspace(0, 1, side)
    waves = torch.stack([(f * axis).sin().outer((f * axis).cos()) for f in (9.0, 20.0, 31.0)])
    x = (0.5 + 0.25 * waves + 0.15 * (axis[:, None] > axis)).clamp(0, 1)[None]
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = [0.0, *(float(distance((x + s * noise).clamp(0, 1), x)) for s in _NOISE)]
    if any(b <= a for a, b in itertools.pairwise(found)):
        raise RecipeError(
            f"the distance '{name}' does not rise with noise: its network is not what it should be",
            where=f"objective.{name}",
            expected=f"rising values for noise of {', '.join(map(str, _NOISE))}",
            found=", ".join(f"{value:.3g}" for value in found[1:]),
            hint="check the weights file and the value range",
        )


def _constant(network: nn.Module) -> nn.Module:
    return network.requires_grad_(False).eval()


def _without_gradient(network: nn.Module, x: Tensor) -> list[Tensor]:
    with torch.no_grad():
        return network(x)


def _rgb(x_BCHW: Tensor) -> Tensor:
    """Repeat a single channel; refuse what is neither grey nor RGB."""
    check_images(x_BCHW, smallest=1, where="a feature distance")
    if x_BCHW.shape[1] == 1:
        return x_BCHW.expand(-1, 3, -1, -1)
    if x_BCHW.shape[1] != 3:
        raise RecipeError(
            "this network sees grey or RGB images",
            expected="1 or 3 channels",
            found=f"{x_BCHW.shape[1]} channels",
        )
    return x_BCHW


def _unit_length(y_BCHW: Tensor) -> Tensor:
    """Divide by the norm over channels; the rounded root has a slope at 0."""
    return y_BCHW / (y_BCHW.square().sum(1, keepdim=True) + _TINY).sqrt()
