"""Models and data that misbehave: a finding or a clear message, never a traceback or a hang."""

import pytest
import torch

from pellucid.diagnosis import Subject, diagnose
from pellucid.errors import PellucidError
from pellucid.records import Latent

MIX = torch.randn(64, 16, generator=torch.Generator().manual_seed(0)) / 8


def samples(count: int = 48):
    generator = torch.Generator().manual_seed(1)
    return (torch.randn(count, 16, generator=generator) @ MIX.T / 2 + 0.5).view(count, 1, 8, 8)


def encode(x):
    return (x.flatten(1) - 0.5) @ torch.linalg.pinv(MIX).T.to(x)


def decode(z):
    return (z @ MIX.T.to(z) + 0.5).view(-1, 1, 8, 8)


def run(enc=encode, dec=decode, x=None, **more):
    x = samples() if x is None else x
    return diagnose(Subject(enc, dec, **more), x, x.flip(0), budget_seconds=4)


def asserted(diagnosis):
    return {f.id for f in diagnosis.findings if f.asserted}


def test_a_perfect_linear_autoencoder_is_healthy_apart_from_its_leaking_split():
    assert asserted(run()) == {"split-leak"}


def test_shapes_that_disagree_are_refused_with_both_shapes():
    with pytest.raises(PellucidError, match=r"\(1, 8, 8\)(.|\n)*\(1, 4, 4\)"):
        run(dec=lambda z: decode(z)[..., :4, :4])


def test_an_output_a_little_too_short_is_a_finding():
    x = torch.randn(32, 1, 200)
    diagnosis = diagnose(Subject(lambda x: x, lambda z: z[..., :192]), x, budget_seconds=4)
    assert "misalignment" in asserted(diagnosis)


def test_a_model_of_one_batch_size_is_run_at_it():
    def strict(x):
        assert len(x) == 8, "only batches of eight"
        return encode(x)

    assert run(enc=strict).samples >= 16


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_a_model_of_one_dtype_is_run_in_it(dtype):
    weight = torch.linalg.pinv(MIX).T.to(dtype)
    assert run(enc=lambda x: (x.flatten(1) - 0.5) @ weight).samples == 48


def test_a_model_that_never_runs_is_refused_with_its_own_words():
    def broken(x):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(PellucidError, match="cannot be multiplied"):
        run(enc=broken)


def test_not_a_number_is_a_finding_that_names_its_stage():
    diagnosis = run(dec=lambda z: decode(z) / 0 * 0)
    assert asserted(diagnosis) == {"nan-or-overflow"}
    assert "decode" in diagnosis.findings[0].summary
    assert diagnosis.to_json()


def test_a_decoder_that_breaks_on_unusual_latents_leaves_rows_untested_with_its_words():
    def fragile(z):
        if float(z.abs().max()) > 5 * float(encode(samples()).abs().max()):
            raise IndexError("index out of range in self")
        return decode(z)

    diagnosis = run(dec=fragile)
    reasons = {n.id: n.needs for n in diagnosis.not_tested}
    assert "index out of range" in reasons["range-mismatch"]


def test_an_encoder_that_never_answers_twice_alike_is_noted():
    diagnosis = run(enc=lambda x: encode(x) + 0.2 * torch.randn(len(x), 16))
    assert any("differently" in note for note in diagnosis.notes)


def test_a_decoder_without_gradients_is_diagnosed_without_r4():
    diagnosis = run(dec=lambda z: decode(z).detach())
    assert "R4b" not in {r.id for r in diagnosis.ladder}
    assert any("R4" in note for note in diagnosis.notes)


def test_latents_of_two_shapes_are_refused():
    with pytest.raises(PellucidError, match="disagree in shape"):
        run(enc=lambda x: Latent(encode(x), logvar=encode(x)[:, :3]))


@pytest.mark.parametrize("budget", [0, -1])
def test_a_budget_must_be_positive(budget):
    with pytest.raises(PellucidError, match="must be positive"):
        diagnose(Subject(encode, decode), samples(), budget_seconds=budget)
