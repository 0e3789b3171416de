"""What levels with maps of their own can do that one shared small space cannot."""

from __future__ import annotations

import pytest
import torch

from pellucid.bottlenecks import RVQ, FactorisedRVQ
from pellucid.errors import RecipeError


def rank_of(vectors_NC: torch.Tensor) -> int:
    centred = vectors_NC - vectors_NC.mean(dim=0)
    return int(torch.linalg.matrix_rank(centred, rtol=1e-4))


@torch.no_grad()
def test_together_the_levels_span_more_than_one_code_does() -> None:
    torch.manual_seed(0)
    h = torch.randn(256, 12)
    shared, own = RVQ(12, levels=4, codes=32, dim=2), FactorisedRVQ(12, levels=4, codes=32, dim=2)
    shared(h), own(h)
    assert rank_of(shared.eval()(h).z) == 2
    assert rank_of(own.eval()(h).z) == 8


def test_the_gradient_to_the_encoder_does_not_grow_with_the_levels() -> None:
    """J = I − Π(I − W_out·W_in) tends to I for contracting levels, however many there are."""
    norms = []
    for levels in (1, 4, 16):
        torch.manual_seed(0)
        quantizer = FactorisedRVQ(6, levels=levels, codes=8, dim=6, dropout=0.0)
        with torch.no_grad():
            for level in quantizer.levels:
                level.in_projection.weight.copy_(0.9 * torch.eye(6))
                level.out_projection.weight.copy_(torch.eye(6))
        h = torch.randn(32, 6, requires_grad=True)
        quantizer(h).z.sum().backward()
        assert h.grad is not None
        norms.append(h.grad.mean().item())
    expected = [1 - 0.1**levels for levels in (1, 4, 16)]
    assert norms == pytest.approx(expected, abs=1e-5)


@torch.no_grad()
def test_fewer_levels_are_a_prefix_and_dropped_ones_are_marked() -> None:
    torch.manual_seed(0)
    quantizer = FactorisedRVQ(8, levels=5, codes=16, dim=3, dropout=1.0)
    h = torch.randn(64, 8, 4)
    quantizer(h)
    codes = quantizer(h).latent.codes
    assert codes is not None
    used = (codes >= 0).sum(-1)
    assert used.min() >= 1
    assert used.unique().numel() > 1
    # What is dropped is the tail of every row, the same number for a whole sample.
    assert torch.equal(codes >= 0, torch.arange(5) < used[..., None])
    assert torch.equal(used, used[:, :1].expand_as(used))
    quantizer.eval()
    torch.testing.assert_close(
        quantizer(h, levels=2).z, quantizer.decode_codes(quantizer(h).latent.codes[..., :2])
    )


def test_more_code_dimensions_than_channels_are_refused() -> None:
    with pytest.raises(RecipeError, match="FactorisedRVQ"):
        FactorisedRVQ(4, dim=8)
