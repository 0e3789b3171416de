"""A codec's whole, chunked and streamed forms agree, for every length."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.bottlenecks import FSQ, RVQ, VQ, Bottleneck, Gaussian
from pellucid.errors import PellucidError
from pellucid.models.autoencoder import Autoencoder
from pellucid.models.waveform import (
    WaveDecoderStream,
    WaveEncoderStream,
    decode_waveform,
    encode_waveform,
    reconstruct_waveform,
)
from pellucid.nn import SEANetDecoder, SEANetEncoder

SIZES = {"strides": (2, 5), "width": 6}


def codec(kind: str = "rvq", *, causal: bool = True) -> Autoencoder:
    torch.manual_seed(0)
    bottleneck: Bottleneck = {
        "rvq": lambda: RVQ(8, levels=3, codes=16, init="normal"),
        "vq": lambda: VQ(8, codes=32, init="normal"),
        "fsq": lambda: FSQ(8, levels=(5, 5, 4)),
        "gaussian": lambda: Gaussian(8, dim=8),
    }[kind]()
    encoder = SEANetEncoder(1, channels=8, causal=causal, **SIZES)
    decoder = SEANetDecoder(bottleneck.out_channels, 1, causal=causal, **SIZES)
    return Autoencoder(encoder, bottleneck, decoder).eval()


MODELS = {kind: codec(kind) for kind in ("rvq", "vq", "fsq", "gaussian")}


def wave(length: int) -> torch.Tensor:
    return torch.randn(1, length, generator=torch.Generator().manual_seed(length))


@pytest.mark.parametrize("kind", ["rvq", "vq", "fsq", "gaussian"])
@pytest.mark.parametrize("length", [1, 9, 10, 11, 99, 100, 101])
def test_every_length_comes_back(kind: str, length: int) -> None:
    x = wave(length)[None]
    assert reconstruct_waveform(MODELS[kind], x).shape == x.shape


@pytest.mark.parametrize("kind", ["rvq", "vq", "fsq"])
@pytest.mark.parametrize("length", [1, 10, 57])
def test_codes_and_back_is_the_reconstruction(kind: str, length: int) -> None:
    codes = encode_waveform(MODELS[kind], wave(length))
    assert codes.shape[0] == -(-length // 10)
    decoded = decode_waveform(MODELS[kind], codes, length)
    whole = reconstruct_waveform(MODELS[kind], wave(length)[None])[0]
    torch.testing.assert_close(decoded, whole, atol=1e-5, rtol=1e-4)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 37), min_size=1, max_size=12), st.sampled_from(["rvq", "vq"]))
def test_any_arrival_gives_the_codes_and_samples_of_the_whole(sizes: list[int], kind: str) -> None:
    length = max(sum(sizes), 1)
    x = wave(length)
    encoder, decoder = WaveEncoderStream(MODELS[kind]), WaveDecoderStream(MODELS[kind])
    parts = list(x.split([*sizes, length - sum(sizes)], -1))
    codes = [*(encoder.push(part) for part in parts), encoder.finish()]
    samples = torch.cat([decoder.push(part) for part in codes], -1)
    whole = encode_waveform(MODELS[kind], x)
    assert torch.equal(torch.cat(codes), whole)
    assert encoder.length == length
    expected = decode_waveform(MODELS[kind], whole, length)
    torch.testing.assert_close(samples[:, :length], expected, atol=1e-5, rtol=1e-4)


def test_fewer_levels_are_the_first_ones() -> None:
    x = wave(80)
    assert torch.equal(
        encode_waveform(MODELS["rvq"], x, levels=2), encode_waveform(MODELS["rvq"], x)[:, :2]
    )
    coarse = decode_waveform(MODELS["rvq"], encode_waveform(MODELS["rvq"], x, levels=1), 80)
    assert coarse.isfinite().all()


def test_coding_leaves_mode_and_codebooks_as_they_were() -> None:
    model = codec("rvq").train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    encode_waveform(model, wave(50))
    WaveEncoderStream(model).push(wave(50))
    assert all(part.training for part in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: encode_waveform(MODELS["gaussian"], wave(10)), "no codes"),
        (lambda: encode_waveform(MODELS["vq"], wave(10), levels=2), "one level"),
        (lambda: encode_waveform(MODELS["rvq"], wave(10), levels=9), "do not exist"),
        (lambda: decode_waveform(MODELS["rvq"], torch.zeros(3, 3).long(), 31), "21 … 30"),
        (lambda: decode_waveform(MODELS["rvq"], torch.zeros(3, 3).long(), 20), "21 … 30"),
        (lambda: decode_waveform(MODELS["rvq"], torch.full((3, 3), 16), 30), "code"),
        (lambda: reconstruct_waveform(MODELS["rvq"], wave(10)), "waveforms are needed"),
        (lambda: reconstruct_waveform(MODELS["rvq"], wave(0)[None]), "waveforms are needed"),
        (lambda: WaveEncoderStream(codec(causal=False)), "chunk by chunk"),
        (lambda: WaveDecoderStream(codec(causal=False)), "chunk by chunk"),
    ],
)
def test_bad_input_is_refused_in_words(act, message: str) -> None:
    with pytest.raises(PellucidError, match=message):
        act()
