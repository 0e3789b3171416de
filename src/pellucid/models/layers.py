"""Named feature maps of an autoencoder, fine to coarse, as `features_only` of timm gives them.

Shape letters: B batch, C channels, P positions (any number of axes).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pellucid.errors import unknown_name
from pellucid.models.autoencoder import Autoencoder, evaluating

LATENT = "latent"
"""The mean before sampling or quantisation."""
QUANTIZED = "quantized"
"""What the decoder receives, of models with codes."""


@dataclasses.dataclass(frozen=True)
class Layer:
    """Describe one feature map.

    Args:
        name: the encoder's own name of it, or "latent", "quantized".
        channels: C.
        reduction: input pixels (or samples) per position along one side; None where positions are
            no grid over the input (the tokens of a graph).
    """

    name: str
    channels: int
    reduction: int | None


class FeatureExtractor(nn.Module):
    """Return named maps of the frozen path x → encoder → bottleneck, as evaluated; gradients flow.

    Args:
        autoencoder: the model; its mode is left as it is.
        layers: which maps, in this order; None gives all.

    Attributes:
        feature_info: name, channels and reduction of every map that is returned.

    Raises:
        RecipeError: when there is no such layer; the nearest name is given.
    """

    feature_info: tuple[Layer, ...]

    def __init__(self, autoencoder: Autoencoder, layers: Sequence[str] | None = None) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        known = {layer.name: layer for layer in feature_info(autoencoder)}
        for name in layers or ():
            if name not in known:
                raise unknown_name("layer", name, known, where="layers")
        names = list(known) if layers is None else list(dict.fromkeys(layers))
        self.feature_info = tuple(known[name] for name in names)

    def forward(self, x_BCP: Tensor) -> dict[str, Tensor]:
        """Return {name: (B, channels, P / reduction…)}, float32.

        Raises:
            PellucidError: when a side of x is not a multiple of the encoder's stride.
        """
        with evaluating(self.autoencoder):
            found = _every_map(self.autoencoder, x_BCP)
        return {layer.name: found[layer.name].float() for layer in self.feature_info}


@torch.no_grad()
def feature_info(autoencoder: Autoencoder) -> tuple[Layer, ...]:
    """Describe every map the model has: the encoder's, then the latents. Measured on a blank."""
    parameter = next(autoencoder.parameters())
    axes: int = autoencoder.encoder.axes  # pyright: ignore[reportAssignmentType]
    # A permuter arranges tiles of its own grid; other models take any multiple of the stride.
    side = autoencoder.stride * getattr(autoencoder.permuter, "side", 2)
    blank_BCP = parameter.new_zeros(1, autoencoder.in_channels, *[side] * axes)
    with evaluating(autoencoder):
        maps = _every_map(autoencoder, blank_BCP)
    return tuple(
        Layer(name, y.shape[1], side // y.shape[-1] if y.ndim == axes + 2 else None)
        for name, y in maps.items()
    )


def _every_map(autoencoder: Autoencoder, x_BCP: Tensor) -> dict[str, Tensor]:
    encoder = autoencoder.encoder
    found: dict[str, Tensor] = dict(encoder.features(autoencoder.arrange(x_BCP).x))  # pyright: ignore[reportCallIssue]
    last: str = encoder.intermediates[-1]  # pyright: ignore[reportIndexIssue, reportAssignmentType]
    latent = autoencoder.bottleneck(found[last]).latent
    found[LATENT] = latent.mean
    if latent.quantized is not None:
        found[QUANTIZED] = latent.quantized
    return found
