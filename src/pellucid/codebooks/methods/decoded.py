"""K-means of what the decoder makes of the latents, instead of the latents.

Every latent is decoded inside its own sample's grid; the pixels under its position are what is
clustered. A code's vector is the mean of the latents in its cluster.

Shape letters: N points, D dimensions, K codes, E numbers of a decoded patch.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pellucid.codebooks.methods.fitted import Fitted, check_size
from pellucid.codebooks.methods.kmeans import centres
from pellucid.codebooks.rules import Decode, Decoded
from pellucid.functional.code_statistics import code_sums
from pellucid.functional.nearest_code import nearest_code


def fit_decoded(
    points_ND: np.ndarray,
    patches_NE: Tensor,
    patches: Decode,
    size: int,
    *,
    seed: int = 0,
) -> Fitted:
    """Fit K means of decoded patches; unseen points are decoded too, see `rules.Decoded`.

    Args:
        points_ND: float32 latents.
        patches_NE: what each decodes to.
        patches: the function from latents to those, for points never seen.
        size: K.
        seed: of the k-means.

    Raises:
        PellucidError: when K exceeds the points.
    """
    check_size(points_ND, size)
    centres_KE = centres(patches_NE.numpy(), size, seed=seed)
    codes_N = nearest_code(patches_NE, centres_KE)
    sums = code_sums(torch.from_numpy(points_ND), codes_N, size)
    means_KD = sums.sums / sums.counts.clamp(min=1)[:, None]
    # a centre that won no point stands for the latent whose patch is nearest to it
    nearest_K = nearest_code(centres_KE, patches_NE)
    spare_KD = torch.from_numpy(points_ND)[nearest_K]
    vectors_KD = torch.where(sums.counts[:, None] > 0, means_KD, spare_KD)
    return Fitted(vectors_KD, Decoded(centres_KE, patches), {"patch": patches_NE.shape[1]})
