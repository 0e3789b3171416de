"""Terms that compare short-time spectra of waveforms.

Spectra of x̂ and of the target are made apart: what needs no gradient costs no backward pass.

Shape letters: B batch, C channels, T samples, V bins, F frames, M mel bands.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.errors import RecipeError
from pellucid.functional.stft import mel_filterbank, power, stft
from pellucid.objectives.term import Term
from pellucid.objectives.waveforms import check_waveforms


class LogMel(Term):
    """Measure mean |log₁₀(ε + mel(x̂)) − log₁₀(ε + mel(x))|, averaged over window lengths.

    mel(x) are magnitudes in bands of equal mel width from 0 Hz to half the sample rate; with ε
    inside the logarithm silence has a value and a gradient. The hop is a quarter of the window.
    Source: Kumar et al. 2023, section 3.4 (windows and bands).

    Args:
        sample_rate: in hertz.
        windows: window lengths in samples.
        bands: mel bands of each.
        epsilon: magnitude below which nothing is heard, in the unit of the values.

    Raises:
        RecipeError: when lengths and bands do not pair, or ε is not positive.
    """

    waveforms = True

    def __init__(
        self,
        *,
        sample_rate: int,
        windows: tuple[int, ...] = (32, 64, 128, 256, 512, 1024, 2048),
        bands: tuple[int, ...] = (5, 10, 20, 40, 80, 160, 320),
        epsilon: float = 1e-5,
    ) -> None:
        super().__init__()
        _check_windows(windows, epsilon)
        if len(windows) != len(bands):
            raise RecipeError(
                "every window needs its number of bands",
                where="objective.log-mel",
                expected=f"{len(windows)} numbers",
                found=list(bands),
            )
        self.windows, self.epsilon = windows, epsilon
        for window, count in zip(windows, bands, strict=True):
            bank = mel_filterbank(count, window, sample_rate)
            self.register_buffer(f"bank_{window}", bank, persistent=False)

    def measure(self, x_hat: Tensor, target: Tensor) -> Tensor:
        check_waveforms(target)
        return _mean([self._at(x_hat, target, window) for window in self.windows])

    def _at(self, x_hat: Tensor, target: Tensor, window: int) -> Tensor:
        return (self._log_mel(x_hat, window) - self._log_mel(target, window)).abs().mean()

    def _log_mel(self, x_BCT: Tensor, window: int) -> Tensor:
        bank_MV = getattr(self, f"bank_{window}").to(x_BCT)
        magnitude = _magnitude(stft(x_BCT, window, window // 4))
        with torch.autocast(x_BCT.device.type, enabled=False):
            return torch.log10(self.epsilon + bank_MV @ magnitude)


class STFT(Term):
    """Measure spectral convergence plus log-magnitude distance, averaged over window lengths.

    ‖|X̂| − |X|‖ / (‖|X|‖ + ε·√n) + mean |ln(ε + |X̂|) − ln(ε + |X|)|
    Source: Yamamoto et al. 2020 (Parallel WaveGAN), equations 5 and 6.

    Args:
        windows: window lengths in samples; the hop is a quarter.
        epsilon: magnitude below which nothing is heard, in the unit of the values.

    Raises:
        RecipeError: when a window is too short or ε is not positive.
    """

    waveforms = True

    def __init__(
        self, *, windows: tuple[int, ...] = (512, 1024, 2048), epsilon: float = 1e-4
    ) -> None:
        super().__init__()
        _check_windows(windows, epsilon)
        self.windows, self.epsilon = windows, epsilon

    def measure(self, x_hat: Tensor, target: Tensor) -> Tensor:
        check_waveforms(target)
        return _mean([self._at(x_hat, target, window) for window in self.windows])

    def _at(self, x_hat: Tensor, target: Tensor, window: int) -> Tensor:
        hat, true = (_magnitude(stft(x, window, window // 4)) for x in (x_hat, target))
        # The floor under both square roots keeps the gradient finite where both are silent.
        floor = self.epsilon * true.numel() ** 0.5
        difference = ((hat - true).square().sum() + 1e-12 * floor**2).sqrt() - 1e-6 * floor
        convergence = difference / (true.square().sum().sqrt() + floor)
        ratio = torch.log((self.epsilon + hat) / (self.epsilon + true))
        return convergence + ratio.abs().mean()


class CompressedSTFT(Term):
    """Measure squared distances between spectra whose magnitudes are compressed as hearing does.

    α·mean |X̂ᶜ − Xᶜ|² + (1 − α)·mean (|X̂|ᶜ − |X|ᶜ)², averaged over window lengths, where
    Xᶜ = X·(|X|² + ε²)^((c − 1)/2) keeps the phase. Unlike log magnitudes it hears phase, and unlike
    a difference of waveforms it does not let loud low frequencies outweigh everything else.
    Source: Braun & Tashev 2021, "A consolidated view of loss functions for supervised deep
    learning-based speech enhancement", equation 8.

    Args:
        windows: window lengths in samples; the hop is a quarter.
        power: c, the exponent of magnitudes.
        phase: α, the share of the difference that hears phase.
        epsilon: magnitude below which compression fades, in the unit of the values.

    Raises:
        RecipeError: when a window is too short, or an argument is out of range.
    """

    waveforms = True

    def __init__(
        self,
        *,
        windows: tuple[int, ...] = (256, 512, 1024),
        power: float = 0.3,
        phase: float = 0.3,
        epsilon: float = 1e-3,
    ) -> None:
        super().__init__()
        _check_windows(windows, epsilon)
        if not 0 < power <= 1 or not 0 <= phase <= 1:
            raise RecipeError(
                "a compressed spectrum needs an exponent in (0, 1] and a share in [0, 1]",
                where="objective.compressed-stft",
                found=f"power {power}, phase {phase}",
            )
        self.windows, self.power, self.phase, self.epsilon = windows, power, phase, epsilon

    def measure(self, x_hat: Tensor, target: Tensor) -> Tensor:
        check_waveforms(target)
        return _mean([self._at(x_hat, target, window) for window in self.windows])

    def _at(self, x_hat: Tensor, target: Tensor, window: int) -> Tensor:
        hat, true = (self._compressed(x, window) for x in (x_hat, target))
        real, imaginary, magnitude = (
            (a - b).square().mean() for a, b in zip(hat, true, strict=True)
        )
        return self.phase * (real + imaginary) + (1 - self.phase) * magnitude

    def _compressed(self, x_BCT: Tensor, window: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return Re Xᶜ, Im Xᶜ and |X|ᶜ."""
        spectrum = stft(x_BCT, window, window // 4)
        energy = power(spectrum)
        scale = (energy + self.epsilon**2).pow((self.power - 1) / 2)
        return spectrum.real * scale, spectrum.imag * scale, _root(energy) * scale


def _magnitude(spectrum: Tensor) -> Tensor:
    """Return |X| with a gradient that is finite at X = 0."""
    return _root(power(spectrum))


def _root(energy: Tensor) -> Tensor:
    return (energy + 1e-14).sqrt() - 1e-7


def _mean(values: list[Tensor]) -> Tensor:
    return torch.stack(values).mean()


def _check_windows(windows: tuple[int, ...], epsilon: float) -> None:
    if not windows or min(windows) < 8 or not epsilon > 0:
        raise RecipeError(
            "a spectral term needs windows of at least 8 samples and a positive ε",
            where="objective",
            found=f"windows {list(windows)}, epsilon {epsilon}",
        )
