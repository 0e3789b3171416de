"""One contract for every term: the same laws, whatever it measures."""

import dataclasses
import math

import pytest
import torch

from pellucid.errors import PellucidError
from pellucid.functional.value_range import ValueRange
from pellucid.objectives import (
    L1,
    L2,
    LPIPS,
    STFT,
    TERMS,
    ChannelNoise,
    Charbonnier,
    CompressedSTFT,
    Cosine,
    Edge,
    FocalFrequency,
    GaussianNLL,
    Huber,
    Intelligibility,
    LogMel,
    Loudness,
    MSSSIMLoss,
    Objective,
    Perceptual,
    Spectrum,
    SSIMLoss,
    Term,
    TimmFeatures,
    Weighted,
)


@dataclasses.dataclass(frozen=True)
class Case:
    """A member and what is true of it.

    Args:
        term: as a recipe would build it.
        differentiable: the same kind with arguments that make its gradient exact, where the
            plain one holds a part constant on purpose.
        any_shape: it measures (B, 1, T) as well as images.
        waves: it measures (B, 1, T) only.
        symmetric: x̂ and x may change places.
        degree: value at 2·error over value at error is 2^degree; None when not homogeneous.
        needed: keywords without which a recipe cannot build it here.
        exact: shape of the images its gradient is checked on.
    """

    term: Term
    differentiable: Term | None = None
    any_shape: bool = False
    waves: bool = False
    symmetric: bool = True
    degree: int | None = None
    needed: dict = dataclasses.field(default_factory=dict)
    exact: tuple[int, ...] = (1, 2, 12, 13)


SMALL_VGG = {"pretrained": False, "width": 4, "layers": 3}
SMALL_TIMM = {"name": "test_vit", "pretrained": False, "size": 32, "out": 1}
CASES = {
    "l1": Case(L1(), any_shape=True, degree=1),
    "l2": Case(L2(), any_shape=True, degree=2),
    "charbonnier": Case(Charbonnier(), any_shape=True),
    "huber": Case(Huber(delta=0.1), any_shape=True),
    "cosine": Case(Cosine()),
    "channel-noise": Case(ChannelNoise(), any_shape=True),
    "gaussian-nll": Case(GaussianNLL(), any_shape=True),
    "ssim": Case(SSIMLoss()),
    "ms-ssim": Case(MSSSIMLoss()),
    "edge": Case(Edge(), degree=1),
    "focal-frequency": Case(FocalFrequency(), differentiable=FocalFrequency(alpha=0.0), degree=2),
    "spectrum": Case(Spectrum()),
    "perceptual": Case(Perceptual()),
    "lpips": Case(
        LPIPS(**SMALL_VGG),
        needed=SMALL_VGG,
        exact=(1, 3, 12, 13),
    ),
    "timm-features": Case(TimmFeatures(**SMALL_TIMM), needed=SMALL_TIMM, exact=(1, 1, 12, 13)),
    "log-mel": Case(
        LogMel(sample_rate=8000, windows=(32, 64), bands=(5, 10)),
        waves=True,
        needed={"sample_rate": 8000},
    ),
    "stft": Case(STFT(windows=(16, 64)), waves=True, symmetric=False),
    "compressed-stft": Case(CompressedSTFT(windows=(16, 64)), waves=True),
    "loudness": Case(
        Loudness(sample_rate=8000, window=64, bands=12),
        waves=True,
        symmetric=False,
        needed={"sample_rate": 8000},
    ),
    "intelligibility": Case(
        Intelligibility(sample_rate=16000, window=64, seconds=0.02),
        waves=True,
        symmetric=False,
        needed={"sample_rate": 16000},
    ),
}
every_term = pytest.mark.parametrize("name", sorted(TERMS))


def pair(name, seed=0, dtype=torch.float32):
    """Two unequal batches that the term measures."""
    return images(*((2, 1, 200) if CASES[name].waves else ()), seed=seed, dtype=dtype)


def images(*shape, seed=0, dtype=torch.float32):
    """Two unequal batches of images in [0, 1] with structure in common."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(shape or (2, 3, 24, 24), generator=generator, dtype=dtype)
    y = (x + 0.2 * torch.randn(x.shape, generator=generator, dtype=dtype)).clamp(0, 1)
    return y, x


def value_and_gradient(term, y, x):
    y = y.clone().requires_grad_()
    value = term(y, x)
    (gradient,) = torch.autograd.grad(value, y)
    return value.detach(), gradient


def test_every_member_has_a_case():
    assert set(CASES) == set(TERMS)
    assert all(type(CASES[name].term) is TERMS[name] for name in TERMS)


@every_term
def test_constructors_take_plain_keywords(name):
    assert isinstance(TERMS[name](**CASES[name].needed), Term)
    with pytest.raises(TypeError):
        TERMS[name](1.0)


@every_term
def test_is_smallest_at_equality(name):
    term = CASES[name].term
    y, x = pair(name)
    torch.testing.assert_close(term(x, x), torch.tensor(term.minimum), atol=1e-6, rtol=1e-5)
    assert term(y, x) > term.minimum + 1e-4
    assert term(y, x).shape == ()


@every_term
@pytest.mark.parametrize("where", ["unequal", "equal", "constant", "both constant", "black"])
def test_gradients_are_finite_everywhere(name, where):
    y, x = pair(name)
    flat = torch.full_like(x, 0.4)
    y, x = {
        "unequal": (y, x),
        "equal": (x, x),
        "constant": (flat, x),
        "both constant": (flat, flat),
        "black": (torch.zeros_like(x), torch.zeros_like(x)),
    }[where]
    value, gradient = value_and_gradient(CASES[name].term, y, x)
    assert value.isfinite()
    assert gradient.isfinite().all()
    if where == "unequal":
        assert gradient.abs().sum() > 0
    if where == "both constant":
        assert gradient.abs().max() < 1e-6


@pytest.mark.parametrize("name", [name for name in sorted(CASES) if CASES[name].symmetric])
def test_is_symmetric(name):
    y, x = pair(name)
    torch.testing.assert_close(CASES[name].term(y, x), CASES[name].term(x, y))


@every_term
def test_repeating_the_batch_changes_nothing(name):
    term = CASES[name].term
    y, x = pair(name)
    value, gradient = value_and_gradient(term, y, x)
    twice, twice_gradient = value_and_gradient(term, torch.cat([y, y]), torch.cat([x, x]))
    torch.testing.assert_close(twice, value)
    torch.testing.assert_close(twice_gradient[:2] * 2, gradient, atol=1e-7, rtol=1e-4)


@pytest.mark.parametrize("name", [name for name in sorted(CASES) if CASES[name].degree])
def test_doubling_the_error_scales_as_stated(name):
    case = CASES[name]
    y, x = images()
    torch.testing.assert_close(case.term(x + 2 * (y - x), x), case.term(y, x) * 2**case.degree)


@every_term
def test_half_precision_is_measured_in_full(name):
    term = CASES[name].term
    y, x = (t.bfloat16() for t in pair(name))
    expected = term(y.float(), x.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value, gradient = value_and_gradient(term, y, x)
    assert value.dtype == torch.float32
    assert gradient.dtype == torch.bfloat16
    assert torch.equal(value, expected)


@every_term
def test_gradient_matches_finite_differences(name):
    term = CASES[name].differentiable or CASES[name].term
    y, x = images(*((1, 1, 90) if CASES[name].waves else CASES[name].exact), dtype=torch.float64)
    if name == "ms-ssim":
        y, x = images(1, 1, 22, 22, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda t: term(t, x), y.requires_grad_(), fast_mode=True)


@every_term
def test_sound_is_measured_or_refused_in_words(name):
    y, x = images(2, 1, 100)
    if CASES[name].any_shape or CASES[name].waves:
        assert CASES[name].term(y, x).isfinite()
    else:
        with pytest.raises(PellucidError, match=r"images are needed|one channel"):
            CASES[name].term(y, x)


@every_term
def test_shapes_must_agree(name):
    with pytest.raises(PellucidError, match="differ in shape"):
        CASES[name].term(torch.rand(2, 3, 24, 24), torch.rand(2, 1, 24, 24))


@every_term
def test_weight_zero_measures_without_a_gradient(name):
    y, x = pair(name)
    y.requires_grad_()
    beside = "l1" if name != "l1" else "l2"  # both measure any shape
    terms = {name: Weighted(CASES[name].term, 0.0), beside: Weighted(CASES[beside].term, 1.0)}
    output = Objective(terms, ValueRange(0, 1))(y, x)
    observed = output.terms[name]
    torch.testing.assert_close(observed.value, CASES[name].term(y, x).detach())
    assert not observed.value.requires_grad
    assert not observed.weighted.requires_grad
    torch.testing.assert_close(output.total, output.terms[beside].weighted)


@every_term
def test_the_objective_gives_each_term_its_range(name):
    """A run in [−1, 1] or [0, 255] measures SSIM as a run in [0, 1] does."""
    term = CASES[name].term
    y, x = pair(name)
    for run in (ValueRange(-1, 1), ValueRange(0, 255)):
        objective = Objective({name: Weighted(term, 1.0)}, run)
        y_run, x_run = run.from_unit(y), run.from_unit(x)
        expected = term(y, x) if term.expects == ValueRange(0, 1) else term(y_run, x_run)
        torch.testing.assert_close(objective(y_run, x_run).total, expected, atol=1e-5, rtol=1e-4)


def test_l1_and_l2_are_means_over_all_elements():
    x = torch.zeros(2, 3, 4, 5)
    assert L1()(x + 0.5, x).item() == pytest.approx(0.5)
    assert L2()(x - 0.5, x).item() == pytest.approx(0.25)


def test_charbonnier_is_l1_far_away_and_round_near():
    x = torch.zeros(100)[None]
    term = Charbonnier(epsilon=0.01)
    assert term(x + 1, x).item() == pytest.approx(1, abs=1e-4)
    assert term.minimum == 0.01
    _, gradient = value_and_gradient(term, x + 1e-4, x)
    assert gradient.sum().item() == pytest.approx(0.01, rel=1e-3)


def test_huber_is_half_a_square_near_and_straight_far_away():
    x = torch.zeros(2, 5)
    assert Huber(delta=0.5)(x + 0.1, x).item() == pytest.approx(0.005)
    assert Huber(delta=0.5)(x + 3, x).item() == pytest.approx(0.5 * (3 - 0.25))


def test_cosine_sees_the_mixture_and_not_its_level():
    x = torch.rand(2, 5, 4, 4) + 0.5
    assert Cosine()(3 * x, x).item() == pytest.approx(0, abs=1e-4)
    assert Cosine()(-x, x).item() == pytest.approx(2, abs=1e-3)
    right = torch.tensor([[1.0, 0.0]])[..., None]
    assert Cosine()(right, right.flip(1)).item() == pytest.approx(1, abs=1e-3)
    dark = torch.zeros(1, 5, 3, requires_grad=True)
    value = Cosine(epsilon=0.1)(dark, torch.ones(1, 5, 3))
    (gradient,) = torch.autograd.grad(value, dark)
    assert gradient.norm(dim=1).max() <= 10  # ≤ 1/ε, whatever vanishes


def test_cosine_of_one_channel_is_refused():
    with pytest.raises(PellucidError, match="only a sign"):
        Cosine()(torch.rand(2, 1, 4, 4), torch.rand(2, 1, 4, 4))


def test_edge_sees_slopes_but_no_offset():
    _, x = images()
    assert Edge()(x + 0.3, x).item() == pytest.approx(0, abs=1e-6)
    ramp = 0.01 * torch.arange(24).expand(2, 3, 24, 24)
    assert Edge()(x + ramp, x).item() == pytest.approx(0.005, rel=1e-3)


def test_spectrum_sees_lost_power_and_is_blind_to_place():
    generator = torch.Generator().manual_seed(0)
    x, other = torch.rand(2, 4, 3, 64, 64, generator=generator)
    softer = x.mean((2, 3), keepdim=True) + 0.5 * (x - x.mean((2, 3), keepdim=True))
    assert Spectrum()(softer, x).item() == pytest.approx(math.log(4) ** 2, rel=1e-3)
    assert Spectrum()(other, x) < 0.05
    blurred = torch.nn.functional.avg_pool2d(x, 3, 1, padding=1)
    assert Spectrum()(blurred, x) > 1
    assert Spectrum(lowest=0.4)(blurred, x) > Spectrum()(blurred, x)  # blur takes the finest first


def test_spectrum_does_not_count_what_is_below_a_grey_level():
    flat = torch.full((1, 1, 32, 32), 0.5)
    barely = flat + 0.1 / 255 * torch.randn(
        1, 1, 32, 32, generator=torch.Generator().manual_seed(0)
    )
    assert Spectrum()(barely, flat) < 1e-3


def test_ms_ssim_still_teaches_an_anticorrelated_image():
    _, x = images(1, 1, 32, 32)
    value, gradient = value_and_gradient(MSSSIMLoss(), 1 - x, x)
    assert 0.9 < value <= 1
    assert gradient.isfinite().all()
    assert gradient.abs().max() < 1


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Charbonnier(epsilon=0.0), "radius"),
        (lambda: Charbonnier(epsilon=math.nan), "radius"),
        (lambda: Huber(delta=0.0), "turns somewhere"),
        (lambda: Cosine(epsilon=0.0), "length"),
        (lambda: SSIMLoss(window=10), "odd"),
        (lambda: SSIMLoss(sigma=0.0), "width"),
        (lambda: MSSSIMLoss(scales=6), "one to five"),
        (lambda: FocalFrequency(alpha=-1.0), "not negative"),
        (lambda: Spectrum(lowest=0.5), "needs rings"),
        (lambda: Spectrum(rings=0), "needs rings"),
        (lambda: LogMel(sample_rate=8000, windows=(64,), bands=(4, 5)), "every window"),
        (lambda: LogMel(sample_rate=8000, epsilon=0.0), "positive"),
        (lambda: STFT(windows=(4,)), "at least 8"),
        (lambda: Loudness(sample_rate=8000, window=16), "at least 32"),
        (lambda: Loudness(sample_rate=8000, bands=1), "4 bands"),
        (lambda: Intelligibility(sample_rate=16000, seconds=0.01), "three frames"),
        (lambda: Intelligibility(sample_rate=8000), "third octaves must end"),
        (lambda: Intelligibility(sample_rate=16000, bands=0), "at least one"),
        (lambda: STFT()(torch.zeros(1, 1, 9), torch.zeros(1, 1, 9)), "too short"),
    ],
)
def test_wrong_arguments(build, message):
    with pytest.raises(PellucidError, match=message):
        build()


@pytest.mark.parametrize("name", [name for name in sorted(CASES) if CASES[name].waves])
def test_spectra_of_images_are_refused(name):
    with pytest.raises(PellucidError, match="waveforms are needed"):
        CASES[name].term(*images())


def test_log_mel_sees_level_and_not_phase():
    t = torch.arange(4000) / 8000
    tone = torch.sin(2 * math.pi * 440 * t)[None, None]
    shifted = torch.sin(2 * math.pi * 440 * t + 1.0)[None, None]
    term = LogMel(sample_rate=8000, windows=(512,), bands=(40,))
    assert term(shifted, tone) < 0.05
    noise = torch.randn(1, 1, 4000, generator=torch.Generator().manual_seed(0))
    assert term(0.1 * noise, noise).item() == pytest.approx(1.0, abs=0.01)  # 20 dB: one decade


def test_images_below_the_window_are_refused():
    with pytest.raises(PellucidError, match="at least 11×11"):
        SSIMLoss()(torch.rand(1, 1, 8, 8), torch.rand(1, 1, 8, 8))
    assert SSIMLoss(window=7)(torch.rand(1, 1, 8, 8), torch.rand(1, 1, 8, 8)).isfinite()


def test_a_kl_beside_the_gaussian_nll_has_the_weight_of_a_learned_sigma():
    """Its gradient is that of the mean squared error times E / (2·(MSE + σ₀²))."""
    y, x = images()
    _, gradient = value_and_gradient(GaussianNLL(floor=0.01), y, x)
    _, plain = value_and_gradient(L2(), y, x)
    error = (y - x).square().mean()
    torch.testing.assert_close(gradient, plain * x[0].numel() / 2 / (error + 1e-4))


# --- terms of stacks ------------------------------------------------------------------------------


def test_channel_noise_divides_each_channels_gradient_by_its_own_error():
    torch.manual_seed(0)
    x = torch.zeros(4, 2, 8, 8)
    scale = torch.tensor([1.0, 100.0]).view(1, 2, 1, 1)
    y = (torch.randn(4, 2, 8, 8) * scale).requires_grad_()
    value = TERMS["channel-noise"](floor=1e-3)(y, x)
    (gradient,) = torch.autograd.grad(value, y)
    pull = (gradient * y).sum((0, 2, 3)).detach()
    torch.testing.assert_close(pull[0], pull[1], rtol=1e-4, atol=0)
