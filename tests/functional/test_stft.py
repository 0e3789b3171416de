"""Short-time spectra and mel banks against closed forms and a slow plain version."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pellucid.errors import PellucidError
from pellucid.functional.stft import hertz_to_mel, mel_filterbank, mel_to_hertz, stft


def test_white_noise_has_its_variance_in_every_bin() -> None:
    x = 0.3 * torch.randn(4, 1, 60_000, generator=torch.Generator().manual_seed(0))
    for window in (64, 1000):
        power = stft(x, window, window // 4).abs().square().mean((0, 2))
        assert power[1:-1].mean().item() == pytest.approx(0.09, rel=0.02)


def test_a_frame_is_the_windowed_fourier_sum() -> None:
    x = torch.randn(1, 1, 400, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    window, hop, frame = 32, 8, 20
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    cut = x[0, 0].numpy()[frame * hop - window // 2 : frame * hop + window // 2]
    slow = np.fft.rfft(cut * hann) / np.sqrt((hann**2).sum())
    np.testing.assert_allclose(stft(x, window, hop)[0, :, frame].numpy(), slow, atol=1e-12)


def test_mel_and_hertz_are_inverse_and_meet_at_one_kilohertz() -> None:
    hertz = torch.tensor([0.0, 60.0, 999.9, 1000.0, 4000.0, 8000.0], dtype=torch.float64)
    mel = torch.tensor([hertz_to_mel(float(f)) for f in hertz], dtype=torch.float64)
    torch.testing.assert_close(mel_to_hertz(mel), hertz)
    assert hertz_to_mel(1000.0) == 15.0
    assert (mel.diff() > 0).all()


@pytest.mark.parametrize(
    ("bands", "window"), [(5, 32), (10, 64), (20, 128), (80, 512), (160, 1024), (320, 2048)]
)
def test_bands_are_ordered_single_peaked_and_cover_everything(bands: int, window: int) -> None:
    bank = mel_filterbank(bands, window, 16000)
    assert bank.shape == (bands, window // 2 + 1)
    assert (bank >= 0).all()
    assert (bank.sum(1) > 0).all()  # none is empty, however coarse the bins
    centre = (bank * torch.arange(bank.shape[1])).sum(1) / bank.sum(1)
    assert (centre.diff() > 0).all()
    rises = bank.diff(dim=1).sign()
    turns = [(row[row != 0].diff() > 0).sum().item() for row in rises]
    assert max(turns) == 0  # up, then down, never up again
    assert (bank.sum(0)[1:-1] > 0).all()


def test_bands_have_unit_area() -> None:
    bank = mel_filterbank(40, 2048, 16000)
    inner = bank[1:-1].double().sum(1) * 16000 / 2048
    torch.testing.assert_close(inner, torch.ones_like(inner), atol=1e-6, rtol=0)


def test_bands_are_the_triangles_of_slaney() -> None:
    edges = mel_to_hertz(torch.linspace(0, hertz_to_mel(8000.0), 42, dtype=torch.float64))
    frequency = torch.arange(1025, dtype=torch.float64) * 16000 / 2048
    rows = []
    for left, centre, right in zip(edges[:-2], edges[1:-1], edges[2:], strict=True):
        up, down = (frequency - left) / (centre - left), (right - frequency) / (right - centre)
        rows.append(torch.minimum(up, down).clamp_min(0) * 2 / (right - left))
    sampled = torch.stack(rows)
    bank = mel_filterbank(40, 2048, 16000).double()
    assert (bank - sampled).abs().max() < 0.12 * sampled.max()  # averaged over bins, not sampled
    assert torch.corrcoef(torch.stack([bank.flatten(), sampled.flatten()]))[0, 1] > 0.999


def test_edges_that_do_not_rise_are_refused() -> None:
    with pytest.raises(PellucidError, match="rising edges"):
        mel_filterbank(10, 256, 16000, low=100.0, high=9000.0)
    with pytest.raises(PellucidError, match="rising edges"):
        mel_filterbank(0, 256, 16000)
