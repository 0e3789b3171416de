"""Take out hot pixels: single values far above everything around them.

Shape letters: C channels, H height, W width.
"""

from __future__ import annotations

import numpy as np


def remove_hot_pixels(values_CHW: np.ndarray, threshold: float) -> np.ndarray:
    """Replace a pixel that exceeds the largest of its 8 neighbours by more than `threshold`.

    x' = m where x − m > threshold, else x, with m the maximum over the neighbours in the same
    channel; edges are mirrored.

    Args:
        values_CHW: counts.
        threshold: in counts; steinbock's examples take 50.

    Source: steinbock, `preprocess imc images --hpf` (its `filter_hot_pixels`).
    """
    from scipy.ndimage import maximum_filter

    footprint = np.ones((1, 3, 3), dtype=bool)
    footprint[0, 1, 1] = False
    around_CHW = maximum_filter(values_CHW, footprint=footprint, mode="mirror")
    # in floating point, because an unsigned difference would wrap
    excess_CHW = values_CHW.astype(np.float32) - around_CHW
    return np.where(excess_CHW > threshold, around_CHW, values_CHW)
