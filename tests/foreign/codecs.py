"""Check the adapters of the audio codecs; run by the isolated environment's own Python.

    .bench/foreign/venv/bin/python tests/foreign/codecs.py encodec

Prints one JSON object: what was measured on tiny random models, for the test to judge.
Shape letters: B batch, T samples, F frames, L residual levels, K codes, d channels.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import torch
from torch import Tensor

from pellucid.adapters import from_dac, from_encodec, from_snac
from pellucid.diagnosis import Subject, diagnose
from pellucid.diagnosis.latents import as_latent
from pellucid.diagnosis.runner import decoded_latent
from pellucid.errors import PellucidError

LENGTH = 512


def encodec(*, normalize: bool = False) -> tuple[Any, Subject]:
    """Return a tiny EnCodec of hop 32 and its description."""
    from encodec.model import EncodecModel
    from encodec.modules import SEANetDecoder, SEANetEncoder
    from encodec.quantization import ResidualVectorQuantizer

    size = {"n_filters": 4, "ratios": [4, 4, 2], "dimension": 16, "norm": "weight_norm"}
    model = EncodecModel(
        SEANetEncoder(causal=True, **size), SEANetDecoder(causal=True, **size),
        ResidualVectorQuantizer(dimension=16, n_q=4, bins=16, kmeans_init=False),
        target_bandwidths=[2.0, 4.0], sample_rate=8000, channels=1, normalize=normalize,
    ).eval()  # fmt: skip
    for layer in model.quantizer.vq.layers:
        layer._codebook.embed.normal_()
    return model, from_encodec(model)


def dac() -> tuple[Any, Subject]:
    """Return a tiny DAC of hop 32 and its description."""
    from dac import DAC

    model = DAC(
        encoder_dim=4, encoder_rates=[2, 4, 4], decoder_dim=32, decoder_rates=[4, 4, 2],
        n_codebooks=3, codebook_size=16, codebook_dim=4, sample_rate=8000,
    ).eval()  # fmt: skip
    return model, from_dac(model)


def snac(*, noise: bool = False) -> tuple[Any, Subject]:
    """Return a tiny SNAC of hop 32 with levels at a quarter, half and full rate."""
    from snac import SNAC

    model = SNAC(
        sampling_rate=8000, encoder_dim=4, encoder_rates=[2, 4, 4], decoder_dim=32,
        decoder_rates=[4, 4, 2], attn_window_size=None, codebook_size=16, codebook_dim=4,
        vq_strides=[4, 2, 1], noise=noise, depthwise=False,
    ).eval()  # fmt: skip
    return model, from_snac(model)


def own_codes(model: Any, x: Tensor) -> list[Tensor]:
    """Return the codes of the package itself, one (B, F') tensor per level."""
    answer = model.encode(x)
    if isinstance(answer, tuple):  # DAC: z, codes (B, L, F), ...
        return list(answer[1].unbind(1))
    if isinstance(answer[0], tuple):  # EnCodec: frames of (codes (B, L, F), scale)
        return list(answer[0][0].unbind(1))
    return list(answer)  # SNAC: one tensor per level


def own_output(model: Any, x: Tensor) -> Tensor:
    answer = model(x)
    if isinstance(answer, dict):
        return answer["audio"]
    return answer[0] if isinstance(answer, tuple) else answer


@torch.no_grad()
def measure(model: Any, subject: Subject, x: Tensor) -> dict[str, Any]:
    """Compare the description with the package's own encode, decode and forward."""
    latent = as_latent(subject.encode(x))
    assert latent.codes is not None
    assert latent.quantized is not None
    codes = own_codes(model, x)
    frames = latent.codes.shape[1]
    repeated = torch.stack([c.repeat_interleave(frames // c.shape[1], 1) for c in codes], -1)
    books = subject.codebooks
    total = sum(book[latent.codes[..., i]] for i, book in enumerate(books))
    assert isinstance(total, Tensor)
    z = latent.quantized[:, : total.shape[-1]]
    x_hat = subject.decode(decoded_latent(latent))
    own = own_output(model, x)
    return {
        "codes_equal": bool(torch.equal(latent.codes, repeated)),
        "levels": [latent.codes.shape[-1], len(books)],
        "sum_of_codebooks": float((total.movedim(-1, 1) - z).abs().max()),
        "decode_against_forward": float((x_hat[..., : own.shape[-1]] - own).abs().max()),
        "lengths": [x.shape[-1], x_hat.shape[-1], own.shape[-1]],
        "sample_rate": subject.sample_rate,
        "refusal": _refusal(subject, x[..., : LENGTH - 5]),
    }


def _refusal(subject: Subject, x: Tensor) -> str:
    try:
        subject.encode(x)
    except PellucidError as error:
        return str(error)
    return ""


def main(name: str) -> None:
    """Measure one codec and diagnose it."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    t = torch.arange(LENGTH) / 8000
    f = 100 + 300 * torch.rand(48, 1, generator=torch.Generator().manual_seed(0))
    x = (torch.rand(48, 1) * 0.5 * torch.sin(2 * torch.pi * f * t))[:, None]
    model, subject = {
        "encodec": encodec,
        "encodec-normalized": lambda: encodec(normalize=True),
        "dac": dac,
        "snac": snac,
        "snac-noise": lambda: snac(noise=True),
    }[name]()
    measured = measure(model, subject, x)
    found = diagnose(subject, x[:32], x[32:], budget_seconds=20)
    measured["tested"] = list(found.tested)
    measured["asserted"] = [f.id for f in found.findings if f.asserted]
    measured["survived"] = [n.id for n in found.not_tested if n.needs.startswith("a subject that")]
    print(json.dumps(measured))


if __name__ == "__main__":
    main(sys.argv[1])
