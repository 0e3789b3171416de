"""Bring every channel to mean 0 and standard deviation 1 of the training values."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from pellucid.data.stacks.normalisers.contract import Normaliser, along_channels, spread


class ZScore(Normaliser):
    """y = (x − μ_c) / σ_c; a constant channel is only centred."""

    mean_C: Tensor
    std_C: Tensor

    def fit(self, x_NC: Tensor) -> None:
        values = x_NC.double()
        self.mean_C = values.mean(0).float()
        self.std_C = spread(values.std(0, correction=0)).float()

    def forward(self, x_BCP: Tensor) -> Tensor:
        mean, std = (along_channels(v, x_BCP) for v in (self.mean_C, self.std_C))
        return (x_BCP.float() - mean) / std

    def inverse(self, y_BCP: Tensor) -> Tensor:
        mean, std = (along_channels(v, y_BCP) for v in (self.mean_C, self.std_C))
        return y_BCP * std + mean

    def state(self) -> dict[str, Tensor]:
        return {"mean": self.mean_C, "std": self.std_C}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        self.mean_C, self.std_C = state["mean"], state["std"]
