"""The same held-out samples through every codebook of a run, one strip of pictures each.

The originals and decode(μ) are shared; decode(q(μ)), before and after tuning, lies in the folder of
its codebook.

Shape letters: n samples, C channels, H height, W width.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from torch import Tensor

from pellucid.atomic_files import write_atomically
from pellucid.codebooks.codebook import Codebook
from pellucid.codebooks.files import CodebookFiles, mean_picture, original_picture
from pellucid.codebooks.scoring import HeldOut, decode_codes, decode_means
from pellucid.functional.value_range import ValueRange
from pellucid.models.autoencoder import Autoencoder
from pellucid.references.samples import spaced
from pellucid.run_folder import RunFolder

SHOWN = 12


def save_originals(folder: RunFolder, autoencoder: Autoencoder, samples: HeldOut) -> None:
    """Write the samples as they are, and as decode(μ) shows them.

    Raises:
        RunError: when they cannot be written.
    """
    chosen = spaced(len(samples.x), SHOWN)
    means = decode_means(autoencoder, samples.mean[chosen])
    write_atomically(original_picture(folder), _strip(samples.x[chosen], samples.value_range))
    write_atomically(mean_picture(folder), _strip(means, samples.value_range))


def save_strip(folder: RunFolder, codebook: Codebook, samples: HeldOut) -> None:
    """Write the same samples as decode(q(μ)) shows them, by the decoder the codebook has.

    Raises:
        RunError: when they cannot be written.
    """
    chosen = spaced(len(samples.x), SHOWN)
    x_hat = decode_codes(codebook, codebook.encode(samples.mean[chosen]))
    files = CodebookFiles(folder, codebook.name)
    path = files.picture if codebook.decoder is None else files.tuned_picture
    write_atomically(path, _strip(x_hat, samples.value_range))


def _strip(x_nCHW: Tensor, value_range: ValueRange) -> bytes:
    """Lay images side by side, one pixel apart; the first three channels, or the first alone."""
    pixels_nHWC = value_range.to_uint8(x_nCHW).permute(0, 2, 3, 1).cpu().numpy()
    shown = 3 if pixels_nHWC.shape[3] >= 3 else 1
    gap = np.full((pixels_nHWC.shape[1], 1, shown), 255, np.uint8)
    parts = [part for image in pixels_nHWC[..., :shown] for part in (image, gap)][:-1]
    strip = np.concatenate(parts, axis=1)
    buffer = io.BytesIO()
    Image.fromarray(strip if shown == 3 else strip[..., 0]).save(buffer, "PNG")
    return buffer.getvalue()
