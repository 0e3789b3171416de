"""Models of pythae: AE, WAE, RAE, the VAE family, VQVAE.

Shape letters: B batch, D elements of a sample, d latent numbers, K codes.
"""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from pellucid.adapters.describing import describe, need
from pellucid.diagnosis import Subject
from pellucid.records import Latent

_REST = {"reg_loss": "kl", "vq_loss": "vq", "embedding_loss": "regularisation"}
"""pythae's names of what it adds to `recon_loss`, and ours."""


def from_pythae(model: Any, **declared: Any) -> Subject:
    """Describe a pythae model with its own losses.

    `loss_terms` are pythae's: the reconstruction, and the rest of the total under its name. The
    KL weight of `VAE` and `BetaVAE` beside a mean-reduced error is 2β/D, as pythae sums ½(x̂ − x)²
    over elements. Models with a discriminator have several losses and no `loss_terms` here.

    Args:
        model: e.g. `pythae.models.VAE`; inputs are shaped as its `model_config.input_dim`.
        declared: fields of `Subject`; `optimizers` open more rows.

    Raises:
        PellucidError: when the object is no pythae model.
    """
    need(
        model, "encoder", "decoder", "model_config.input_dim", "model_name",
        expected="a model of pythae, e.g. VAE, VQVAE or RAE_L2",
    )  # fmt: skip
    shape = tuple(model.model_config.input_dim)

    def encode(x: Tensor) -> Latent:
        found = model.encoder(x)
        if hasattr(model, "quantizer"):
            return _quantised(model.quantizer, found["embedding"])
        return Latent(mean=found["embedding"], logvar=found.get("log_covariance"))

    def loss_terms(x: Tensor) -> dict[str, Tensor]:
        found = model({"data": x})
        recon = found.get("recon_loss", found["loss"])
        rest = next((ours for theirs, ours in _REST.items() if theirs in found), "rest")
        return {"recon": recon} if recon is found["loss"] else {
            "recon": recon, rest: found["loss"] - recon,
        }  # fmt: skip

    def decode(z: Tensor) -> Tensor:
        flat = z.flatten(1) if z.ndim == 3 else z  # see _quantised
        return model.decoder(flat)["reconstruction"].reshape(len(z), *shape)

    parts = {name: getattr(model, name, None) for name in ("encoder", "quantizer", "decoder")}
    known: dict[str, Any] = {
        "encode": encode,
        "decode": decode,
        "forward": lambda x: model({"data": x})["recon_x"],
        "modules": {name: part for name, part in parts.items() if part is not None},
        "loss_terms": None if hasattr(model, "discriminator") else loss_terms,
        "kl_weight": _kl_weight(model, math.prod(shape)),
    }
    if parts["quantizer"] is not None:
        book = model.quantizer.embeddings
        known["codebook"] = book if isinstance(book, Tensor) else book.weight
    return describe(known, declared)


def _quantised(quantizer: Any, mean: Tensor) -> Latent:
    """Quantise as pythae's VQVAE does: of a flat latent, every number is a position of its own."""
    if mean.ndim == 2:
        mean = mean[:, None]
    grid = mean if mean.ndim == 4 else mean[:, :, None]
    found = quantizer(grid.movedim(1, -1))
    codes = found["quantized_indices"].reshape(len(mean), *mean.shape[2:])
    return Latent(mean=mean, codes=codes, quantized=found["quantized_vector"].reshape(mean.shape))


def _kl_weight(model: Any, elements: int) -> float | None:
    if model.model_name not in ("VAE", "BetaVAE"):
        return None
    if model.model_config.reconstruction_loss != "mse":
        return None
    return 2 * float(getattr(model, "beta", 1.0)) / elements
