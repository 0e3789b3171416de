"""A frozen residual quantiser codes as the live one did when it was frozen."""

from __future__ import annotations

import pytest
import torch

from pellucid.bottlenecks import RVQ
from pellucid.bottlenecks.frozen_rvq import FrozenRVQ
from pellucid.errors import PellucidError
from pellucid.functional.nearest_code import CodeTable, nearest_code

FORMS = [{}, {"dim": 4}, {"dim": 4, "cosine": True}]


def quantiser(**form) -> RVQ:
    torch.manual_seed(0)
    return RVQ(8, levels=3, codes=32, init="normal", **form).eval()


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("levels", [None, 1, 2])
@pytest.mark.parametrize("positions", [1, 300])
def test_codes_and_vectors_are_the_live_ones(form: dict, levels: int | None, positions: int):
    rvq = quantiser(**form)
    h = torch.randn(1, 8, positions)
    codes = FrozenRVQ(rvq).encode(h[0].T, levels)
    assert torch.equal(codes, rvq.encode_codes(h, levels=levels)[0])
    with torch.no_grad():
        expected = rvq.decode_codes(codes[None])[0].T
    torch.testing.assert_close(FrozenRVQ(rvq).decode(codes), expected)


def test_a_level_that_was_not_sent_adds_nothing():
    rvq = quantiser(dim=4)
    codes = torch.tensor([[3, 5, -1], [3, -1, -1], [-1, -1, -1]])
    with torch.no_grad():
        expected = rvq.decode_codes(codes[None])[0].T
    torch.testing.assert_close(FrozenRVQ(rvq).decode(codes), expected)


def test_what_is_learned_later_is_not_seen_and_a_new_one_sees_it():
    rvq = quantiser()
    h = torch.randn(1, 8, 200)
    frozen, before = FrozenRVQ(rvq), rvq.encode_codes(h)[0]
    for _ in range(3):
        rvq.train()(3 * torch.randn(4, 8, 50))
    after = rvq.eval().encode_codes(h)[0]
    assert not torch.equal(before, after)
    assert torch.equal(frozen.encode(h[0].T), before)
    assert torch.equal(FrozenRVQ(rvq).encode(h[0].T), after)


@pytest.mark.parametrize("cosine", [False, True])
def test_a_prepared_search_is_the_search(cosine: bool):
    z, vectors = torch.randn(9000, 6) + 20, torch.randn(500, 6) + 20  # several chunks of scores
    table = CodeTable.of(vectors, cosine=cosine)
    whole = table.search(z)
    assert torch.equal(whole, nearest_code(z, vectors, cosine=cosine))
    one_by_one = torch.cat([table.search(row) for row in z[:200].split(1)])
    assert (one_by_one == whole[:200]).float().mean() > 0.99  # sums may round otherwise
    assert table.search(z[:0]).shape == (0,)


def test_bad_codes_and_levels_are_refused():
    frozen = FrozenRVQ(quantiser())
    with pytest.raises(PellucidError, match="out of range"):
        frozen.decode(torch.full((2, 3), 32))
    with pytest.raises(PellucidError, match="do not exist"):
        frozen.decode(torch.zeros(2, 4, dtype=torch.int64))
    with pytest.raises(PellucidError, match="do not exist"):
        frozen.encode(torch.zeros(2, 8), 4)
