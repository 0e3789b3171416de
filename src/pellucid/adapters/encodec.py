"""EnCodec (Défossez et al. 2022), the package `encodec`.

Shape letters: B batch, T samples, F frames, d channels, L residual levels, K codes.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from pellucid.adapters.describing import describe, need, whole_frames
from pellucid.diagnosis import Subject
from pellucid.errors import PellucidError
from pellucid.records import Latent


def from_encodec(model: Any, **declared: Any) -> Subject:
    """Describe an `EncodecModel` at its present bandwidth.

    A model that normalises loudness sends one scale per crop as side information; here it is one
    more latent channel, constant over time, so that decode depends on nothing but its argument.

    Args:
        model: an `EncodecModel`; `model.set_target_bandwidth` decides how many levels are used.
        declared: fields of `Subject`.

    Raises:
        PellucidError: when the object is none; while encoding, when crops are no whole number of
            frames or longer than the model's segment.
    """
    need(model, "encoder.ratios", "quantizer.vq.layers", "frame_rate", "normalize",
         expected="encodec.EncodecModel")  # fmt: skip
    hop = math.prod(model.encoder.ratios)

    def encode(x: Tensor) -> Latent:
        whole_frames(x.shape[-1], hop)
        _within_segment(model, x.shape[-1])
        scale = x.new_ones(len(x), 1, 1)
        if model.normalize:
            scale = 1e-8 + x.mean(1, keepdim=True).square().mean(2, keepdim=True).sqrt()
        h = model.encoder(x / scale)
        found = model.quantizer(h, model.frame_rate, model.bandwidth)
        codes = found.codes.permute(1, 2, 0)
        return Latent(_beside(model, h, scale), None, codes, _beside(model, found.quantized, scale))

    def decode(z: Tensor) -> Tensor:
        if not model.normalize:
            return model.decoder(z)
        return model.decoder(z[:, :-1]) * z[:, -1:].mean(2, keepdim=True)

    levels = model.quantizer.get_num_quantizers_for_bandwidth(model.frame_rate, model.bandwidth)
    known = {
        "encode": encode,
        "decode": decode,
        "forward": model,
        "modules": {n: getattr(model, n) for n in ("encoder", "quantizer", "decoder")},
        "codebook": [layer.codebook for layer in model.quantizer.vq.layers[:levels]],
        "sample_rate": model.sample_rate,
        "value_range": (-1, 1),
    }
    return describe(known, declared)


def _beside(model: Any, z_BdF: Tensor, scale_B11: Tensor) -> Tensor:
    """Append the scale as a channel, where the model has one."""
    if not model.normalize:
        return z_BdF
    return torch.cat([z_BdF, scale_B11.expand(-1, 1, z_BdF.shape[2])], 1)


def _within_segment(model: Any, length: int) -> None:
    limit = model.segment_length
    if limit is not None and length > limit:
        raise PellucidError(
            "longer crops are coded in overlapping segments, each with a latent of its own",
            where="x",
            expected=f"at most {limit} samples",
            found=length,
        )
