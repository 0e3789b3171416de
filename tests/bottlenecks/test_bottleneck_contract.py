"""One suite of laws over every bottleneck; a new member without a case fails."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pellucid.bottlenecks import (
    BOTTLENECKS,
    BSQ,
    FSQ,
    LFQ,
    RVQ,
    VQ,
    Bottleneck,
    FactorisedRVQ,
    Gaussian,
    Identity,
    SimVQ,
)
from pellucid.errors import PellucidError

CHANNELS = 8


@dataclasses.dataclass(frozen=True)
class Case:
    """One way to build a member; `codes` counts a position's codes, 0 for continuous latents."""

    member: str
    build: Callable[[], Bottleneck]
    codes: int = 0
    levels: int | None = None
    id: str = ""


CASES = [
    Case("identity", lambda: Identity(CHANNELS)),
    Case("gaussian", lambda: Gaussian(CHANNELS, 4)),
    Case(
        "gaussian",
        lambda: Gaussian(CHANNELS, 4, free_nats=0.1, capacity=9.0, anneal_steps=9, cycles=3),
        id="scheduled",
    ),
    Case("vq", lambda: VQ(CHANNELS, codes=16), 16),
    Case("vq", lambda: VQ(CHANNELS, codes=16, dim=3, cosine=True), 16, id="cosine"),
    Case("vq", lambda: VQ(CHANNELS, codes=16, estimator="rotation"), 16, id="rotation"),
    Case(
        "vq",
        lambda: VQ(
            CHANNELS,
            codes=16,
            dim=3,
            update="gradient",
            cosine=True,
            estimator="rotation",
            orthogonality=0.1,
            usage_entropy=0.1,
        ),
        16,
        id="gradient",
    ),
    Case("rvq", lambda: RVQ(CHANNELS, levels=2, codes=16), 16, 2),
    Case("rvq", lambda: RVQ(CHANNELS, levels=2, codes=16, dim=4, dropout=0.7), 16, 2, id="dropout"),
    Case(
        "rvq",
        lambda: RVQ(
            CHANNELS, levels=2, codes=16, cosine=True, update="gradient", usage_entropy=0.1
        ),
        16,
        2,
        id="gradient",
    ),
    Case("rvq", lambda: RVQ(CHANNELS, levels=2, codes=16, estimator="rotation"), 16, 2, id="rot"),
    Case(
        "factorised-rvq",
        # More iterations would leave the codes at the very means of the first batch.
        lambda: FactorisedRVQ(CHANNELS, levels=3, codes=16, dim=2, kmeans_iterations=1),
        16,
        3,
    ),
    Case(
        "factorised-rvq",
        lambda: FactorisedRVQ(CHANNELS, levels=2, codes=16, dim=3, update="ema", cosine=False),
        16,
        2,
        id="ema",
    ),
    Case("fsq", lambda: FSQ(CHANNELS, levels=(8, 5, 3)), 120),
    Case("fsq", lambda: FSQ(CHANNELS, levels=(3,) * CHANNELS), 3**CHANNELS, id="unprojected"),
    Case("lfq", lambda: LFQ(CHANNELS, bits=5), 32),
    Case("lfq", lambda: LFQ(CHANNELS, bits=CHANNELS), 2**CHANNELS, id="unprojected"),
    Case("bsq", lambda: BSQ(CHANNELS, bits=5), 32),
    Case("bsq", lambda: BSQ(CHANNELS, bits=CHANNELS), 2**CHANNELS, id="unprojected"),
    Case("simvq", lambda: SimVQ(CHANNELS, codes=16), 16),
    Case("simvq", lambda: SimVQ(CHANNELS, codes=16, dim=3, estimator="rotation"), 16, id="rot"),
]
every_case = pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c.member}-{c.id}".strip("-"))
coded_case = pytest.mark.parametrize(
    "case", [c for c in CASES if c.codes], ids=lambda c: f"{c.member}-{c.id}".strip("-")
)


def features(*positions: int, batch: int = 4, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, CHANNELS, *positions, generator=generator)


def trained(case: Case) -> Bottleneck:
    """A member that has learnt from three batches, in train mode."""
    torch.manual_seed(0)
    bottleneck = case.build()
    for seed in range(3):
        bottleneck(features(5, 3, seed=seed))
    return bottleneck


def test_every_member_has_a_case() -> None:
    assert {case.member for case in CASES} == set(BOTTLENECKS)
    for case in CASES:
        assert type(case.build()) is BOTTLENECKS[case.member]


@every_case
@pytest.mark.parametrize("positions", [(), (6,), (5, 3), (2, 3, 2)])
@pytest.mark.parametrize("training", [True, False])
def test_shapes_finiteness_and_declared_attributes(case, positions, training) -> None:
    bottleneck = trained(case).train(training)
    h = features(*positions)
    output = bottleneck(h)
    expected = (4, bottleneck.out_channels, *positions)
    assert output.z.shape == output.latent.mean.shape == expected
    assert output.z.dtype == h.dtype
    numbers = [output.z, output.latent.mean, *output.metrics.values()]
    numbers += [penalty.value for penalty in output.penalties.values()]
    assert all(number.isfinite().all() for number in numbers)
    assert not any(metric.requires_grad for metric in output.metrics.values())
    assert all(penalty.value.shape == () for penalty in output.penalties.values())
    if case.codes:
        levels = () if case.levels is None else (case.levels,)
        assert output.latent.codes is not None
        assert output.latent.codes.shape == (4, *positions, *levels)
        assert bottleneck.bits_per_position == pytest.approx(
            math.log2(case.codes) * (case.levels or 1)
        )
        assert bottleneck.codebook_size == case.codes
        assert bottleneck.residual_levels == case.levels
    else:
        assert output.latent.codes is None
        assert bottleneck.bits_per_position is bottleneck.codebook_size is None


@every_case
def test_every_parameter_and_the_encoder_get_a_gradient(case) -> None:
    bottleneck = trained(case)
    h = features(5, 3).requires_grad_()
    output = bottleneck(h)
    target = torch.randn_like(output.z) + 1
    loss = (output.z - target).square().mean()
    for penalty in output.penalties.values():
        loss = loss + penalty.value * max(penalty.weight, 1e-3)
    loss.backward()
    assert h.grad is not None
    assert h.grad.abs().sum() > 0
    for name, parameter in bottleneck.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


@every_case
def test_measured_vector_jacobian_product_is_the_declared_one(case) -> None:
    bottleneck = trained(case)
    z = bottleneck.code_space(features(5, 3, seed=7)).detach().requires_grad_()
    out = bottleneck.through_code_space(z)
    gradient = torch.randn_like(out)
    # `+ 0` gives the identity an edge to differentiate.
    (measured,) = torch.autograd.grad(out + 0, z, gradient)
    torch.testing.assert_close(measured, bottleneck.declared_vjp(z.detach(), gradient))


@every_case
def test_forward_agrees_with_its_own_code_space(case) -> None:
    bottleneck = trained(case).eval()
    h = features(5, 3, seed=7)
    z = bottleneck.through_code_space(bottleneck.code_space(h))
    out_projection = getattr(bottleneck, "out_projection", torch.nn.Identity())
    decoded = out_projection(z.movedim(1, -1)).movedim(-1, 1)
    torch.testing.assert_close(decoded, bottleneck(h).z)


@every_case
def test_save_and_load_give_equal_outputs_and_learning(case, tmp_path) -> None:
    bottleneck = trained(case)
    save_file(bottleneck.state_dict(), tmp_path / "b.safetensors")
    torch.manual_seed(1)
    twin = case.build()
    twin.load_state_dict(load_file(tmp_path / "b.safetensors"))
    for step in range(3):  # learning goes on identically: no second k-means, same restarts
        h = features(5, 3, seed=10 + step)
        torch.manual_seed(step)
        ours = bottleneck(h).z
        torch.manual_seed(step)
        assert torch.equal(twin(h).z, ours)
    for name, value in bottleneck.state_dict().items():
        assert torch.equal(twin.state_dict()[name], value), name


@every_case
def test_eager_equals_compiled(case) -> None:
    torch._dynamo.reset()
    eager = trained(case)
    twin = copy.deepcopy(eager)
    compiled = torch.compile(twin, backend="aot_eager", fullgraph=True)
    for step in range(3):
        h = features(5, 3, seed=20 + step)
        torch.manual_seed(step)
        a = eager(h)
        torch.manual_seed(step)
        b = compiled(h)
        torch.testing.assert_close(b.z, a.z)
        for name, penalty in a.penalties.items():
            torch.testing.assert_close(b.penalties[name].value, penalty.value)
    for name, value in eager.state_dict().items():
        torch.testing.assert_close(twin.state_dict()[name], value, msg=name)


@coded_case
def test_codes_are_the_same_under_autocast_and_reduced_matmul_precision(case) -> None:
    bottleneck = trained(case).eval()
    h = features(16, 16, seed=5)
    codes = bottleneck(h).latent.codes
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(bottleneck(h).latent.codes, codes)
    twin = copy.deepcopy(bottleneck)
    before = torch.get_float32_matmul_precision()
    rows = bottleneck.code_space(h)
    expected = bottleneck.through_code_space(rows)
    torch.set_float32_matmul_precision("medium")
    try:
        torch.testing.assert_close(twin.through_code_space(rows), expected)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


@coded_case
def test_decoding_the_codes_gives_what_the_decoder_received(case) -> None:
    bottleneck = trained(case).eval()
    output = bottleneck(features(5, 3, seed=9))
    codes = output.latent.codes
    assert codes is not None
    assert output.latent.quantized is not None
    assert codes.dtype == torch.int64
    assert 0 <= codes.min() <= codes.max() < case.codes
    torch.testing.assert_close(bottleneck.decode_codes(codes), output.z, rtol=1e-6, atol=1e-6)
    assert torch.equal(output.latent.quantized, output.z)


@coded_case
def test_bad_codes_raise(case) -> None:
    bottleneck = trained(case)
    shape = (2, 3) if case.levels is None else (2, 3, case.levels)
    with pytest.raises(PellucidError, match="out of range"):
        bottleneck.decode_codes(torch.full(shape, case.codes))
    with pytest.raises(PellucidError, match="out of range"):
        bottleneck.decode_codes(torch.full(shape, -2))
    with pytest.raises(PellucidError, match="integers"):
        bottleneck.decode_codes(torch.zeros(shape))


@every_case
def test_bad_features_raise(case) -> None:
    bottleneck = case.build()
    with pytest.raises(PellucidError, match="not built for"):
        bottleneck(torch.zeros(2, CHANNELS + 1, 3))
    with pytest.raises(PellucidError, match="not built for"):
        bottleneck(torch.zeros(2, CHANNELS, 3, dtype=torch.int64))


@pytest.mark.parametrize("build", [lambda: Identity(8), lambda: Gaussian(8, 4)])
def test_continuous_latents_refuse_codes(build) -> None:
    with pytest.raises(PellucidError, match="no codes"):
        build().decode_codes(torch.zeros(2, 3, dtype=torch.int64))
