"""Fit a codebook on exported latents by one of the methods.

Shape letters: N points, D latent channels, P positions, K codes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch

from pellucid.codebooks.latents import SplitLatents
from pellucid.codebooks.methods.decoded import fit_decoded
from pellucid.codebooks.methods.fitted import Fitted, check_size
from pellucid.codebooks.methods.geodesic import GraphSettings, fit_geodesic
from pellucid.codebooks.methods.kmeans import fit_kmeans
from pellucid.codebooks.methods.medoids import fit_kmedoids
from pellucid.codebooks.rules import as_points, grid_patches
from pellucid.geometry.pullback import pulled_back_metric
from pellucid.models.autoencoder import Autoencoder
from pellucid.references.samples import spaced

Method = Literal["kmeans", "kmedoids", "geodesic", "pullback", "decoder"]
Source = Literal["mean", "sample"]
Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class Settings:
    """Everything that decides a codebook besides the latents.

    Args:
        method: "kmeans" and "kmedoids" in latent L2, "geodesic" along a graph, "pullback" along a
            graph whose edges the decoder measures, "decoder" by what latents decode to.
        source: fit on posterior "mean"s or on one "sample" each. Assignment is always of means.
        size: K.
        points: fit on at most so many latents: whole samples, evenly spaced over the split.
        graph: of "geodesic" and "pullback".
        seed: of the start.
    """

    method: Method = "kmeans"
    source: Source = "mean"
    size: int = 512
    points: int = 50_000
    graph: GraphSettings = dataclasses.field(default_factory=GraphSettings)
    seed: int = 0


def fit_codebook(
    latents: SplitLatents,
    autoencoder: Autoencoder,
    settings: Settings,
    *,
    progress: Progress | None = None,
) -> Fitted:
    """Fit a codebook on the latents of a split.

    Args:
        latents: of the training split.
        autoencoder: whose latents they are; "pullback" and "decoder" ask its decoder.
        settings: method, source, size.
        progress: called with (done, total) rounds or samples.

    Raises:
        PellucidError: when K or the neighbours exceed the points, or there is no posterior to
            sample.
    """
    source_NDP = latents.source(settings.source)
    per_sample = int(np.prod(source_NDP.shape[2:]))
    chosen = spaced(len(source_NDP), max(1, settings.points // per_sample))
    latents_NDP = torch.from_numpy(np.array(source_NDP[chosen]))
    points_ND = np.ascontiguousarray(as_points(latents_NDP.numpy()).numpy())
    check_size(points_ND, settings.size)
    fitted = _fit(points_ND, latents_NDP, autoencoder, settings, progress)
    return dataclasses.replace(fitted, facts={"points": len(points_ND), **fitted.facts})


def _fit(
    points_ND: np.ndarray,
    latents_NDP: torch.Tensor,
    autoencoder: Autoencoder,
    settings: Settings,
    progress: Progress | None,
) -> Fitted:
    size, seed = settings.size, settings.seed
    if settings.method == "kmeans":
        return fit_kmeans(points_ND, size, seed=seed)
    if settings.method == "kmedoids":
        return fit_kmedoids(points_ND, size, seed=seed, progress=progress)
    if settings.method == "decoder":
        patches = grid_patches(torch.no_grad()(autoencoder.decode), autoencoder.stride)
        return fit_decoded(points_ND, patches(latents_NDP), patches, size, seed=seed)
    metric_NDD = None
    if settings.method == "pullback":
        metric_NDD = _metric(latents_NDP, autoencoder, progress)
    return fit_geodesic(
        points_ND, size, settings=settings.graph, metric_NDD=metric_NDD, seed=seed,
        progress=progress,
    )  # fmt: skip


def _metric(
    latents_NDP: torch.Tensor, autoencoder: Autoencoder, progress: Progress | None
) -> np.ndarray:
    """Pull the decoder's metric back at every latent, with a bar: it is the longest part."""
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, len(latents_NDP))

    return pulled_back_metric(autoencoder.decoder, latents_NDP, progress=advance).numpy()
