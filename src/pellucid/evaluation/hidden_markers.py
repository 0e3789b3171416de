"""What a model knows of a marker that it is not shown.

Shape letters: B tiles or windows, C channels, E elements that are judged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

Batch = tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]
"""The model's input, channels first after B; the truth (E, C, …); input → answer like the truth."""


@torch.no_grad()
def hidden_marker_r2(batches: Iterable[Batch], live: Sequence[int]) -> dict[int, float]:
    """Return R² of every live marker when its channel is 0 in the model's input.

    0 is the marker's mean, where values are normalised.

    Args:
        batches: of held-out samples.
        live: channels.
    """
    found = {channel: [0.0, 0.0, 0.0, 0] for channel in live}
    for x, truth, answer in batches:
        for channel in live:
            hidden = x.clone()
            hidden[:, channel] = 0
            own = truth[:, channel].double()
            sums = found[channel]
            sums[0] += float((answer(hidden)[:, channel] - own).square().sum())
            sums[1] += float(own.sum())
            sums[2] += float(own.square().sum())
            sums[3] += own.numel()
    return {
        channel: 1 - error / max(square - total**2 / n, 1e-20)
        for channel, (error, total, square, n) in found.items()
    }
