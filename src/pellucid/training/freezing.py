"""Hold parts of a model still: a pretrained encoder's first blocks, or all of it later on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pellucid.bottlenecks.codebook import Codebook
from pellucid.errors import PellucidError

if TYPE_CHECKING:
    from pellucid.models.autoencoder import Autoencoder


class FrozenGuard:
    """Check now and then that what an encoder declares frozen has not moved.

    Only encoders that say `frozen_tensors(step)` are watched. Weight decay, an optimiser that was
    handed too much, or a batch norm left in train mode would move them without a gradient.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}

    def check(self, encoder: nn.Module, step: int) -> None:
        """Compare with the last look; what was thawed or frozen since then is not compared.

        Raises:
            PellucidError: naming what moved.
        """
        declared = getattr(encoder, "frozen_tensors", None)
        if declared is None:
            return
        sums = _sums(declared(step))
        moved = [
            name
            for name, value in sums.items()
            if name in self._sums and not torch.equal(value, self._sums[name])
        ]
        if moved:
            raise PellucidError(
                "a frozen part of the encoder moved",
                where=", ".join(moved[:3]) + (", …" if len(moved) > 3 else ""),
                expected=f"{len(sums)} tensors standing still",
                found=f"{len(moved)} that moved before step {step}",
            )
        self._sums = sums


def _sums(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return two sums of every tensor: equal values give equal sums, bit for bit."""
    found = {}
    for name, value in tensors.items():
        flat = value.detach().double().flatten()
        place = torch.arange(1, flat.numel() + 1, device=flat.device, dtype=flat.dtype)
        found[name] = torch.stack([flat.sum(), (flat * place).sum()])
    return found


def freeze_encoder(autoencoder: Autoencoder) -> None:
    """Stop gradients and statistics of encoder, bottleneck and codebooks; the decoder goes on.

    The bottleneck itself stays in train mode: the decoder keeps seeing what it will have to
    decode, with sampling and quantiser dropout.

    Source: Wu et al. 2023, "AudioDec", section 3.2 (metrics first, adversary with a fixed encoder).
    """
    autoencoder.encoder.requires_grad_(False).eval()
    autoencoder.bottleneck.requires_grad_(False)
    for part in autoencoder.bottleneck.modules():
        if isinstance(part, Codebook):
            part.eval()


def still_modules(module: nn.Module, name: str) -> tuple[str, ...]:
    """Return the dotted names of the largest parts whose parameters all stand still.

    Args:
        module: where to look.
        name: what it is called.
    """
    parameters = list(module.parameters())
    if not parameters or all(p.requires_grad for p in parameters):
        return ()
    if not any(p.requires_grad for p in parameters):
        return (name,)
    parts = module.named_children()
    return tuple(found for key, part in parts for found in still_modules(part, f"{name}.{key}"))
