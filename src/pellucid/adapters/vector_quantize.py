"""Compositions with a quantiser of vector-quantize-pytorch.

Shape letters: B batch, d channels, P positions, N all positions in a row, L levels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.adapters.describing import describe, need
from pellucid.diagnosis import Subject
from pellucid.records import Latent

Loss = Callable[[Tensor, Tensor], Tensor]


def from_vector_quantize(
    encoder: nn.Module,
    quantizer: Any,
    decoder: nn.Module,
    *,
    loss: Loss | None = None,
    **declared: Any,
) -> Subject:
    """Describe encoder, quantiser and decoder as one model.

    Args:
        encoder: x -> (B, d, P...), channels first.
        quantizer: VectorQuantize, ResidualVQ, FSQ, LFQ, SimVQ, their grouped and residual kin; its
            own layout (channels last or first, feature maps) is respected.
        decoder: (B, d, P...) -> x_hat.
        loss: (x_hat, x) -> the weighted reconstruction error; opens the rows that need losses,
            together with what the quantiser returns.
        declared: fields of `Subject`.

    Raises:
        PellucidError: when the middle one is no quantiser.
    """
    need(quantizer, "forward", "parameters", expected="a quantiser of vector-quantize-pytorch")

    def encode(x: Tensor) -> Latent:
        z = encoder(x)
        quantized, codes, _ = _quantise(quantizer, z)
        return Latent(mean=_code_space(quantizer, z), codes=codes, quantized=quantized)

    def loss_terms(x: Tensor) -> dict[str, Tensor]:
        assert loss is not None
        quantized, _, penalty = _quantise(quantizer, encoder(x))
        terms = {"recon": loss(decoder(quantized), x)}
        return terms if penalty is None else {**terms, "quantizer": penalty.sum()}

    known = {
        "encode": encode,
        "decode": decoder,
        "forward": lambda x: decoder(_quantise(quantizer, encoder(x))[0]),
        "modules": {"encoder": encoder, "quantizer": quantizer, "decoder": decoder},
        "loss_terms": None if loss is None else loss_terms,
        "codebook": _codebooks(quantizer) or None,
    }
    return describe(known, declared)


def _quantise(quantizer: Any, z_BdP: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the quantised latent, codes with levels last, and the quantiser's own loss."""
    positions = z_BdP.shape[2:]
    maps = getattr(quantizer, "accept_image_fmap", False) or len(positions) == 0
    first = _channels_first(quantizer)
    flat = z_BdP if maps else z_BdP.flatten(2) if first else z_BdP.flatten(2).movedim(1, -1)
    quantized, codes, *rest = quantizer(flat)
    if not maps:
        quantized = quantized if first else quantized.movedim(-1, 1)
    groups = getattr(quantizer, "groups", 1)
    if groups > 1:  # grouped quantisers return one set of codes per group, in front
        codes = codes.movedim(0, -1).flatten(len(codes.shape) - 2)
    levels = codes.numel() // (len(z_BdP) * math.prod(positions))
    codes = codes.reshape(len(z_BdP), *positions, *([levels] if levels > 1 else []))
    return quantized.reshape(len(z_BdP), -1, *positions), codes, rest[0] if rest else None


def _channels_first(quantizer: Any) -> bool:
    """Each class names its layout in a way of its own; without a name channels are last."""
    if hasattr(quantizer, "channel_last"):
        return not quantizer.channel_last
    named = (getattr(quantizer, name, None) for name in ("channel_first", "is_channel_first"))
    return any(named)


def _code_space(quantizer: Any, z_BdP: Tensor) -> Tensor:
    """Return what is compared with the codebook: cosine codes see directions only."""
    cosine = getattr(getattr(quantizer, "_codebook", None), "use_cosine_sim", False)
    projected = getattr(quantizer, "has_projections", False)
    return F.normalize(z_BdP, dim=1) if cosine and not projected else z_BdP


def _codebooks(quantizer: Any) -> list[Tensor]:
    """Return learned codebooks (FSQ and LFQ have none), as views of the quantiser's own."""
    layers = getattr(quantizer, "layers", None) or [quantizer]
    stores = [getattr(layer, "_codebook", None) for layer in layers]
    if all(store is not None for store in stores):
        books = [store.embed for store in stores if store is not None]
        return [book[0] for book in books] if all(len(book) == 1 for book in books) else []
    learned = getattr(quantizer, "code_transform", None)  # SimVQ
    return [quantizer.codebook.detach()] if learned is not None else []
