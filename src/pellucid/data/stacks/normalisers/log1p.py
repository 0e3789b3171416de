"""Logarithm of counts: y = ln(1 + x)."""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.data.stacks.normalisers.contract import Normaliser
from pellucid.errors import DataError


class Log1p(Normaliser):
    """y = ln(1 + x), for values of at least 0."""

    def fit(self, x_NC: Tensor) -> None:
        """Check the sign of the training values.

        Raises:
            DataError: when there are negative ones.
        """
        if len(x_NC) and float(x_NC.min()) < 0:
            raise DataError(
                "log1p is for counts", expected="values ≥ 0", found=float(x_NC.min()),
                hint="arcsinh takes negative values too",
            )  # fmt: skip

    def forward(self, x_BCP: Tensor) -> Tensor:
        return torch.log1p(x_BCP.float().clamp_min(0))

    def inverse(self, y_BCP: Tensor) -> Tensor:
        return torch.expm1(y_BCP)
