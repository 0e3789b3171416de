"""The five first faults on trained models, their healthy twins, no forbidden confusion."""

import dataclasses
import time

import pytest
import torch

from pellucid.diagnosis import Subject, diagnose
from pellucid.diagnosis.case import build_case
from pellucid.diagnosis.clock import Clock
from pellucid.diagnosis.probes.taps import straight_through
from pellucid.diagnosis.probes.weight import kl_weight
from pellucid.diagnosis.samples import Samples, read_samples
from pellucid.records import Latent

SICK = [
    ("starved", "rate-starvation"),
    ("collapsed", "posterior-collapse"),
    ("sigmoid", "range-mismatch"),
    ("loud", "channel-scale-imbalance"),
]
WHITE = pytest.param("white", marks=pytest.mark.slow)
HEALTHY = ["ae", "vae", "young", "even", "once", "audio"]


def ids(diagnosis):
    return [f.id for f in diagnosis.findings if f.asserted]


@pytest.mark.parametrize(("name", "fault"), SICK)
@pytest.mark.parametrize("access", ["black", WHITE])
def test_the_fault_comes_first(trained, name, fault, access):
    model = trained(name)
    diagnosis = diagnose(
        getattr(model, access)(), model.data.train, model.data.held, budget_seconds=20
    )
    assert ids(diagnosis)[:1] == [fault], str(diagnosis)
    assert not diagnosis.healthy


@pytest.mark.parametrize("name", HEALTHY)
@pytest.mark.parametrize("access", ["black", WHITE])
def test_healthy_twins_are_healthy(trained, name, access):
    model = trained(name)
    diagnosis = diagnose(
        getattr(model, access)(), model.data.train, model.data.held, budget_seconds=20
    )
    assert diagnosis.healthy, str(diagnosis)


@pytest.mark.parametrize("name", ["dead", "per level"])
def test_a_straight_through_path_that_is_dead_or_counted_per_level_is_found(trained, name):
    model = trained(name)
    diagnosis = diagnose(model.white(), model.data.train, model.data.held, budget_seconds=20)
    assert ids(diagnosis)[:1] == ["straight-through-gain"], str(diagnosis)
    gain = diagnosis.findings[0].evidence[0].value
    assert gain == pytest.approx(0 if name == "dead" else 3, abs=0.05)


def test_a_decoder_of_random_numbers_is_found(trained):
    model = trained("ae")
    subject = dataclasses.replace(model.black(), decode=lambda z: torch.rand(len(z), 1, 8, 8))
    diagnosis = diagnose(
        subject, model.data.train, model.data.held, confirm=True, budget_seconds=20
    )
    assert ids(diagnosis)[:1] == ["random-decoder"]
    assert diagnosis.findings[0].confirmation.verdict == "confirmed"


def test_units_that_differ_are_found_and_proved_on_held_out_samples(trained):
    model = trained("ae")
    subject = dataclasses.replace(model.black(), decode=lambda z: model.net.decode(z) * 2 - 1)
    diagnosis = diagnose(
        subject, model.data.train, model.data.held, confirm=True, budget_seconds=20
    )
    assert ids(diagnosis)[:1] == ["range-mismatch"]
    gain, offset, *_ = diagnosis.findings[0].evidence
    assert (gain.value, offset.value) == pytest.approx((0.5, 0.5), abs=0.05)
    assert diagnosis.findings[0].confirmation.verdict == "confirmed"


@pytest.mark.slow
def test_a_starved_latents_kl_rises_when_its_weight_falls(trained):
    model = trained("starved")
    diagnosis = diagnose(
        model.white(), model.data.train, model.data.held, confirm=True, budget_seconds=60
    )
    proof = diagnosis.findings[0].confirmation
    assert proof is not None
    assert proof.verdict == "confirmed"
    assert proof.effect.low > 0


@pytest.mark.parametrize("declared", [True, False])
def test_starvation_is_never_called_collapse(trained, declared):
    model = trained("starved")
    subject = model.white(kl_weight=model.weight if declared else None)
    diagnosis = diagnose(subject, model.data.train, model.data.held, budget_seconds=20)
    assert "posterior-collapse" not in ids(diagnosis)
    assert ids(diagnosis)[:1] == ["rate-starvation"]


def test_a_weight_is_measured_from_losses_of_any_reduction(trained):
    model = trained("vae")
    summed = model.white(
        kl_weight=None,
        loss_terms=lambda x: {"a": 64 * model.loss(x)["recon"], "b": 64 * model.loss(x)["kl"]},
    )
    samples = read_samples(model.data.train, where="train", clock=Clock(5))
    with torch.no_grad():
        weight = kl_weight(build_case(summed, samples, None, Clock(20), None))
    assert weight.value == pytest.approx(model.weight, rel=0.15)
    assert weight.error == "squared"


def test_a_young_model_is_never_called_a_bug(trained):
    model = trained("young")
    diagnosis = diagnose(model.white(), model.data.train, model.data.held, budget_seconds=20)
    assert diagnosis.healthy
    assert ids(diagnosis) == ["under-training"]


def test_nothing_of_the_model_is_changed(trained):
    model = trained("starved")
    net, optimizer = model.net, model.optimizer
    net.train()
    net.encoder[1].weight.grad = torch.ones_like(net.encoder[1].weight)
    torch.manual_seed(7)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    moments = [v["exp_avg"].clone() for v in optimizer.state.values()]
    rng, modes = torch.get_rng_state(), [m.training for m in net.modules()]
    diagnose(model.white(), model.data.train, model.data.held, confirm=True, budget_seconds=20)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert all(
        torch.equal(v["exp_avg"], m) for v, m in zip(optimizer.state.values(), moments, strict=True)
    )
    assert torch.equal(torch.get_rng_state(), rng)
    assert [m.training for m in net.modules()] == modes
    assert torch.equal(net.encoder[1].weight.grad, torch.ones_like(net.encoder[1].weight))
    assert net.decoder[0].weight.grad is None or net.decoder[0].weight.grad.isfinite().all()
    net.eval()


@pytest.mark.parametrize("budget", [0.5, 3.0])
def test_the_time_budget_is_kept_and_what_fell_out_is_named(trained, budget):
    model = trained("vae")
    start = time.monotonic()
    diagnosis = diagnose(model.white(), model.data.train, model.data.held, budget_seconds=budget)
    assert time.monotonic() - start < 2 * budget + 3
    for row in diagnosis.not_tested:
        assert row.needs


def test_the_budget_sums_to_the_way_from_deployed_to_the_best_free_latent(trained):
    model = trained("vae")
    diagnosis = diagnose(model.white(), model.data.train, model.data.held, budget_seconds=20)
    stages = [b.stage for b in diagnosis.budget]
    assert stages == ["units", "encoder", "rate", "decoder and objective", "train to held-out"]
    rungs = {r.id: r for r in diagnosis.ladder}
    assert set(rungs) >= {"R0", "R1", "R2", "R3", "R4a", "R4b", "R5", "model"}
    assert rungs["R0"].mse == pytest.approx(2 * rungs["R1"].mse, rel=0.1)
    assert rungs["R4b"].mse < rungs["R4a"].mse
    assert rungs["R5"].mse < 0.05 * rungs["R1"].mse


def foreign(quantizer) -> Subject:
    """Wrap a vector-quantize-pytorch quantiser, which works on (B, n, d), as its users do."""
    encoder, decoder = torch.nn.Conv2d(1, 8, 2, 2), torch.nn.ConvTranspose2d(8, 1, 2, 2)

    def quantize(h):
        z, codes, loss = quantizer(h.flatten(2).transpose(1, 2))
        return (
            z.transpose(1, 2).reshape(h.shape),
            codes.reshape(len(h), 4, 4, *codes.shape[2:]),
            loss,
        )

    def encode(x):
        h = encoder(x)
        z, codes, _ = quantize(h)
        return Latent(mean=h, codes=codes, quantized=z)

    def losses(x):
        z, _, commit = quantize(encoder(x))
        return {"recon": (decoder(z) - x).square().mean(), "commit": commit.sum()}

    modules = {"encoder": encoder, "decoder": decoder, "quantizer": quantizer}
    return Subject(encode, decoder, modules=modules, loss_terms=losses)


@pytest.mark.parametrize(
    ("name", "options", "gain"),
    [
        ("VectorQuantize", {}, 1),
        ("VectorQuantize", {"codebook_dim": 4}, 1),
        ("VectorQuantize", {"rotation_trick": True}, 1),
        ("ResidualVQ", {"num_quantizers": 4, "rotation_trick": False}, 4),
    ],
)
def test_the_gain_of_foreign_quantisers_is_measured_in_their_code_space(name, options, gain):
    import vector_quantize_pytorch as library

    torch.manual_seed(0)
    subject = foreign(getattr(library, name)(dim=8, codebook_size=16, **options))
    samples = Samples(torch.rand(64, 1, 8, 8), None, "")
    with torch.no_grad():
        found = straight_through(build_case(subject, samples, None, Clock(20), None))
    assert found is not None
    assert found.gain == pytest.approx(gain, abs=0.06)
    assert found.likeness > 0.99
