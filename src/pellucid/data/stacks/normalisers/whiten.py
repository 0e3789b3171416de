"""PCA whitening: uncorrelated mixtures of channels, each of variance 1."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pellucid.data.stacks.normalisers.contract import Normaliser, along_channels


class Whiten(Normaliser):
    """y = (λ + ε)^(−½) · Vᵀ(x − μ), with covariance V diag(λ) Vᵀ of the training pixels.

    All C components are kept, so that the inverse is exact. Component k is a mixture of channels.

    Args:
        epsilon: added to every λ as a share of the largest, so that noise is not blown up.
    """

    mixes = True
    mean_C: Tensor
    axes_CC: Tensor
    scale_C: Tensor

    def __init__(self, *, epsilon: float = 1e-3) -> None:
        self.epsilon = epsilon

    def fit(self, x_NC: Tensor) -> None:
        values = x_NC.double()
        mean = values.mean(0)
        centred = values - mean
        lam, axes = torch.linalg.eigh(centred.T @ centred / len(values))
        lam, axes = lam.flip(0).clamp_min(0), axes.flip(1)
        self.mean_C, self.axes_CC = mean.float(), axes.float().contiguous()
        self.scale_C = (lam + self.epsilon * lam[0].clamp_min(1e-12)).sqrt().float()

    def forward(self, x_BCP: Tensor) -> Tensor:
        centred = x_BCP.float() - along_channels(self.mean_C, x_BCP)
        mixed = torch.einsum("bc...,ck->bk...", centred, self.axes_CC.to(x_BCP.device))
        return mixed / along_channels(self.scale_C, x_BCP)

    def inverse(self, y_BCP: Tensor) -> Tensor:
        scaled = y_BCP * along_channels(self.scale_C, y_BCP)
        mixed = torch.einsum("bk...,ck->bc...", scaled, self.axes_CC.to(y_BCP.device))
        return mixed + along_channels(self.mean_C, y_BCP)

    def state(self) -> dict[str, Tensor]:
        return {"mean": self.mean_C, "axes": self.axes_CC, "scale": self.scale_C}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.mean_C, self.axes_CC = state["mean"], state["axes"]
        self.scale_C = state["scale"]
