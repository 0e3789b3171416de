"""The features that a landmark head may learn on: the run's own, and those it is compared with.

Shape letters: B batch, C channels, H, W pixels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pellucid.workflows.landmark_images import LandmarkImages
from pellucid.workflows.run import Run

if TYPE_CHECKING:
    from torch import Tensor

    from pellucid.evaluation.landmarks.fields import MapOf
    from pellucid.evaluation.landmarks.head import Fields

Against = Literal["random", "pca", "dinov2"]
OWN = "run"
DINOV2 = "vit_small_patch14_dinov2"


class Methods:
    """Make the features of every method for the same images.

    Args:
        run: of images.
        found: the images.
        layers: maps of the encoder; None takes all, fine to coarse, and the latent.
        seed: of the untrained encoders.
        weights: file with DINOv2's weights, where timm's cache does not hold them.

    Raises:
        RecipeError: for an unknown layer.
        RunError: when the run has no weights.
    """

    def __init__(
        self,
        run: Run,
        found: LandmarkImages,
        layers: Sequence[str] | None,
        *,
        seed: int,
        weights: str | Path | None,
    ) -> None:
        from pellucid.evaluation.landmarks.fields import grid_of
        from pellucid.models.layers import QUANTIZED, FeatureExtractor, feature_info

        self.run, self.found, self.seed, self.weights = run, found, seed, weights
        model = run.load()
        self.layers = layers or [
            i.name for i in feature_info(model) if i.name != QUANTIZED and i.reduction
        ]
        self.own = FeatureExtractor(model, self.layers)
        self.cell = grid_of(self.own)
        self.features = sum(layer.channels for layer in self.own.feature_info)

    def about(self) -> dict[str, Any]:
        """Return what the run's own features are."""
        return {
            "layers": [dataclasses.asdict(layer) for layer in self.own.feature_info],
            "features": self.features,
            "cell_pixels": float(self.cell * self.found.scale[0]),
        }

    def fields_of(self, method: str) -> Callable[[int], Fields]:
        """Return draw → features: an untrained encoder is drawn anew, the others stay."""
        from pellucid.evaluation.landmarks.fields import FINEST, encoder_maps, patch_pca_maps

        if method == "random":
            return self._untrained
        if method == "dinov2":
            fixed = _fields(_dinov2(self.run, self.weights), self.found, FINEST * 2)
        elif method == "pca":
            maps_of = patch_pca_maps(self.found.x, self.cell, self.features)
            fixed = _fields(maps_of, self.found, self.cell)
        else:
            fixed = _fields(encoder_maps(self.own, self.cell), self.found, self.cell)
        return lambda draw: fixed

    def _untrained(self, draw: int) -> Fields:
        from pellucid.build.assemble import build_autoencoder
        from pellucid.evaluation.landmarks.fields import encoder_maps
        from pellucid.models.layers import FeatureExtractor

        recipe = self.run.recipe.model_copy(update={"seed": self.seed + 1000 + draw})
        blank = FeatureExtractor(build_autoencoder(recipe).eval(), self.layers)
        return _fields(encoder_maps(blank, self.cell), self.found, self.cell)


def _fields(maps_of: MapOf, found: LandmarkImages, cell: int) -> Fields:
    """Take the maps of every image and sample their cells; maps are kept at half precision."""
    from pellucid.evaluation.landmarks.head import Fields

    maps = [maps_of(x).numpy().astype(np.float16) for x in found.x]
    return Fields.build(maps, found.xy, (cell * found.scale).tolist())


def _dinov2(run: Run, weights: str | Path | None) -> MapOf:
    """Return DINOv2's patch features as a map, 8 pixels per cell."""
    from pellucid.build.assemble import data_facts
    from pellucid.nn.timm_encoder import TimmEncoder

    facts = data_facts(run.recipe)
    value_range = facts.value_range
    assert value_range is not None  # only runs of pictures come here
    encoder = TimmEncoder(
        facts.channels,
        DINOV2,
        pretrained=True if weights is None else str(weights),
        stride=8,
        value_range=(value_range.low, value_range.high),
    ).eval()

    def maps(x_BCHW: Tensor) -> Tensor:
        import torch

        from pellucid.functional.padding import pad_to_multiple

        with torch.no_grad():
            return encoder(pad_to_multiple(x_BCHW, 8))[0]

    return maps
