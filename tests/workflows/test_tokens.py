"""The vectors behind codes add up to what the bottleneck decodes, level by level."""

from __future__ import annotations

import pytest
import torch

from pellucid.bottlenecks import FSQ, RVQ, VQ, Gaussian
from pellucid.workflows.tokens import _own_vectors


@pytest.mark.parametrize("bottleneck", [VQ(6, codes=5, dim=3), FSQ(6, levels=(3, 4))], ids=str)
def test_every_code_has_its_vector(bottleneck):
    (vectors,) = _own_vectors(bottleneck.eval())
    codes = torch.randint(bottleneck.codebook_size, (2, 3, 3))
    expected = bottleneck.decode_codes(codes)
    torch.testing.assert_close(vectors[codes].movedim(-1, 1), expected)


def test_levels_add_up():
    bottleneck = RVQ(6, levels=3, codes=4).eval()
    vectors = _own_vectors(bottleneck)
    codes = torch.randint(4, (2, 5, 3))
    total = sum(vectors[level][codes[..., level]] for level in range(3))
    torch.testing.assert_close(total.movedim(-1, 1), bottleneck.decode_codes(codes))


def test_continuous_latents_have_none():
    assert _own_vectors(Gaussian(6, 4)) is None
