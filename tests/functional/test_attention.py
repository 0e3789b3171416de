"""Both ways of attention are one: values and gradients, masked, biased and causal."""

import pytest
import torch
import torch.nn.functional as F

from pellucid.functional import attention
from pellucid.functional.attention import attend


def inputs(n=9, m=9, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(3, 2, count, 8, generator=generator, dtype=dtype).requires_grad_()
        for count in (n, m, m)
    ]


def bias(m=9):
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(3, 2, 9, m, generator=generator, dtype=torch.float64)
    values[0, :, :, -3:] = float("-inf")
    return values


@pytest.mark.parametrize("kind", ["plain", "bias", "padding", "causal", "across"])
def test_written_out_equals_the_kernel_in_values_and_gradients(kind):
    q, k, v = inputs(m=5 if kind == "across" else 9)
    mask = {"bias": bias(), "padding": bias()[:, :1, :1]}.get(kind)
    causal = kind == "causal"
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
    found = attention._written_out(q, k, v, mask, causal=causal)
    torch.testing.assert_close(found, expected)
    weights = torch.randn(expected.shape, dtype=torch.float64)
    ours = torch.autograd.grad((found * weights).sum(), (q, k, v))
    theirs = torch.autograd.grad((expected * weights).sum(), (q, k, v))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize(("length", "written"), [(16, True), (200, False)])
def test_short_sequences_are_written_out_where_they_are_learnt_from_in_bf16(
    monkeypatch, length, written
):
    calls = []
    monkeypatch.setattr(
        attention, "_written_out", lambda q, k, v, bias, causal: calls.append(1) or q
    )
    q, k, v = inputs(length, length, torch.bfloat16)
    attend(q, k, v)
    assert bool(calls) == written
    calls.clear()
    with torch.no_grad():
        attend(q, k, v)
    attend(*inputs(length, length, torch.float32))
    assert not calls


def test_bf16_stays_bf16_under_autocast():
    q, k, v = inputs(dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = attend(q, k, v, causal=True)
    assert out.dtype == torch.bfloat16
    exact = F.scaled_dot_product_attention(q.float(), k.float(), v.float(), is_causal=True)
    torch.testing.assert_close(out.float(), exact, atol=0.03, rtol=0.03)
