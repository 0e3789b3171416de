"""What models of other hands taught: a sign of youth or of another place is no fault of its own."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from pellucid.diagnosis import Subject
from pellucid.diagnosis.case import build_case
from pellucid.diagnosis.clock import Clock
from pellucid.diagnosis.probes.affine import affine_refit
from pellucid.diagnosis.probes.commitment import lag
from pellucid.diagnosis.probes.taps import straight_through
from pellucid.diagnosis.probes.training import Fork, continued, outlearned
from pellucid.diagnosis.rules import (
    batchnorm_gap,
    codebook_collapse,
    overfitting,
    range_mismatch,
    rate_starvation,
    split_leak,
)
from pellucid.diagnosis.samples import read_samples
from pellucid.records import Latent


def images(count: int = 64, *, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    small = torch.rand(count, 1, 2, 2, generator=generator)
    return nn.functional.interpolate(small, scale_factor=4.0, mode="nearest")


def case_of(subject: Subject, train: torch.Tensor, held: torch.Tensor | None = None):
    held_out = None if held is None else read_samples(held, where="validation", clock=Clock(9))
    samples = read_samples(train, where="train", clock=Clock(9))
    with torch.no_grad():
        return build_case(subject, samples, held_out, Clock(60), None)


def pooled(x: torch.Tensor) -> torch.Tensor:
    return nn.functional.avg_pool2d(x, 4)


def spread_out(z: torch.Tensor) -> torch.Tensor:
    return nn.functional.interpolate(z, scale_factor=4.0)


@pytest.mark.parametrize(
    ("win_db", "repair_db", "young"), [(6.0, 2.0, True), (2.2, 2.0, False), (0.1, 3.0, False)]
)
def test_only_what_training_on_wins_beyond_a_repair_is_youth(win_db, repair_db, young):
    layer = nn.Linear(1, 1)
    subject = Subject(pooled, spread_out, modules={"m": layer}, loss_terms=lambda x: {})
    case = case_of(subject, images())
    case._measured[continued] = (Fork(50, 1.0, 10 ** (-win_db / 10)), None)
    assert (outlearned(case, repair_db) > 0.5) is young
    assert outlearned(case_of(Subject(pooled, spread_out), images()), repair_db) == 0.0


@pytest.mark.parametrize(
    ("gain", "offset", "detail", "wrong"),
    [(1.15, 0.01, 0.12, False), (2.0, -0.5, 0.12, True), (1.15, 0.01, 0.01, True)],
)
def test_units_are_wrong_by_a_factor_or_where_they_are_most_of_the_error(
    gain, offset, detail, wrong
):
    x = images() + detail * torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    case = case_of(Subject(pooled, lambda z: gain * spread_out(z) + offset), x)
    refit = case.measure(affine_refit)
    assert refit.win_db > 1.0
    bias = float((case.x_hat - case.x).mean() / case.x.std())
    departure = range_mismatch.departure(case, refit)
    assert departure == pytest.approx(math.hypot(math.log(refit.gain), bias), rel=1e-3)
    finding = range_mismatch.examine(case)
    assert (finding is not None and finding.asserted) is wrong


def test_the_lag_of_residual_codes_is_that_of_their_first_level():
    generator = torch.Generator().manual_seed(0)
    first = torch.randint(4, (200,), generator=generator)
    second = torch.arange(200)  # no two latents share both levels
    z = torch.eye(4)[first] * 3 + 0.1 * torch.randn(200, 4, generator=generator)
    codes = torch.stack([first, second], -1)[:, None]

    def measured(quantized: torch.Tensor) -> float:
        latent = Latent(z[..., None], codes=codes, quantized=quantized[..., None])
        return lag(SimpleNamespace(latent=latent))  # type: ignore[arg-type]

    assert measured(torch.eye(4)[first] * 3) < 0.01
    assert measured(torch.eye(4)[first] * 0.5) > 0.5  # latents have run away from their codes
    turned = torch.linalg.qr(torch.randn(4, 4, generator=generator))[0]
    assert measured(torch.eye(4)[first] @ turned) == 0.0  # behind a projection nothing is said


def test_statistics_of_small_batches_do_not_hide_stale_ones():
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(1, momentum=None)
    x = images(64)
    norm.train()
    norm(x)
    norm.eval()
    healthy = Subject(lambda b: pooled(norm(b)), lambda z: spread_out(z * x.std() + x.mean()),
                      modules={"encoder": norm})  # fmt: skip
    found = batchnorm_gap.examine(case_of(healthy, x))
    assert found is None or not found.asserted
    norm.load_state_dict(
        {k: 4 * v if k == "running_var" else v for k, v in norm.state_dict().items()}
    )
    found = batchnorm_gap.examine(case_of(healthy, x))
    assert found is not None
    assert found.asserted


@pytest.mark.parametrize(("win_db", "collapsed"), [(4.0, False), (0.1, True)])
def test_a_young_model_uses_few_codes_and_that_is_no_collapse(win_db, collapsed):
    book = torch.cat([torch.tensor([[0.5]]), torch.linspace(50, 90, 15)[:, None]])
    layer = nn.Linear(1, 1)

    def encode(x):
        z = pooled(x)
        codes = (z[..., None] - book[:, 0]).abs().argmin(-1)[:, 0]
        return Latent(z, codes=codes, quantized=book[codes, 0][:, None])

    subject = Subject(
        encode, lambda z: spread_out(0 * z + 0.5), codebook=book,
        modules={"m": layer}, loss_terms=lambda x: {},
    )  # fmt: skip
    case = case_of(subject, images())
    case._measured[continued] = (Fork(50, 1.0, 10 ** (-win_db / 10)), None)
    finding = codebook_collapse.examine(case)
    assert (finding is not None and finding.asserted) is collapsed


def test_flat_coloured_patches_are_alike_and_no_copies():
    generator = torch.Generator().manual_seed(0)

    def patches(count: int, flat: int) -> torch.Tensor:
        x = torch.rand(count, 3, 8, 8, generator=generator)
        sky = torch.tensor([0.3, 0.5, 0.9]).view(1, 3, 1, 1)
        x[:flat] = sky + 0.004 * torch.randn(flat, 3, 8, 8, generator=generator)
        return x

    train, held = patches(200, 60), patches(100, 30)
    subject = Subject(pooled, spread_out)
    assert split_leak.duplicates(case_of(subject, train, held))[0] == 0.0
    held[50:60] = train[100:110] + 1e-3
    assert split_leak.duplicates(case_of(subject, train, held))[0] == pytest.approx(0.1)


def test_a_lead_over_pca_pays_for_a_gap_and_nothing_else_does():
    train, held = torch.rand(40, 1, 8, 8), torch.rand(40, 1, 8, 8)
    known = train.flatten(1)

    def encode(b):  # remembers the training samples, and only them
        return torch.cdist(b.flatten(1), known).argmin(1).float()[:, None]

    def decode(z):
        return known[z[:, 0].round().long().clamp(0, 39)].view(-1, 1, 8, 8)

    finding = overfitting.examine(case_of(Subject(encode, decode), train, held))
    assert finding is not None
    assert finding.asserted


def test_a_quantiser_that_is_not_called_by_forward_is_measured_around():
    torch.manual_seed(0)
    book = nn.Parameter(torch.randn(8, 4))
    encoder, decoder = nn.Conv2d(1, 4, 4, 4), nn.ConvTranspose2d(4, 1, 4, 4)

    class Quantizer(nn.Module):
        def __init__(self):
            super().__init__()
            self.book = book

        def nearest(self, z):
            flat = z.movedim(1, -1)
            index = (flat[..., None, :] - self.book).square().sum(-1).argmin(-1)
            return self.book[index].movedim(-1, 1), index

    quantizer = Quantizer()

    def encode(x):
        z = encoder(x)
        q, index = quantizer.nearest(z)
        return Latent(z, codes=index, quantized=q)

    for passes, gain in ((True, 1.0), (False, 0.0)):

        def terms(x, passes=passes):
            z = encoder(x)
            q, _ = quantizer.nearest(z)
            q = z + (q - z).detach() if passes else q
            return {"rec": (decoder(q) - x).square().mean()}

        modules = {"encoder": encoder, "decoder": decoder, "quantizer": quantizer}
        subject = Subject(encode, decoder, modules=modules, loss_terms=terms, codebook=book)
        found = case_of(subject, images()).measure(straight_through)
        assert found is not None
        assert found.of_training
        assert found.gain == pytest.approx(gain, abs=1e-4)


def test_a_weight_far_too_heavy_needs_less_proof_but_some():
    assert rate_starvation._leniency(1.0) == 0.0
    assert rate_starvation._leniency(5.0) == 0.0
    assert rate_starvation._leniency(10.0) == pytest.approx(0.5)
    assert rate_starvation._leniency(1e6) == 0.6
