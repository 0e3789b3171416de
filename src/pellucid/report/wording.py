"""Numbers and names as a reader wants them: units, intervals, signs, plain words."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

MISSING = "—"

# Metric names whose plain title is not the name with spaces.
TITLES = {
    "psnr": "PSNR",
    "ssim": "SSIM",
    "ms_ssim": "MS-SSIM",
    "mse": "MSE",
    "mae": "MAE",
    "l1": "L1",
    "l2": "L2",
    "fvu": "FVU",
    "kl": "KL",
    "bits_per_pixel": "Bits per pixel",
    "bits_per_dim": "Bits per dimension",
    "usage": "Codes used",
    "code_usage": "Codes used",
    "code_perplexity": "Code perplexity",
    "total": "Objective",
    "latent_rms": "Latent RMS",
    "vq": "VQ",
    "nmi": "NMI",
    "bit_entropy": "Bit entropy",
    "pca": "PCA",
    "linear": "Linear coder",
    "jpeg": "JPEG",
    "webp": "WebP",
    "pesq": "PESQ",
    "stoi": "STOI",
    "visqol": "ViSQOL",
    "dnsmos": "DNSMOS",
    "si_sdr": "SI-SDR",
    "snr": "SNR",
    "dc": "DC",
    "log_mel": "Log-mel distance",
    "log_spectral": "Log-spectral distance",
    "r2": "Median R²",
    "r2_worst_decile": "R², worst tenth",
    "r2_counts": "Median R² on counts",
    "masked_r2": "Median R², marker hidden",
    "pearson": "Median Pearson",
    "kl_bits": "KL",
    "file_kbps": "Rate of files",
    "payload_kbps": "Rate of payload",
}

UNITS = {"bits per pixel": "bpp", "1": "", "ratio": "", "none": ""}


def title(name: str) -> str:
    """Return the words for a metric, term or column name: `ms_ssim` → MS-SSIM."""
    return TITLES.get(name) or words(name)


def words(name: str) -> str:
    """Return a key as words: `samples_per_epoch` → Samples per epoch."""
    text = name.replace("_", " ").replace(".", " · ").strip()
    return capitalised(text)


def short_unit(unit: str) -> str:
    """Return the unit as printed after a number; a plain ratio has none."""
    return UNITS.get(unit, unit)


def is_number(value: Any) -> bool:
    """Say whether `value` is a finite number (booleans are not numbers)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def decimals(value: float, unit: str = "") -> int:
    """Return how many decimals a number deserves: tenths of a dB, else three significant digits."""
    if unit == "dB":
        return 1
    if value == 0 or abs(value) >= 1000:
        return 0
    return max(0, min(6, 2 - math.floor(math.log10(abs(value)))))


def places_for(value: float, low: Any, high: Any, unit: str = "") -> int:
    """Return how many decimals an interval justifies.

    Two significant digits of its half-width when that begins with 1, 2 or 3, else one; dB has one
    decimal, or two where the half-width is below a tenth.
    """
    if not (is_number(low) and is_number(high)) or high <= low:
        return decimals(value, unit)
    half = (high - low) / 2
    if unit == "dB":
        return 2 if half < 0.1 else 1
    exponent = math.floor(math.log10(half))
    return max(0, min(6, (1 if half < 3.55 * 10.0**exponent else 0) - exponent))


def number(value: Any, unit: str = "", *, places: int | None = None, signed: bool = False) -> str:
    """Return a number as text, without its unit; `—` for what is missing or not finite."""
    if not is_number(value):
        return MISSING
    if abs(value) >= 1e7 or (places is None and value != 0 and abs(value) < 1e-4):
        return f"{value:{'+' if signed else ''}.2e}".replace("-", "−")
    if places is None:
        places = 0 if isinstance(value, int) else decimals(value, unit)
    text = f"{value:{'+' if signed else ''},.{places}f}"
    if float(text.replace(",", "")) == 0:
        text = text.lstrip("+-")
    return text.replace("-", "−").replace(",", "\u202f")


def interval(low: Any, high: Any, unit: str = "", *, places: int | None = None) -> str:
    """Return `23.6–24.6`, with `to` between signed ends; empty when there is no interval."""
    if not (is_number(low) and is_number(high)):
        return ""
    if places is None:
        places = max(decimals(low, unit), decimals(high, unit))
    separator = " to " if low < 0 else "–"
    return f"{number(low, unit, places=places)}{separator}{number(high, unit, places=places)}"


def duration(seconds: Any) -> str:
    """Return seconds as `2 min 14 s`, `3 h 05 min`."""
    if not is_number(seconds):
        return MISSING
    if seconds < 10:
        return f"{seconds:.1f} s"
    total = round(seconds)
    if total < 60:
        return f"{total} s"
    if total < 3600:
        return f"{total // 60} min {total % 60:02d} s"
    return f"{total // 3600} h {total % 3600 // 60:02d} min"


def count(value: Any) -> str:
    """Return a count as `812`, `45 100`, `1.21 M`."""
    if not is_number(value):
        return MISSING
    for size, letter in ((1e9, "G"), (1e6, "M")):
        if abs(value) >= size:
            return f"{value / size:.3g}\u202f{letter}"
    return number(int(value))


def percent(share: Any) -> str:
    """Return a share of one as per cent, never rounding something to 0 % or 100 % falsely."""
    if not is_number(share):
        return MISSING
    if 0 < share < 0.01 or 0.99 < share < 1:
        return f"{100 * share:.2f} %"
    return f"{100 * share:.0f} %"


def listed(words: Sequence[str]) -> str:
    """Join words as English does: `a`, `a and b`, `a, b and c`."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def capitalised(text: str) -> str:
    """Raise the first letter and leave the rest."""
    return text[:1].upper() + text[1:]


def finite(values: Iterable[Any]) -> list[float]:
    """Keep the finite numbers."""
    return [float(value) for value in values if is_number(value)]
