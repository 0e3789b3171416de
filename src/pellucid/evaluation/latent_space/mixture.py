"""A Gaussian mixture as density of the aggregate posterior, to sample from.

A VAE's prior N(0, I) is where its latents should lie, not where they lie; a mixture fitted
afterwards closes that gap (Ghosh et al. 2020, "From variational to deterministic autoencoders",
section 4).

Shape letters: N samples, D latent dimensions, K axes kept.
"""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.errors import PellucidError, require
from pellucid.references.principal import PrincipalAxes, principal_axes

COMPONENTS = (1, 2, 4, 8, 16)
AXES = 48
_PER_COMPONENT = 8
"""Samples that a component needs per axis kept, so that full covariances are not made up."""


@dataclasses.dataclass(frozen=True)
class Mixture:
    """A fitted density.

    Args:
        axes: the K axes it lives on; along the others it is the mean.
        model: scikit-learn's GaussianMixture over standardised coordinates.
        scale_K: √λ of the axes.
        components: how many the held-out likelihood chose.
        likelihoods: mean held-out log-likelihood, nats per sample, by number of components.
        kept: share of the latents' variance along the axes.
    """

    axes: PrincipalAxes
    model: Any
    scale_K: Tensor
    components: int
    likelihoods: dict[int, float]
    kept: float

    def sample(self, count: int, *, seed: int) -> Tensor:
        """Return (count, D) latents."""
        self.model.random_state = seed
        drawn = np.random.default_rng(seed).permutation(self.model.sample(count)[0])
        return torch.from_numpy(drawn).float() * self.scale_K @ self.axes.axes + self.axes.mean


def fit_mixture(train_ND: Tensor, held_out_ND: Tensor, *, seed: int = 0) -> Mixture:
    """Fit on the leading axes of the training latents; the held-out ones choose the components.

    Raises:
        PellucidError: when the latents do not vary.
        MissingExtraError: without scikit-learn.
    """
    mixture = require("sklearn.mixture", extra="features", purpose="a fitted mixture")
    keep = max(1, min(AXES, len(train_ND) // _PER_COMPONENT, train_ND.shape[1]))
    axes = principal_axes(train_ND, keep)
    if not len(axes.axes):
        raise PellucidError("all latents are the same: there is nothing to sample from")
    scale_K = axes.eigenvalues[: len(axes.axes)].sqrt().float()
    own, other = (axes.coordinates(z) / scale_K for z in (train_ND, held_out_ND))
    likelihoods, models = {}, {}
    for components in COMPONENTS:
        if components > 1 and len(own) < components * _PER_COMPONENT * 2:
            break
        model = mixture.GaussianMixture(
            components, covariance_type="full", reg_covar=1e-3, random_state=seed, max_iter=50
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an early stop is judged by the held-out likelihood
            model.fit(own.double().numpy())
        models[components] = model
        likelihoods[components] = float(model.score(other.double().numpy()))
    best = max(likelihoods, key=lambda components: likelihoods[components])
    kept = float(axes.eigenvalues[: len(axes.axes)].sum() / axes.eigenvalues.sum())
    return Mixture(axes, models[best], scale_K, best, likelihoods, kept)
