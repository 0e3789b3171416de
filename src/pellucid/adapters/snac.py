"""SNAC (Siuzdak et al. 2024), the package `snac`: residual levels at several frame rates.

Shape letters: B batch, T samples, F frames of the finest level, d channels, L levels, K codes.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from pellucid.adapters.describing import describe, need, whole_frames
from pellucid.adapters.factorised import projected_codebooks
from pellucid.diagnosis import Subject
from pellucid.records import Latent


def from_snac(model: Any, **declared: Any) -> Subject:
    """Describe a `SNAC` model.

    A coarse level has one code for several frames. In `Latent.codes` (B, F, L) that code stands at
    each of its frames: usage and perplexity of a level stay what they are, levels still add up, and
    the bits are stated by the strides in the recipe's facts.

    Args:
        model: a `snac.SNAC`; waveforms at its own rate.
        declared: fields of `Subject`.

    Raises:
        PellucidError: when the object is none; while encoding, when crops are no whole number of
            the coarsest frames.
    """
    need(model, "encoder", "decoder", "vq_strides", "hop_length", "quantizer.quantizers",
         "sampling_rate", expected="snac.SNAC")  # fmt: skip
    window = math.lcm(model.vq_strides[0], model.attn_window_size or 1)

    def encode(x: Tensor) -> Latent:
        whole_frames(x.shape[-1], int(model.hop_length) * window)
        h = model.encoder(x)
        quantized, codes = model.quantizer(h)
        strides = [h.shape[-1] // level.shape[-1] for level in codes]
        every = [c.repeat_interleave(s, -1) for c, s in zip(codes, strides, strict=True)]
        return Latent(mean=h, codes=torch.stack(every, -1), quantized=quantized)

    known = {
        "encode": encode,
        "decode": model.decoder,
        "forward": lambda x: model(x)[0],
        "modules": {n: getattr(model, n) for n in ("encoder", "quantizer", "decoder")},
        "codebook": projected_codebooks(model.quantizer.quantizers),
        "sample_rate": model.sampling_rate,
        "value_range": (-1, 1),
        "recipe": {"vq_strides": list(model.vq_strides)},
    }
    return describe(known, declared)
