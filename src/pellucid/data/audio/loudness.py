"""Loudness of speech: the level of its active parts, and the gain that brings it to a target.

Shape letters: T samples, F frames.
"""

from __future__ import annotations

import numpy as np

FRAME_SECONDS = 0.02
ACTIVE_DB = 40.0
"""Frames within so many decibels of the loudest are active; pauses do not count."""

LARGEST_GAIN_DB = 40.0
"""Amplifying more would bring up noise, not speech."""


def active_level_db(samples_T: np.ndarray, sample_rate: int) -> float:
    """Return the RMS level of the active 20 ms frames in dB relative to full scale.

    −inf for digital silence. A simple relative of ITU-T P.56.
    """
    frame = max(1, round(FRAME_SECONDS * sample_rate))
    whole = len(samples_T) // frame * frame
    power_F = np.square(samples_T[:whole].astype(np.float64)).reshape(-1, frame).mean(axis=1)
    if not whole:
        power_F = np.square(samples_T.astype(np.float64)).mean(keepdims=True)
    loudest = float(power_F.max(initial=0.0))
    if loudest <= 0:
        return float("-inf")
    active = power_F[power_F >= loudest * 10 ** (-ACTIVE_DB / 10)]
    return 10 * float(np.log10(active.mean()))


def gain_to(level_db: float, target_db: float | None) -> float:
    """Return the gain in dB that brings a level to the target, within ±40 dB; 0 without a target.

    Rounded to the hundredth of a decibel that a coded file carries.
    """
    if target_db is None or not np.isfinite(level_db):
        return 0.0
    return round(max(-LARGEST_GAIN_DB, min(LARGEST_GAIN_DB, target_db - level_db)), 2)
