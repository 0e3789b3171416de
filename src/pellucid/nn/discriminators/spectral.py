"""Multi-scale discriminator of complex short-time spectra, band by band.

Source: Défossez et al. 2022, "High fidelity neural audio compression", section 3.4 (complex
spectra); Kumar et al. 2023, "High-fidelity audio compression with improved RVQGAN", section 3.3
(bands). The level is kept: Kumar's code removes mean and loudness first, and is blind to both.

Shape letters: B batch, C channels, T samples, V bins, F frames.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from pellucid.errors import RecipeError
from pellucid.functional.precision import float32_island
from pellucid.functional.stft import stft
from pellucid.nn.discriminators.judgement import Judgement, activations

_STRIDES = (1, 2, 2, 2)  # along the frequencies; the frames keep their number


class SpectralDiscriminator(nn.Module):
    """Judge the real and imaginary parts of spectra; one scale per window.

    Each band has convolutions of its own, so that the loud low bands do not speak for the rest;
    one more convolution sees all bands and scores. Channels of audio are judged one by one.

    Args:
        in_channels: audio channels.
        windows: window lengths in samples; the hop is a quarter.
        bands: edges of each band, as shares of half the sample rate.
        width: channels of every layer.

    Raises:
        RecipeError: for windows, bands or channels that make no network.
    """

    axes = 1

    def __init__(
        self,
        in_channels: int = 1,
        *,
        windows: tuple[int, ...] = (2048, 1024, 512),
        bands: tuple[tuple[float, float], ...] = (
            (0.0, 0.1),
            (0.1, 0.25),
            (0.25, 0.5),
            (0.5, 0.75),
            (0.75, 1.0),
        ),
        width: int = 32,
    ) -> None:
        super().__init__()
        if not windows or min(windows) < 8 or width < 1 or in_channels < 1:
            raise RecipeError(
                "a spectral discriminator needs windows and channels",
                expected="windows ≥ 8 samples, width ≥ 1",
                found=f"windows {list(windows)}, width {width}",
            )
        for low, high in bands:
            if not 0 <= low < high <= 1:
                raise RecipeError("a band rises", expected="0 ≤ low < high ≤ 1", found=(low, high))
        self.windows = windows
        self.scales = nn.ModuleList(_Bands(window // 2 + 1, bands, width) for window in windows)

    def forward(self, x_BCT: Tensor) -> Judgement:
        """Return one score map per window.

        Raises:
            PellucidError: when the waveform is shorter than half a window.
        """
        pairs = [
            scale(_parts(x_BCT, window))
            for window, scale in zip(self.windows, self.scales, strict=True)
        ]
        return Judgement([score for score, _ in pairs], [features for _, features in pairs])


class _Bands(nn.Module):
    """Convolve every band of (B, 2, F, V) by itself, then all of them together."""

    def __init__(self, bins: int, bands: tuple[tuple[float, float], ...], width: int) -> None:
        super().__init__()
        self.edges = [(int(low * bins), int(high * bins)) for low, high in bands]
        thin = [edge for edge in self.edges if edge[1] <= edge[0]]
        if thin or not bands:
            raise RecipeError(
                "a band holds no frequency",
                expected=f"at least one of {bins} bins in every band",
                found=f"bins {thin}",
            )
        self.layers = nn.ModuleList(nn.ModuleList(_band_layers(width)) for _ in bands)
        self.score = weight_norm(nn.Conv2d(width, 1, 3, padding=1))

    def forward(self, x_B2FV: Tensor) -> tuple[Tensor, list[Tensor]]:
        features: list[Tensor] = []
        tops = []
        for (low, high), layers in zip(self.edges, self.layers, strict=True):
            assert isinstance(layers, nn.ModuleList)
            found = activations(layers, x_B2FV[..., low:high])
            features += found
            tops.append(found[-1])
        return self.score(torch.cat(tops, dim=-1)), features


def _band_layers(width: int) -> list[nn.Module]:
    first = [
        weight_norm(nn.Conv2d(2 if i == 0 else width, width, (3, 9), (1, stride), padding=(1, 4)))
        for i, stride in enumerate(_STRIDES)
    ]
    return [*first, weight_norm(nn.Conv2d(width, width, 3, padding=1))]


@float32_island
def _parts(x_BCT: Tensor, window: int) -> Tensor:
    """Return (B·C, 2, F, V): real and imaginary part."""
    spectrum = stft(x_BCT, window, window // 4)
    return torch.stack([spectrum.real, spectrum.imag], dim=1).transpose(-1, -2)
