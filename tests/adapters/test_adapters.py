"""One contract over every adapter, on the real packages with tiny random models."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from adapted_models import MEMBERS, Adapted, adapted, images, pythae_model, vq_model
from torch import nn

from pellucid import adapters
from pellucid.adapters import from_diffusers, from_pythae, from_vector_quantize
from pellucid.diagnosis import diagnose
from pellucid.diagnosis.case import build_case
from pellucid.diagnosis.clock import Clock
from pellucid.diagnosis.latents import as_latent, as_output
from pellucid.diagnosis.probes.weight import kl_weight
from pellucid.diagnosis.runner import decoded_latent
from pellucid.diagnosis.samples import read_samples
from pellucid.errors import PellucidError

SAMPLING = ("VAE", "BetaVAE")
"""pythae's own forward decodes a sample of the posterior."""


@pytest.fixture(scope="module", params=MEMBERS)
def member(request) -> Adapted:
    return adapted(request.param)


@torch.no_grad()
def test_decode_of_encode_is_what_the_package_itself_computes(member):
    latent = as_latent(member.subject.encode(member.x))
    x_hat = as_output(member.subject.decode(decoded_latent(latent)), member.x)
    assert x_hat.shape == member.x.shape
    if getattr(member.model, "model_name", None) in SAMPLING:
        torch.manual_seed(3)
        own = member.own(member.x)
        torch.manual_seed(3)
        z = latent.mean + torch.randn_like(latent.mean) * (0.5 * latent.logvar).exp()
        x_hat = as_output(member.subject.decode(z), member.x)
    else:
        own = member.own(member.x)
    torch.testing.assert_close(x_hat, own)


@torch.no_grad()
def test_deployed_path_is_the_packages_own_forward(member):
    torch.manual_seed(3)
    own = member.own(member.x)
    torch.manual_seed(3)
    torch.testing.assert_close(as_output(member.subject.forward(member.x), member.x), own)


@torch.no_grad()
def test_codes_index_the_codebook_level_by_level(member):
    latent = as_latent(member.subject.encode(member.x))
    if latent.codes is None:
        assert not member.subject.codebooks
        return
    assert latent.quantized.shape == latent.mean.shape
    positions = latent.mean.shape[2:]
    assert latent.codes.shape[: 1 + len(positions)] == (len(member.x), *positions)
    books = member.subject.codebooks
    if not books or books[0].shape[1] != latent.mean.shape[1]:
        return  # without a learned codebook in the decoder's space there is nothing to add up
    codes = latent.codes if len(books) > 1 else latent.codes.unsqueeze(-1)
    assert codes.shape[-1] == len(books)
    total = sum(book[codes[..., level]] for level, book in enumerate(books))
    torch.testing.assert_close(total.movedim(-1, 1), latent.quantized)


def test_loss_terms_reach_the_encoder_and_sum_to_the_packages_loss(member):
    if member.subject.loss_terms is None:
        pytest.skip("diffusers brings no losses")
    member.model.train()  # some quantisers pass gradients in training only
    torch.manual_seed(3)
    terms = member.subject.loss_terms(member.x)
    encoder = member.subject.modules["encoder"]
    gradient = torch.autograd.grad(
        sum(terms.values()), next(iter(encoder.parameters())), retain_graph=True
    )
    assert float(gradient[0].norm()) > 0
    if hasattr(member.model, "model_name"):
        torch.manual_seed(3)
        own = member.model({"data": member.x})["loss"]
        torch.testing.assert_close(sum(terms.values()), own)
    member.model.eval()


def test_diagnosis_runs_and_tests_most_rows(member):
    found = diagnose(member.subject, member.x[:48], member.x[48:], budget_seconds=10)
    assert "range-mismatch" in found.tested
    assert len(found.tested) >= 10
    broken = [row for row in found.not_tested if row.needs.startswith("a subject that survives")]
    assert not broken


@pytest.mark.parametrize(("kind", "options"), [("VAE", {}), ("BetaVAE", {"beta": 0.2})])
def test_declared_kl_weight_is_the_one_the_losses_show(kind, options):
    torch.manual_seed(0)
    x = images(count=256)
    model = pythae_model(kind, **options)
    blind = from_pythae(model, kl_weight=None)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(200):  # an untrained model answers grey: no error to tell its power by
        optimizer.zero_grad()
        sum(blind.loss_terms(x[torch.randint(256, (64,))]).values()).backward()
        optimizer.step()
    model.eval()
    declared = from_pythae(model).kl_weight
    assert declared == pytest.approx(2 * options.get("beta", 1.0) / 64)
    samples = read_samples(x, where="train", clock=Clock(20))
    measured = build_case(blind, samples, None, Clock(20), None).measure(kl_weight)
    assert measured.origin == "measured from the losses"
    assert measured.value == pytest.approx(declared, rel=0.1)


def test_codebook_is_the_models_own_tensor():
    model = vq_model()
    assert from_diffusers(model).codebooks[0] is model.quantize.embedding.weight


def test_declared_facts_win_over_known_ones():
    subject = from_diffusers(vq_model(), value_range=(0, 1), kl_weight=0.5)
    assert subject.value_range == (0, 1)
    assert subject.kl_weight == 0.5


def test_misspelt_fact_names_the_nearest():
    with pytest.raises(PellucidError, match="kl_weight"):
        from_diffusers(vq_model(), kl_wieght=0.5)


@pytest.mark.parametrize(
    "name", [n for n in adapters.__all__ if n != "from_vector_quantize"], ids=str
)
def test_another_model_is_refused_by_name(name):
    with pytest.raises(PellucidError, match=r"expected: .*\n.*found: a Linear without"):
        getattr(adapters, name)(nn.Linear(2, 2))


def test_a_composition_needs_a_quantiser():
    part = nn.Identity()
    with pytest.raises(PellucidError, match="vector-quantize-pytorch"):
        from_vector_quantize(part, SimpleNamespace(), part, loss=F.mse_loss)
