"""SNR and SI-SDR: closed forms, and what each must not hide."""

from __future__ import annotations

import math

import pytest
import torch

from pellucid.errors import PellucidError
from pellucid.functional.snr import si_sdr, snr


def speech(seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(3, 1, 4000, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("noise_db", [-30.0, -10.0, 5.0])
def test_known_noise_has_its_ratio(noise_db: float) -> None:
    x, noise = speech(0), speech(1)
    gain = 10 ** (noise_db / 20) * x.norm(dim=-1, keepdim=True) / noise.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(snr(x + gain * noise, x), torch.full((3,), -noise_db))


def test_gain_costs_snr_and_not_si_sdr() -> None:
    x = speech()
    y = x + 0.1 * speech(1)
    assert snr(0.5 * y, x).max() < 7
    torch.testing.assert_close(si_sdr(0.5 * y, x), si_sdr(y, x), atol=1e-3, rtol=1e-4)
    assert snr(0.5 * x, x)[0].item() == pytest.approx(20 * math.log10(2), abs=1e-4)


def test_a_constant_is_hidden_by_neither() -> None:
    x = speech()
    assert snr(x + 0.05, x).max() < 7
    assert si_sdr(x + 0.05, x).max() < 7


def test_silence_and_equality_are_finite() -> None:
    x, zero = speech(), torch.zeros(3, 1, 4000)
    for y, of in ((x, x), (zero, x), (x, zero), (zero, zero)):
        assert snr(y, of).isfinite().all()
        assert si_sdr(y, of).isfinite().all()
    assert (snr(x, x) > 70).all()


def test_shapes_must_agree() -> None:
    with pytest.raises(PellucidError, match="differ in shape"):
        snr(speech(), speech()[..., 1:])
