"""PCA of tiles and patches: exact with all numbers, orthogonal residuals, better with more."""

from __future__ import annotations

import torch

from pellucid.references.tile_pca import TilePCA


def tiles(n: int = 60) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    factors = torch.randn(n, 6, generator=generator)
    return (factors @ torch.randn(6, 3 * 8 * 8, generator=generator)).view(n, 3, 8, 8) + 2


def test_six_numbers_suffice_for_six_factors():
    x = tiles()
    pca = TilePCA.fit(x, 6)
    assert pca.numbers == 6
    torch.testing.assert_close(pca.reconstruct(x), x, atol=1e-3, rtol=1e-3)
    assert "whole tiles: 6 numbers per tile, fitted on 60" in pca.note


def test_patches_share_the_numbers_evenly():
    x = tiles() + torch.randn(60, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    errors = []
    for numbers in (4, 16, 64):
        pca = TilePCA.fit(x, numbers, patch=4)
        assert pca.numbers == numbers
        errors.append(float((pca.reconstruct(x) - x).square().mean()))
    assert errors[0] > errors[1] > errors[2]
    assert "4×4 patches, 16 numbers each" in pca.note
