"""An exponential moving average of the weights, for validation and for the deployed model."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightAverage:
    """Keep θ̄ ← d·θ̄ + (1 − d)·θ after every step, with d = min(decay, (1 + t)/(10 + t)).

    The warm-up of d forgets the initial weights quickly. Buffers (codebook statistics) are
    averages already and are used as they are.

    Args:
        model: the model whose trainable parameters are averaged.
        decay: d after the warm-up.
    """

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        self.decay = decay
        self._names = [name for name, p in model.named_parameters() if p.requires_grad]
        self._live = [p for p in model.parameters() if p.requires_grad]
        self._shadow = [torch.empty_like(p).copy_(p) for p in (q.detach() for q in self._live)]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after optimiser step `step` (from 1)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        live: list[Tensor] = list(self._live)
        get_ema_multi_avg_fn(decay)(self._shadow, live, step)

    @contextlib.contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Put the averaged weights into the model for a while; storage is exchanged, not copied."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def state_dict(self) -> dict[str, Tensor]:
        """Return the averaged weights by parameter name."""
        return dict(zip(self._names, self._shadow, strict=True))

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over averaged weights by parameter name, in the live parameters' memory layout."""
        for name, shadow in zip(self._names, self._shadow, strict=True):
            shadow.copy_(state[name])

    def _swap(self) -> None:
        for index, parameter in enumerate(self._live):
            parameter.data, self._shadow[index] = self._shadow[index], parameter.data
