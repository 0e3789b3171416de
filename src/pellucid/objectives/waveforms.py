"""What every term of waveforms asks of its inputs."""

from __future__ import annotations

from torch import Tensor

from pellucid.errors import PellucidError


def check_waveforms(x: Tensor) -> None:
    """Refuse what is not (batch, channels, samples)."""
    if x.ndim != 3:
        raise PellucidError(
            "waveforms are needed", expected="(batch, channels, samples)", found=tuple(x.shape)
        )
