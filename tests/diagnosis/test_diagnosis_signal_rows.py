"""Ceilings, codes and artefacts: planted faults are found, their healthy twins stay silent.

Shape letters: B batch, C channels, T time, K codes.
"""

import dataclasses

import diagnosis_zoo as zoo
import pytest
import torch
import torch.nn.functional as F

from pellucid.diagnosis import Subject
from pellucid.diagnosis.case import build_case
from pellucid.diagnosis.clock import Clock
from pellucid.diagnosis.evidence import Finding
from pellucid.diagnosis.interventions import channel_weights, kmeans_codebook
from pellucid.diagnosis.probes.codes import code_use, kmeans
from pellucid.diagnosis.probes.quantisation import flat, nearest
from pellucid.diagnosis.probes.spectra import spectra_of
from pellucid.diagnosis.rules import (
    blur,
    capacity_limit,
    codebook_collapse,
    codebook_too_small,
    metallic_artefacts,
    post_hoc_gap,
    prior_hole,
    tile_seams,
    unreachable_target,
)
from pellucid.diagnosis.samples import Samples
from pellucid.records import Latent

RULES = (
    blur,
    capacity_limit,
    codebook_too_small,
    metallic_artefacts,
    post_hoc_gap,
    tile_seams,
    unreachable_target,
    prior_hole,
)


def case_of(subject: Subject, data: zoo.Data):
    train, held = (Samples(x, None, "samples") for x in (data.train, data.held))
    with torch.no_grad():
        return build_case(subject, train, held, Clock(60), None)


def confidence(rule, case) -> float:
    with torch.no_grad():
        if rule.missing(case) is not None:
            return 0.0
        found = rule.examine(case)
    return 0.0 if found is None else found.confidence


def softened(x):
    """Filter by a short Gaussian along every position axis."""
    kernel = torch.tensor([0.05, 0.25, 0.4, 0.25, 0.05])
    for axis in range(2, x.ndim):
        moved = x.movedim(axis, -1)
        rows = F.pad(moved.reshape(-1, 1, moved.shape[-1]), (2, 2), mode="replicate")
        x = F.conv1d(rows, kernel.view(1, 1, 5)).view(moved.shape).movedim(-1, axis)
    return x


def with_codes(model: zoo.Trained, count: int) -> Subject:
    """Put k-means codes behind a trained autoencoder, as a post-hoc tokenizer does."""
    with torch.no_grad():
        book = kmeans(flat(model.net.encode(model.data.train).mean), count)[0]

    def encode(x):
        z = model.net.encode(x).mean
        codes = torch.cdist(flat(z), book).argmin(1).view(len(z), *z.shape[2:])
        return Latent(mean=z, codes=codes, quantized=z + (nearest(z, book) - z).detach())

    return dataclasses.replace(model.white(), encode=encode, codebook=book)


@pytest.mark.parametrize("name", ["ae", "vae", "young", "audio"])
def test_healthy_models_are_silent(trained, name):
    model = trained(name)
    case = case_of(model.white(), model.data)
    assert {r.__name__: c for r in RULES if (c := confidence(r, case)) >= 0.5} == {}


def test_band_energies_sum_to_mean_squares_and_water_filling_spends_the_error():
    x, y = torch.randn(2, 6, 2, 16, 16)
    found = spectra_of(x, y, torch.zeros(1, 2, 16, 16))
    assert float(found.error_F.sum()) == pytest.approx(float((x - y).square().mean()), rel=1e-5)
    soft = spectra_of(x, 0.5 * x, torch.zeros(1, 2, 16, 16))
    left = ((1 - soft.water_filled_F()) * soft.data_F).sum()
    assert float(left) == pytest.approx(float(soft.error_F.sum()), rel=1e-3)


def test_a_filter_behind_the_decoder_is_blur(trained):
    model = trained("ae")
    subject = dataclasses.replace(model.white(), decode=lambda z: softened(model.net.decode(z)))
    assert confidence(blur, case_of(subject, model.data)) > 0.5


class Coarse(torch.nn.Module):
    """Draw at a quarter of the resolution."""

    def forward(self, x):
        return F.interpolate(F.avg_pool2d(x, 4), scale_factor=4.0)


def test_a_decoder_that_draws_too_coarsely_cannot_reach_its_target():
    data = zoo.digits()
    model = zoo.train(data, "ae", 12, conv=False, steps=150, head=Coarse())
    assert confidence(unreachable_target, case_of(model.white(), data)) > 0.5


def test_few_codes_behind_a_good_autoencoder_are_too_few_and_many_were_not_seen(trained):
    model = trained("audio")
    few = case_of(with_codes(model, 4), model.data)
    assert confidence(codebook_too_small, few) > 0.5
    many = case_of(with_codes(model, 64), model.data)
    assert confidence(codebook_too_small, many) < 0.5


def test_tones_of_the_stride_are_metallic(trained):
    model = trained("audio")
    t = torch.arange(128)

    def buzzing(z):
        return model.net.decode(z) + 0.03 * torch.sin(torch.pi * t / 2 + torch.rand(len(z), 1, 1))

    subject = dataclasses.replace(model.black(), decode=buzzing)
    assert confidence(metallic_artefacts, case_of(subject, model.data)) > 0.5


def test_a_streaming_decoder_without_state_shows_seams(trained):
    model = trained("audio")

    def streamed(z):
        return torch.cat([model.net.decode(part) for part in z.split(8, 2)], 2)

    subject = dataclasses.replace(model.black(), decode=streamed)
    case = case_of(subject, model.data)
    with torch.no_grad():
        found = tile_seams.examine(case)
    assert found is not None
    assert found.confidence > 0.5
    assert found.suggests["tile"] == 32


def test_a_prior_hole_needs_a_prior_that_is_sampled(trained):
    model = trained("vae")
    latent = model.net.encode
    wide = dataclasses.replace(
        model.white(),
        encode=lambda x: Latent(5 * latent(x).mean, latent(x).logvar + 3.2),
        decode=lambda z: model.net.decode(z / 5),
    )
    sampled = dataclasses.replace(wide, recipe={"sampling": "prior"})
    assert confidence(prior_hole, case_of(wide, model.data)) < 0.5
    assert confidence(prior_hole, case_of(sampled, model.data)) > 0.5


@pytest.mark.parametrize("options", [{}, {"codebook_dim": 8}])
def test_unused_codes_of_a_good_residual_quantiser_are_no_collapse(trained, options):
    import vector_quantize_pytorch as library

    torch.manual_seed(0)
    model = trained("audio")
    dim = 4 if not options else 16
    lift = torch.nn.Linear(4, dim)
    quantizer = library.ResidualVQ(
        dim=dim, codebook_size=64, num_quantizers=4, kmeans_init=True, **options
    )

    def encode(x):
        z = lift(model.net.encode(x).mean.movedim(1, -1)) if options else None
        z = model.net.encode(x).mean.movedim(1, -1) if z is None else z
        q, codes, _ = quantizer(z)
        return Latent(mean=z.movedim(-1, 1), codes=codes, quantized=q.movedim(-1, 1))

    quantizer.train()
    with torch.no_grad():
        for start in range(0, 400, 40):
            encode(model.data.train[start : start + 40])
    quantizer.eval()
    inverse = torch.linalg.pinv(lift.weight.detach())

    def decode(z):
        back = ((z.movedim(1, -1) - lift.bias) @ inverse.T).movedim(-1, 1) if options else z
        return model.net.decode(back)

    books = [b.detach() for b in quantizer.codebooks]
    case = case_of(Subject(encode, decode, codebook=books, value_range=(-1, 1)), model.data)
    assert codebook_collapse.missing(case) is None
    assert confidence(codebook_collapse, case) < 0.5
    assert case.measure(code_use)[0].exact is not bool(options)  # projected: judged by centroids


FINDING = Finding("any", 0.6, 1.0, "dB", "s", (), "t", ())


def test_a_kmeans_codebook_swapped_in_proves_dead_codes(trained):
    model = trained("audio")
    healthy = with_codes(model, 32)
    book = healthy.codebook
    dead = torch.cat([book[:4], 100 + book[4:]])
    sick = dataclasses.replace(
        healthy,
        codebook=dead,
        encode=lambda x: _coded(model.net.encode(x).mean, dead),
    )
    case = case_of(sick, model.data)
    assert confidence(codebook_collapse, case) > 0.5
    with torch.no_grad():
        assert kmeans_codebook.intervene(case, FINDING).verdict == "confirmed"
        fine = kmeans_codebook.intervene(case_of(healthy, model.data), FINDING)
    assert fine.verdict == "refuted"


def _coded(z, book):
    codes = torch.cdist(flat(z), book).argmin(1).view(len(z), *z.shape[2:])
    return Latent(mean=z, codes=codes, quantized=nearest(z, book))


@pytest.mark.slow
def test_weighting_channels_wins_quiet_ones_back_only_where_scales_are_uneven(trained):
    proofs = []
    for name in ("loud", "even"):
        case = case_of(trained(name).white(), trained(name).data)
        with torch.no_grad():
            proofs.append(channel_weights.intervene(case, FINDING))
    assert proofs[0].verdict == "confirmed"
    assert proofs[0].effect.value > proofs[1].effect.value
