"""Code usage over a whole set: closed forms, levels, processes."""

import json
import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import multiprocessing

from pellucid.errors import PellucidError
from pellucid.metrics import CodeUsage


def test_even_use_is_full_perplexity():
    usage = CodeUsage(8)
    usage.update(torch.arange(8).repeat(25).reshape(10, 4, 5))
    result = usage.compute()
    assert result["code_usage"].value == 1
    assert result["code_perplexity"].value == pytest.approx(8)
    assert result["code_entropy"].value == pytest.approx(3)
    assert result["dead_codes"].value == 0
    assert result["code_usage"].n == 200


def test_one_code_is_a_collapse():
    usage = CodeUsage(512)
    usage.update(torch.full((4, 8, 8), 3))
    result = usage.compute()
    assert result["code_usage"].value == 1 / 512
    assert result["code_perplexity"].value == 1
    assert result["code_entropy"].value == 0
    assert result["dead_codes"].value == 511


def test_known_frequencies_give_their_entropy():
    usage = CodeUsage(4)
    usage.update(torch.tensor([0, 0, 1, 2])[None])
    assert usage.compute()["code_entropy"].value == pytest.approx(1.5)
    assert usage.per_level()[0]["counts"] == [2, 1, 1, 0]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 15), min_size=1, max_size=200), st.integers(1, 7))
def test_batches_do_not_matter(codes, parts):
    whole, pieces = CodeUsage(16), CodeUsage(16)
    whole.update(torch.tensor(codes)[None])
    for part in torch.tensor(codes).chunk(parts):
        pieces.update(part[None])
    assert torch.equal(whole.counts, pieces.counts)
    level = whole.per_level()[0]
    assert level["usage"] == len(set(codes)) / 16
    assert level["perplexity"] <= len(set(codes)) + 1e-6


def test_per_batch_perplexity_would_mislead():
    usage = CodeUsage(16)
    for code in range(16):
        usage.update(torch.full((1, 10), code))
    assert usage.compute()["code_perplexity"].value == pytest.approx(16)


def test_levels_are_counted_apart():
    usage = CodeUsage(4, levels=2)
    codes = torch.stack([torch.zeros(3, 8, dtype=torch.long), torch.arange(24).view(3, 8) % 4], -1)
    usage.update(codes)
    first, second = usage.per_level()
    assert first["counts"] == [24, 0, 0, 0]
    assert second["counts"] == [6, 6, 6, 6]
    result = usage.compute()
    assert result["code_usage"].value == (0.25 + 1) / 2
    assert result["code_entropy"].value == pytest.approx(2)  # bits of both levels together
    assert result["dead_codes"].value == 3
    assert "mean of 2 levels" in result["code_usage"].convention


def test_few_positions_are_said_to_be_few():
    usage = CodeUsage(512)
    usage.update(torch.arange(64)[None])
    assert "underestimates" in usage.compute()["code_usage"].convention


def test_merging_adds_counts():
    first, second = CodeUsage(4), CodeUsage(4)
    first.update(torch.tensor([[0, 1]]))
    second.update(torch.tensor([[1, 2]]))
    first.merge(second)
    assert first.counts.tolist() == [[1, 2, 1, 0]]
    with pytest.raises(PellucidError, match="different codebooks"):
        first.merge(CodeUsage(5))


def test_alone_there_is_nothing_to_reduce():
    usage = CodeUsage(4)
    usage.update(torch.tensor([[0, 1]]))
    usage.all_reduce()
    assert usage.counts.tolist() == [[1, 1, 0, 0]]


def _count_in_a_process(rank, folder):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    usage = CodeUsage(4)
    usage.update(torch.tensor([[rank, rank + 1]]))
    usage.all_reduce()
    (folder / f"{rank}.json").write_text(json.dumps(usage.counts.tolist()))
    torch.distributed.barrier()  # neither leaves while the other is still in its last exchange
    torch.distributed.destroy_process_group()
    os._exit(0)  # the counts are written; the teardown of PyTorch's threads is not what is tested


def test_two_processes_share_their_counts(tmp_path):
    multiprocessing.spawn(_count_in_a_process, (tmp_path,), nprocs=2)
    for rank in (0, 1):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == [[1, 2, 1, 0]]


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (torch.tensor([[0, 4]]), "out of range"),
        (torch.tensor([[-1, 2]]), "out of range"),
        (torch.tensor([[0.0]]), "integers"),
    ],
)
def test_bad_codes(codes, message):
    with pytest.raises(PellucidError, match=message):
        CodeUsage(4).update(codes)


def test_bad_levels_and_empty_counts():
    with pytest.raises(PellucidError, match="number of levels"):
        CodeUsage(4, levels=3).update(torch.zeros(2, 5, 2, dtype=torch.long))
    with pytest.raises(PellucidError, match="no code was counted"):
        CodeUsage(4).compute()
    with pytest.raises(PellucidError, match="≥ 1"):
        CodeUsage(0)
