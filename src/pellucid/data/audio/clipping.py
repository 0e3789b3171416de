"""Clipping: flat tops where a recorder ran out of range.

Shape letters: T samples.
"""

from __future__ import annotations

import numpy as np


def clipped_share(samples_T: np.ndarray) -> float:
    """Return the share of samples in runs of three or more that stay within 0.1 % of the peak."""
    peak = float(np.abs(samples_T).max(initial=0.0))
    if peak < 1e-3 or len(samples_T) < 3:
        return 0.0
    flat = 0
    for sign in (1.0, -1.0):
        at_peak = sign * samples_T >= 0.999 * peak
        run = at_peak[:-2] & at_peak[1:-1] & at_peak[2:]
        inside = np.zeros(len(samples_T), bool)
        for shift in range(3):
            inside[shift : len(run) + shift] |= run
        flat += int(inside.sum())
    return flat / len(samples_T)
