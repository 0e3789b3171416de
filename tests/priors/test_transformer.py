"""The transformer and its decoding: causality, the cache against none, conditions, drawing."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from pellucid.errors import DataError, RecipeError
from pellucid.priors.cache import BLOCK
from pellucid.priors.decoding import PackedTransformer, Stepper
from pellucid.priors.layout import Layout
from pellucid.priors.packed import PackedLinear
from pellucid.priors.sampling import Drawing, choose, filtered, sample, uniforms
from pellucid.priors.transformer import CodeTransformer

LAYOUTS = [
    Layout(11, (3, 4)),
    Layout(7, (9,)),
    Layout(5, (2, 3), levels=3),
    Layout(5, (BLOCK + 3,), levels=2),  # more than two blocks of the cache
]


def small(layout: Layout, **keywords) -> CodeTransformer:
    torch.manual_seed(0)
    model = CodeTransformer(layout, width=16, layers=2, heads=2, **keywords).eval()
    for parameter in model.parameters():  # nothing may hide behind the small start
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def stepwise(model, sequence_BS, condition_BD, dtype=torch.float32):
    stepper = Stepper(PackedTransformer(model, rows=len(sequence_BS), dtype=dtype), condition_BD)
    logits = [stepper.step()]
    logits += [stepper.step(sequence_BS[:, s]) for s in range(sequence_BS.shape[1] - 1)]
    return torch.stack(logits, dim=1)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("tied", [False, True])
def test_logits_with_and_without_cache_are_equal(layout, tied):
    model = small(layout, tied=tied)
    sequence = torch.randint(layout.codes, (3, layout.length))
    condition = torch.randn(3, 16)
    with torch.no_grad():
        whole = model(sequence, condition)
    torch.testing.assert_close(stepwise(model, sequence, condition), whole, atol=1e-4, rtol=0)


def test_bf16_decoding_stays_near():
    model = small(LAYOUTS[0])
    sequence, condition = torch.randint(11, (2, 12)), torch.randn(2, 16)
    with torch.no_grad():
        whole = model(sequence, condition).log_softmax(-1)
    low = stepwise(model, sequence, condition, torch.bfloat16).log_softmax(-1)
    assert (low - whole).abs().mean() < 0.05


@pytest.mark.parametrize("layout", LAYOUTS[:3], ids=str)
def test_the_future_is_not_seen(layout):
    model = small(layout)
    sequence = torch.randint(layout.codes, (1, layout.length))
    for changed in (0, layout.length // 2, layout.length - 1):
        other = sequence.clone()
        other[0, changed] = (other[0, changed] + 1) % layout.codes
        with torch.no_grad():
            gap = (model(other) - model(sequence)).abs().amax(-1)[0]
        assert float(gap[: changed + 1].max()) == 0
        if changed + 1 < layout.length:
            assert float(gap[changed + 1]) > 0


def test_a_layout_goes_there_and_back_levels_innermost():
    layout = Layout(5, (2, 3), levels=2)
    codes = torch.randint(5, (4, 2, 3, 2))
    sequence = layout.to_sequence(codes)
    assert torch.equal(layout.to_codes(sequence), codes)
    assert torch.equal(sequence[:, 2:4], codes[:, 0, 1])  # both levels of the second position


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (torch.full((1, 2, 3), 5), "out of range"),
        (torch.full((1, 2, 3), -1), "out of range"),
        (torch.zeros(1, 2, 3), "integers"),
        (torch.zeros(1, 3, 2, dtype=torch.long), "another shape"),
    ],
)
def test_codes_of_another_tokenizer_are_refused(codes, message):
    with pytest.raises(DataError, match=message):
        Layout(5, (2, 3)).to_sequence(codes)


def test_conditions_change_the_answer_and_absence_is_one_vector():
    model = small(LAYOUTS[0], classes=3, text="bytes")
    labels = torch.tensor([0, 2])
    told = model.condition(count=2, labels=labels)
    assert not torch.allclose(told[0], told[1])
    nothing = torch.zeros(2, dtype=torch.bool)
    dropped = model.condition(count=2, labels=labels, keep_class=nothing)
    assert torch.equal(dropped, model.absent.expand(2, -1))
    with pytest.raises(DataError, match="without prompts"):
        small(LAYOUTS[0], classes=3).condition(count=1, text=torch.zeros(1, 4, dtype=torch.long))
    with pytest.raises(DataError, match="without classes"):
        small(LAYOUTS[0]).condition(count=1, labels=torch.tensor([0]))


def test_a_sample_does_not_depend_on_its_neighbours():
    model = small(LAYOUTS[0])
    conditions = torch.randn(5, 16)
    together = sample(model, conditions, [3, 1, 4, 1, 5], precision="float32")
    alone = sample(model, conditions, [3, 1, 4, 1, 5], batch_size=1, precision="float32")
    assert torch.equal(together, alone)
    assert tuple(together.shape) == (5, 3, 4)
    repeated = sample(model, conditions[:1].expand(2, -1), [7, 7], precision="float32")
    assert torch.equal(repeated[0], repeated[1])


def test_samples_follow_the_predicted_distribution():
    model = small(Layout(4, (1,)))
    condition = torch.randn(1, 16)
    codes = sample(model, condition.expand(4000, -1), range(4000), batch_size=4000)
    with torch.no_grad():
        expected = model(torch.zeros(1, 1, dtype=torch.long), condition)[0, 0].softmax(-1)
    found = torch.bincount(codes.flatten(), minlength=4) / 4000
    assert (found - expected).abs().max() < 4 * 0.5 / math.sqrt(4000)


def test_guidance_extrapolates_from_the_absent_condition():
    model = small(Layout(6, (1,)))
    condition = torch.randn(1, 16)
    with torch.no_grad():
        start = torch.zeros(1, 1, dtype=torch.long)
        told, absent = model(start, condition)[0, 0], model(start)[0, 0]
    likeliest = int((absent + 5.0 * (told - absent)).argmax())
    drawing = Drawing(temperature=0, guidance=5.0)
    assert int(sample(model, condition, [0], drawing=drawing, precision="float32")) == likeliest
    plain = sample(model, condition, [0], drawing=Drawing(temperature=0, guidance=0.0))
    assert int(plain) == int(absent.argmax())


def test_filters_keep_what_they_say():
    logits = torch.tensor([[0.5, 0.2, 0.15, 0.1, 0.05]]).log()
    assert filtered(logits, top_k=2, top_p=1.0).isfinite().sum() == 2
    assert filtered(logits, top_k=None, top_p=0.6).isfinite().tolist() == [
        [True, True, *[False] * 3]
    ]
    assert filtered(logits, top_k=None, top_p=1e-6).isfinite().sum() == 1
    kept = filtered(logits[:, [4, 0, 2, 1, 3]], top_k=3, top_p=0.99)
    assert kept.isfinite().tolist() == [[False, True, True, True, False]]


@pytest.mark.parametrize(
    ("top_k", "top_p"), [(1, 1.0), (7, 1.0), (None, 0.7), (20, 0.8), (99, 0.9)]
)
def test_filters_keep_the_likeliest_codes_and_no_more(top_k, top_p):
    logits = 2 * torch.randn(40, 60, generator=torch.Generator().manual_seed(0))
    kept = filtered(logits, top_k=top_k, top_p=top_p)
    for row, found in zip(logits, kept, strict=True):
        order = row.argsort(descending=True)[:top_k]
        p = row[order].softmax(0)
        slow = order[p.cumsum(0) - p < top_p]
        assert set(found.isfinite().nonzero().flatten().tolist()) == set(slow.tolist())
        assert torch.equal(found[slow], row[slow])


def test_equally_likely_codes_stay_or_go_together():
    logits = torch.tensor([[1.0, 0.0, 1.0, 1.0]])
    assert filtered(logits, top_k=2, top_p=1.0).isfinite().tolist() == [[True, False, True, True]]


def test_choosing_inverts_the_cumulative_distribution():
    logits = torch.tensor([[0.25, 0.5, 0.0, 0.25]]).log().expand(4, -1)
    noise = torch.tensor([0.01, 0.3, 0.7499, 0.999999])
    assert choose(logits, noise, Drawing()).tolist() == [0, 1, 1, 3]  # never the impossible code
    assert choose(logits, noise, Drawing(temperature=0)).tolist() == [1] * 4
    cold = choose(logits, noise, Drawing(temperature=0.01))
    assert cold.tolist() == [1] * 4


def test_noise_is_a_function_of_the_seed():
    assert torch.equal(uniforms([5, 9], 7)[1], uniforms([9], 7)[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("then", ["nothing", "gelu"])
def test_a_packed_layer_is_a_linear_layer(dtype, then, monkeypatch):
    layer = torch.nn.Linear(24, 40).to(dtype)
    x, residual = torch.randn(5, 24).to(dtype), torch.randn(5, 40).to(dtype)
    packed = PackedLinear.of(layer, dtype, rows=5, then=then)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    plain = PackedLinear.of(layer, dtype, rows=5, then=then)
    assert plain.packed is None
    with torch.no_grad():
        expected = layer(x) if then == "nothing" else F.gelu(layer(x))
        for one in (packed, plain):
            torch.testing.assert_close(one(x), expected, atol=2e-2, rtol=2e-2)
            if then == "nothing":
                added = one.added_to(residual, x)
                torch.testing.assert_close(added, residual + layer(x), atol=3e-2, rtol=2e-2)


def test_a_codebook_start_puts_like_codes_together():
    torch.manual_seed(0)
    model = CodeTransformer(Layout(6, (4,)), width=64, layers=1, heads=2)
    vectors = torch.randn(6, 3)
    vectors[1] = vectors[0]
    model.start_from([vectors * 50])
    rows = model.embed.weight[:-1]
    assert (rows[0] - rows[1]).norm() < (rows[0] - rows[2:]).norm(dim=1).min()
    with pytest.raises(DataError, match="other codes"):
        model.start_from([vectors[:5]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Drawing(temperature=-1), "temperature"),
        (lambda: Drawing(top_k=0), "top_k"),
        (lambda: Drawing(top_p=0), "top_p"),
        (lambda: Drawing(guidance=-1), "guidance"),
        (lambda: CodeTransformer(Layout(4, (2,)), width=10, heads=3), "heads that divide"),
        (lambda: CodeTransformer(Layout(4, (2,)), dropout=1.0), "dropout"),
    ],
)
def test_meaningless_settings_are_refused(call, message):
    with pytest.raises(RecipeError, match=message):
        call()


def test_a_layout_needs_positions():
    with pytest.raises(DataError, match="at least 1"):
        Layout(4, (0,))
    with pytest.raises(DataError, match="one or two axes"):
        Layout(4, (2, 2, 2))
