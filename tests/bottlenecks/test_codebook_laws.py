"""Laws of VQ, residual VQ and FSQ: search, k-means, restart, gradients, levels, penalties."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pellucid.bottlenecks import FSQ, RVQ, VQ
from pellucid.bottlenecks.codebook import Codebook
from pellucid.errors import PellucidError, RecipeError
from pellucid.functional.code_statistics import (
    code_sums,
    orthogonality,
    perplexity,
    usage,
    usage_entropy_gap,
)
from pellucid.functional.finite_scalar import from_codes, to_codes
from pellucid.functional.kmeans import kmeans, spread_rows
from pellucid.functional.nearest_code import nearest_code
from pellucid.functional.straight_through import through


def mixture(n: int, d: int = 8, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    centres = 2 * torch.randn(40, d, generator=torch.Generator().manual_seed(99))
    which = torch.randint(0, 40, (n,), generator=generator)
    return centres[which] + 0.3 * torch.randn(n, d, generator=generator)


# ---- search


@pytest.mark.parametrize("offset", [0.0, 300.0])
@pytest.mark.parametrize("n", [1, 700, 5000])
def test_search_equals_the_slow_float64_distance(n, offset) -> None:
    z, vectors = mixture(n) + offset, mixture(600, seed=1) + offset
    slow = torch.cdist(z.double(), vectors.double()).argmin(dim=1)
    assert (nearest_code(z, vectors) == slow).float().mean() >= 0.999


def test_cosine_search_equals_the_slow_float64_cosine() -> None:
    z, vectors = mixture(3000), mixture(600, seed=1)
    slow = (F.normalize(z.double(), dim=1) @ F.normalize(vectors.double(), dim=1).t()).argmax(1)
    assert (nearest_code(z, vectors, cosine=True) == slow).float().mean() >= 0.999


def test_a_code_finds_itself() -> None:
    vectors = mixture(300)
    assert torch.equal(nearest_code(vectors, vectors), torch.arange(300))


# ---- statistics


def test_sums_equal_the_one_hot_product() -> None:
    z, codes = mixture(500), torch.randint(0, 20, (500,))
    one_hot = F.one_hot(codes, 20).float()
    sums = code_sums(z, codes, 20)
    torch.testing.assert_close(sums.sums, one_hot.t() @ z, rtol=1e-5, atol=1e-5)
    assert torch.equal(sums.counts, one_hot.sum(0))


def test_perplexity_and_usage_of_known_counts() -> None:
    assert perplexity(torch.tensor([3.0, 3, 3, 0])).item() == pytest.approx(3)
    assert usage(torch.tensor([3.0, 3, 3, 0])).item() == 0.75
    assert perplexity(torch.tensor([5.0, 0])).item() == 1


@given(n=st.integers(1, 10**6), k=st.integers(1, 500), step=st.integers(0, 10**6))
def test_spread_rows_are_rows(n, k, step) -> None:
    rows = spread_rows(n, k, step, torch.device("cpu"))
    assert rows.min() >= 0
    assert rows.max() < n
    if n >= 3 * k:
        assert len(rows.unique()) == k


# ---- k-means


def test_kmeans_never_does_worse_when_the_codebook_grows() -> None:
    z = mixture(3000)
    errors = []
    for k in (1, 2, 4, 8, 16, 32, 64, 128):
        vectors = kmeans(z, k).vectors
        errors.append((z - vectors[nearest_code(z, vectors)]).square().mean().item())
    assert errors == sorted(errors, reverse=True)
    assert errors[0] == pytest.approx(z.var(dim=0, correction=0).mean().item(), rel=1e-4)


def test_kmeans_iterations_never_raise_the_error() -> None:
    z = mixture(3000)
    errors = []
    for iterations in (1, 2, 4, 8, 16):
        vectors = kmeans(z, 40, iterations=iterations).vectors
        errors.append((z - vectors[nearest_code(z, vectors)]).square().mean().item())
    assert errors == sorted(errors, reverse=True)


def test_kmeans_start_uses_every_code_and_then_stays() -> None:
    torch.manual_seed(0)
    vq = VQ(8, codes=64, restart_threshold=0.0)
    assert not vq.codebook.initialised
    first = vq(mixture(2000)).metrics
    assert vq.codebook.initialised
    assert first["usage"] > 0.95
    assert first["quantisation_error_ratio"] < 0.1
    started = vq.codebook.vectors.clone()
    vq(mixture(2000, seed=1))
    assert (vq.codebook.vectors - started).norm() < 0.02 * started.norm()


def test_a_batch_smaller_than_the_codebook_still_starts() -> None:
    vq = VQ(8, codes=64)
    output = vq(mixture(10))
    assert output.z.isfinite().all()
    vq.eval()
    assert vq(mixture(10)).metrics["quantisation_error_ratio"] < 1e-3


# ---- restart


@pytest.mark.parametrize("update", ["ema", "gradient"])
def test_restart_moves_dead_codes_with_their_ema_state(update) -> None:
    torch.manual_seed(0)
    vq = VQ(8, codes=32, init="normal", update=update, decay=0.9)
    with torch.no_grad():
        vq.codebook.vectors[1:] += 1e3  # only code 0 can be reached
    vq.codebook.ema_sums.copy_(vq.codebook.vectors) if update == "ema" else None
    z = mixture(512)
    for _ in range(40):
        metrics = vq(z).metrics
    assert metrics["usage"] > 0.9
    assert vq.codebook.vectors.abs().max() < 100
    if update == "ema":
        ratio = vq.codebook.ema_sums / vq.codebook.ema_counts[:, None]
        torch.testing.assert_close(ratio, vq.codebook.vectors, rtol=1e-3, atol=1e-3)


def test_a_moved_code_is_not_pulled_by_what_chose_its_old_place() -> None:
    codebook = Codebook(16, 8, update="gradient", init="normal")
    codebook.vectors.data[0] = 50.0  # one far vector chooses it, and it dies all the same
    codebook.ema_counts.fill_(50.0)[0] = 0.0
    z = mixture(400)
    z[0] = 49.0
    old = codebook.vectors.detach().clone()
    codes = codebook.search(z)
    assert (codes == 0).sum() == 1
    sums = codebook.observe(z, codes)
    moved = (codebook.vectors.detach() != old).any(dim=1)
    assert moved[0]
    assert not moved.all()
    (gradient,) = torch.autograd.grad(codebook.loss(sums, torch.tensor(1.0)), codebook.vectors)
    torch.testing.assert_close(gradient[moved], torch.zeros(int(moved.sum()), 8))
    alive = ~moved & (sums.counts > 0)
    assert (gradient[alive].norm(dim=1) > 0).all()


def test_restart_threshold_zero_leaves_dead_codes() -> None:
    vq = VQ(8, codes=32, init="normal", restart_threshold=0.0, decay=0.5)
    vq.codebook.vectors[1:] += 1e3
    vq.codebook.ema_sums.copy_(vq.codebook.vectors)
    for _ in range(20):
        metrics = vq(mixture(512)).metrics
    assert metrics["usage"] == 1 / 32


# ---- gradients


def test_codes_pass_forward_exactly() -> None:
    z, q = torch.randn(50, 4, requires_grad=True), torch.randn(50, 4)
    assert torch.equal(through(z, q), q)


def test_rotation_matches_the_explicit_matrix() -> None:
    z, q, gradient = torch.randn(3, 1, 5).unbind(0)
    z_hat, q_hat = F.normalize(z, dim=1), F.normalize(q, dim=1)
    w = F.normalize(z_hat + q_hat, dim=1)
    rotation = torch.eye(5) - 2 * w.t() @ w + 2 * q_hat.t() @ z_hat
    torch.testing.assert_close(z_hat @ rotation.t(), q_hat)
    zz = z.clone().requires_grad_()
    through(zz, q, "rotation").backward(gradient)
    torch.testing.assert_close(zz.grad, gradient @ rotation * q.norm() / z.norm())


@pytest.mark.parametrize("levels", [1, 8])
def test_encoder_gradient_through_rvq_is_once_whatever_the_levels(levels) -> None:
    torch.manual_seed(0)
    rvq = RVQ(8, levels=levels, codes=32)
    h = mixture(512).requires_grad_()
    gradient = torch.randn(512, 8)
    rvq(h).z.backward(gradient)
    assert torch.equal(h.grad, gradient)


def test_no_codebook_has_two_owners() -> None:
    ema, gradient = RVQ(8, levels=2, codes=16), RVQ(8, levels=2, codes=16, update="gradient")
    assert list(ema.parameters()) == []
    assert [n for n, _ in gradient.named_parameters()] == [
        "codebooks.0.vectors",
        "codebooks.1.vectors",
    ]
    before = gradient(mixture(500)).latent  # k-means start
    vectors = gradient.codebooks[0].vectors.detach().clone()
    gradient(mixture(500, seed=1))
    assert before.codes is not None
    assert torch.equal(gradient.codebooks[0].vectors, vectors)


def slow_rvq_losses(rvq: RVQ, z: Tensor) -> tuple[Tensor, Tensor]:
    """Commitment and codebook loss, written out level by level with autograd."""
    left, commitment, codebook = z, 0.0, 0.0
    for book in rvq.codebooks:
        table = book.table()
        chosen = table[torch.cdist(left.detach(), table.detach()).argmin(dim=1)]
        commitment = commitment + (left - chosen.detach()).square().mean()
        codebook = codebook + (left.detach() - chosen).square().mean()
        left = left - chosen.detach()
    return commitment / rvq.levels, codebook / rvq.levels


def test_closed_form_penalties_equal_autograd_written_out() -> None:
    torch.manual_seed(0)
    rvq = RVQ(8, levels=3, codes=32, update="gradient", restart_threshold=0.0)
    rvq(mixture(600))
    z = mixture(600, seed=1).requires_grad_()
    output = rvq(z)
    fast = (output.penalties["commitment"].value, output.penalties["codebook"].value)
    slow = slow_rvq_losses(rvq, z)
    books = [book.vectors for book in rvq.codebooks]
    for a, b, of in ((fast[0], slow[0], [z]), (fast[1], slow[1], books)):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
        for x, y in zip(torch.autograd.grad(a, of), torch.autograd.grad(b, of), strict=True):
            torch.testing.assert_close(x, y, rtol=1e-3, atol=1e-7)
    codebook_reach = torch.autograd.grad(rvq(z).penalties["codebook"].value, z, allow_unused=True)
    assert codebook_reach == (None,)


@pytest.mark.parametrize("build", [VQ, lambda c, **k: RVQ(c, levels=2, **k)])
def test_training_the_codebook_by_gradient_lowers_the_error(build) -> None:
    torch.manual_seed(0)
    vq = build(8, codes=32, update="gradient", init="normal")
    optimiser = torch.optim.Adam(vq.parameters(), lr=3e-2)
    errors = []
    for step in range(60):
        output = vq(mixture(400, seed=step))
        optimiser.zero_grad()
        output.penalties["codebook"].value.backward()
        optimiser.step()
        errors.append(output.metrics["quantisation_error_ratio"].item())
    assert errors[-1] < 0.5 * errors[0]


# ---- levels


def test_rvq_error_falls_with_every_level_and_decodes_at_every_rate() -> None:
    torch.manual_seed(0)
    rvq = RVQ(8, levels=5, codes=32)
    for seed in range(5):
        rvq(mixture(2000, seed=seed))
    rvq.eval()
    z = mixture(2000, seed=50)
    codes = rvq(z).latent.codes
    errors = [(rvq.decode_codes(codes[:, :n]) - z).square().mean().item() for n in range(1, 6)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.5 * errors[0]
    for n in range(1, 6):
        output = rvq(z, levels=n)
        assert torch.equal(output.latent.codes, codes[:, :n])
        torch.testing.assert_close(rvq.decode_codes(codes[:, :n]), output.z)


def test_quantiser_dropout_drops_whole_samples_and_says_so_in_the_codes() -> None:
    torch.manual_seed(0)
    rvq = RVQ(8, levels=4, codes=16, dropout=1.0, decay=0.999999, restart_threshold=0.0)
    h = mixture(64 * 6).reshape(64, 6, 8).movedim(-1, 1)
    rvq(h)
    output = rvq(h)
    sent = output.latent.codes >= 0
    per_sample = sent.sum(-1)
    assert (per_sample == per_sample[:, :1]).all()  # one draw per sample
    assert set(per_sample[:, 0].tolist()) == {1, 2, 3, 4}
    assert (sent.int().diff(dim=-1) <= 0).all()  # the first n levels
    torch.testing.assert_close(rvq.decode_codes(output.latent.codes), output.z, rtol=0, atol=1e-4)
    rvq.eval()
    assert (rvq(h).latent.codes >= 0).all()


@pytest.mark.parametrize("levels", [0, 4])
def test_levels_that_do_not_exist_raise(levels) -> None:
    rvq = RVQ(8, levels=3, codes=16)
    with pytest.raises(PellucidError, match="1 … 3"):
        rvq(mixture(5), levels=levels)
    with pytest.raises(PellucidError, match="1 … 3"):
        rvq.decode_codes(torch.zeros(2, levels, dtype=torch.int64))


# ---- penalties


def test_orthogonality_is_a_mean_over_pairs_whatever_the_size() -> None:
    assert orthogonality(torch.eye(6)).item() == pytest.approx(0, abs=1e-6)
    assert orthogonality(torch.ones(6, 3)).item() == pytest.approx(1)
    vectors = torch.randn(50, 7)
    cosines = F.normalize(vectors, dim=1) @ F.normalize(vectors, dim=1).t()
    slow = cosines[~torch.eye(50, dtype=torch.bool)].square().mean()
    torch.testing.assert_close(orthogonality(vectors), slow)


def test_usage_entropy_gap_is_zero_when_all_codes_serve_and_pushes_towards_it() -> None:
    vectors = 3 * torch.eye(4)
    assert usage_entropy_gap(vectors + 0.01, vectors).item() == pytest.approx(0, abs=1e-4)
    collapsed = (vectors[:1] + 0.3 * torch.randn(64, 4)).requires_grad_()
    before = usage_entropy_gap(collapsed, vectors)
    assert 0.5 < before.item() <= 1
    (gradient,) = torch.autograd.grad(before, collapsed)
    assert usage_entropy_gap(collapsed - 0.5 * gradient / gradient.abs().max(), vectors) < before


def test_weight_zero_observes_and_none_leaves_out() -> None:
    vq = VQ(8, codes=16, orthogonality=0.0, usage_entropy=0.0, commitment=0.0)
    penalties = vq(mixture(100)).penalties
    assert set(penalties) == {"commitment", "orthogonality", "usage_entropy"}
    assert all(p.weight == 0 and p.value > 0 for p in penalties.values())
    assert set(VQ(8, codes=16)(mixture(100)).penalties) == {"commitment"}


# ---- cosine, FSQ


def test_cosine_latents_and_codes_live_on_the_sphere() -> None:
    vq = VQ(8, codes=16, cosine=True)
    for seed in range(3):
        output = vq(7 * mixture(300, seed=seed))
    for tensor in (output.latent.mean, output.latent.quantized, vq.codebook.vectors):
        torch.testing.assert_close(tensor.norm(dim=1), torch.ones(len(tensor)))


@settings(max_examples=30)
@given(st.lists(st.integers(3, 9), min_size=1, max_size=5))
def test_fsq_codes_and_digits_are_inverse_over_the_whole_grid(levels) -> None:
    grid = torch.tensor(levels)
    codes = torch.arange(min(math.prod(levels), 3000))
    digits = from_codes(codes, grid)
    assert torch.equal(to_codes(digits, grid), codes)
    assert (digits >= -(grid // 2)).all()
    assert (digits <= (grid - 1) // 2).all()


def test_fsq_reaches_every_grid_point_and_no_other() -> None:
    fsq = FSQ(2, levels=(4, 5))
    ramp = torch.linspace(-6, 6, 200)
    output = fsq(torch.cartesian_prod(ramp, ramp))
    assert output.metrics["usage"] == 1
    assert output.latent.codes.max() == 19
    assert set(output.z[:, 0].tolist()) == {-1.0, -0.5, 0.0, 0.5}
    assert torch.equal(fsq(torch.zeros(1, 2)).z, torch.zeros(1, 2))


# ---- bad input


@pytest.mark.parametrize(
    ("build", "where"),
    [
        (lambda: VQ(8, codes=1), "codes"),
        (lambda: VQ(8, decay=1.0), "decay"),
        (lambda: VQ(8, init="random"), "init"),  # type: ignore[arg-type]
        (lambda: VQ(8, update="both"), "update"),  # type: ignore[arg-type]
        (lambda: VQ(8, estimator="rotate"), "did you mean 'rotation'"),  # type: ignore[arg-type]
        (lambda: VQ(8, orthogonality=1.0), "no gradient moves an EMA codebook"),
        (lambda: VQ(8, restart_threshold=-1.0), "restart_threshold"),
        (lambda: RVQ(8, levels=0), "levels"),
        (lambda: RVQ(8, dropout=1.5), "dropout"),
        (lambda: FSQ(8, levels=(8, 2)), "levels"),
        (lambda: FSQ(8, levels=()), "levels"),
    ],
)
def test_bad_arguments_name_themselves(build, where) -> None:
    with pytest.raises(RecipeError, match=where):
        build()


def test_the_error_of_a_training_batch_holds_for_others() -> None:
    """A restarted code may not code the vector it was moved onto: no other batch holds it."""
    torch.manual_seed(0)
    rvq = RVQ(32, levels=8, codes=128, decay=0.95)
    for _ in range(60):  # 50 vectors a batch for 128 codes
        error = rvq(torch.randn(1, 32, 50)).metrics["quantisation_error_ratio"]
    rvq.eval()
    held_out = rvq(torch.randn(1, 32, 4096)).metrics["quantisation_error_ratio"]
    assert error == pytest.approx(float(held_out), rel=0.2)
