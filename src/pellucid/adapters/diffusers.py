"""Autoencoders of Hugging Face's diffusers: `AutoencoderKL` and its kin, `VQModel`.

Shape letters: B batch, K codes, d latent channels.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from pellucid.adapters.describing import describe, need
from pellucid.diagnosis import Subject
from pellucid.records import Latent

_EXPECTED = "AutoencoderKL, VQModel or another autoencoder of diffusers"
_PARTS = ("encoder", "quant_conv", "quantize", "post_quant_conv", "decoder")


def from_diffusers(model: Any, **declared: Any) -> Subject:
    """Describe an autoencoder of diffusers; images are in [−1, 1].

    Latents are those of the decoder: `config.scaling_factor`, which a diffusion model multiplies
    them with, is kept among the recipe's facts.

    Args:
        model: an `AutoencoderKL` (posterior mean and log-variance), a `VQModel` (codes, codebook)
            or another class whose `encode` returns latents and whose `decode` returns `sample`.
        declared: fields of `Subject`; diffusers brings no losses, so `loss_terms`, `optimizers` or
            `kl_weight` open more rows.

    Raises:
        PellucidError: when the object is none of these.
    """
    need(model, "encode", "decode", "encoder", "decoder", "config", expected=_EXPECTED)
    parts = {name: getattr(model, name, None) for name in _PARTS}
    scale = getattr(model.config, "scaling_factor", None)
    known: dict[str, Any] = {
        "encode": model.encode,
        "decode": model.decode,
        "forward": lambda x: model(x).sample,
        "modules": {name: part for name, part in parts.items() if part is not None},
        "value_range": (-1, 1),
        "recipe": {} if scale is None else {"scaling_factor": scale},
    }
    if parts["quantize"] is not None:
        known |= _vector_quantised(model)
    return describe(known, declared)


def _vector_quantised(model: Any) -> dict[str, Any]:
    """A VQModel quantises in `decode`; here codes belong to the latent."""

    def encode(x: Tensor) -> Latent:
        h = model.encode(x).latents
        quantized, _, (_, _, indices) = model.quantize(h)
        codes = indices.reshape(len(h), *h.shape[2:])  # diffusers returns them flat
        return Latent(mean=h, codes=codes, quantized=quantized)

    def decode(z: Tensor) -> Tensor:
        spatial = model.config.norm_type == "spatial"
        return model.decoder(model.post_quant_conv(z), z if spatial else None)

    return {"encode": encode, "decode": decode, "codebook": model.quantize.embedding.weight}
