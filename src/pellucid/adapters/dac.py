"""Descript Audio Codec (Kumar et al. 2023), the package `descript-audio-codec`.

Shape letters: B batch, T samples, F frames, d channels, L residual levels, K codes.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from pellucid.adapters.describing import describe, need, whole_frames
from pellucid.adapters.factorised import projected_codebooks
from pellucid.diagnosis import Subject
from pellucid.records import Latent


def from_dac(model: Any, *, levels: int | None = None, **declared: Any) -> Subject:
    """Describe a `DAC` model.

    Its codes are chosen among short, normalised vectors and projected back; the codebooks here are
    the projected vectors, so that they lie in the decoder's space and levels add up.

    Args:
        model: a `dac.DAC`; waveforms at its own rate.
        levels: residual levels to use; default all.
        declared: fields of `Subject`.

    Raises:
        PellucidError: when the object is none; while encoding, when crops are no whole number of
            frames.
    """
    need(model, "encoder", "decoder", "hop_length", "quantizer.quantizers", "sample_rate",
         expected="dac.DAC")  # fmt: skip

    def encode(x: Tensor) -> Latent:
        whole_frames(x.shape[-1], int(model.hop_length))
        h = model.encoder(x)
        quantized, codes, *_ = model.quantizer(h, levels)
        return Latent(mean=h, codes=codes.movedim(1, -1), quantized=quantized)

    known = {
        "encode": encode,
        "decode": model.decode,
        "forward": lambda x: model(x, n_quantizers=levels)["audio"],
        "modules": {n: getattr(model, n) for n in ("encoder", "quantizer", "decoder")},
        "codebook": projected_codebooks(model.quantizer.quantizers[:levels]),
        "sample_rate": model.sample_rate,
        "value_range": (-1, 1),
    }
    return describe(known, declared)
