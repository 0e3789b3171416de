"""A beam over residual codebooks: nearer sums, the same in every way of asking."""

import itertools

import pytest
import torch

from pellucid.bottlenecks import RVQ
from pellucid.bottlenecks.frozen_rvq import FrozenRVQ
from pellucid.errors import RecipeError


def learned(levels: int, codes: int, dim: int = 6, **changes) -> RVQ:
    torch.manual_seed(0)
    rvq = RVQ(dim, levels=levels, codes=codes, **changes)
    for _ in range(20):
        rvq(torch.randn(1, dim, 200))
    return rvq.eval()


def error(rvq: RVQ, h: torch.Tensor) -> float:
    return float((rvq(h).z - h).square().mean())


def test_a_wide_beam_finds_the_nearest_of_all_sums() -> None:
    rvq = learned(levels=3, codes=4, beam=16)
    h = torch.randn(1, 6, 50)
    books = [codebook.table() for codebook in rvq.first(None)]
    sums = torch.stack([sum(rows) for rows in itertools.product(*books)])  # type: ignore[arg-type]
    nearest = torch.cdist(h[0].T, sums).amin(1).square().sum() / h.numel()
    assert error(rvq, h) == pytest.approx(float(nearest), rel=1e-5)


def test_more_paths_never_lose_on_average() -> None:
    rvq, h = learned(levels=6, codes=16), torch.randn(1, 6, 2000)
    errors = []
    for beam in (1, 2, 8):
        rvq.beam = beam
        errors.append(error(rvq, h))
    assert errors[2] < errors[1] < errors[0]
    assert errors[2] < 0.9 * errors[0]


@pytest.mark.parametrize("beam", [1, 4])
def test_every_way_of_coding_gives_the_same_codes(beam: int) -> None:
    rvq, h = learned(levels=5, codes=16, beam=beam), torch.randn(2, 6, 40)
    codes = rvq(h).latent.codes
    assert codes is not None
    assert torch.equal(rvq.encode_codes(h), codes)
    rows = h.movedim(1, -1).flatten(0, 1)
    frozen = FrozenRVQ(rvq)
    assert torch.equal(frozen.encode(rows).view_as(codes), codes)
    assert torch.equal(frozen.encode(rows, 2).view(2, 40, 2), rvq(h, levels=2).latent.codes)
    torch.testing.assert_close(rvq.through_code_space(rvq.code_space(h)), rvq(h).z)


def test_training_searches_level_by_level() -> None:
    h = torch.randn(1, 6, 100)
    outputs = []
    for beam in (1, 4):
        rvq = learned(levels=4, codes=16, beam=beam).train()
        outputs.append(rvq(h).z)
    assert torch.equal(*outputs)


def test_directions_have_no_paths() -> None:
    with pytest.raises(RecipeError, match="beam"):
        RVQ(6, cosine=True, beam=4)
