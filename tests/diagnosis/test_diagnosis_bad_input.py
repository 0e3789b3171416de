"""Models and data that misbehave: a finding or a clear message, never a traceback or a hang."""

import random
import threading
import time

import numpy as np
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
    # The first model of a process pays for its warm-up: time for that on a busy machine too.
    found = diagnose(Subject(encode, decode), samples(), samples().flip(0), budget_seconds=60)
    assert asserted(found) == {"split-leak"}


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


# --- data -----------------------------------------------------------------------------------------


def test_a_loader_that_never_ends_is_read_for_a_while():
    def forever():
        while True:
            yield samples(32)

    diagnosis = diagnose(Subject(encode, decode), forever(), budget_seconds=4)
    assert 16 <= diagnosis.samples <= 2048


def test_a_loader_that_hangs_is_given_up_with_a_clear_message():
    halted = threading.Event()

    def hanging():
        yield samples(2)
        halted.wait(60)

    start = time.monotonic()
    try:
        with pytest.raises(PellucidError, match="stopped yielding"):
            diagnose(Subject(encode, decode), hanging(), budget_seconds=2)
    finally:
        halted.set()
    assert time.monotonic() - start < 15


def test_a_loader_that_breaks_early_is_used_as_far_as_it_went():
    def breaking():
        yield samples(24)
        raise OSError("connection lost")

    diagnosis = diagnose(Subject(encode, decode), breaking(), budget_seconds=4)
    assert any("connection lost" in note for note in diagnosis.notes)


def test_a_loader_that_breaks_at_once_is_refused_with_its_own_words():
    def breaking():
        raise OSError("no such folder")
        yield

    with pytest.raises(PellucidError, match="no such folder"):
        diagnose(Subject(encode, decode), breaking(), budget_seconds=4)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (torch.zeros(0, 1, 8, 8), "no samples"),
        (torch.zeros(32, 1, 8, 8), "all samples are the same"),
        (torch.full((32, 1, 8, 8), torch.nan), "NaN"),
        (samples().to(torch.complex64), "real numbers"),
        ([], "no samples"),
        (["a", "b"], "no tensor"),
        (7, "cannot read samples"),
    ],
)
def test_data_that_teach_nothing_are_refused(x, words):
    with pytest.raises(PellucidError, match=words):
        diagnose(Subject(encode, decode), x, budget_seconds=4)


# --- models ---------------------------------------------------------------------------------------


class Outputs(dict):
    """What some libraries return: a dictionary with attributes."""

    __getattr__ = dict.__getitem__


@pytest.mark.parametrize(
    ("enc", "dec"),
    [
        (lambda x: (encode(x), {"info": 1}), lambda z: (decode(z), torch.zeros(()))),
        (lambda x: {"latent": encode(x)}, lambda z: {"recon": decode(z), "loss": torch.ones(())}),
        (lambda x: Outputs(mean=encode(x)), lambda z: Outputs(sample=decode(z))),
        (lambda x: [encode(x), None], lambda z: [decode(z)]),
    ],
)
def test_tuples_and_dictionaries_are_understood(enc, dec):
    assert asserted(run(enc, dec)) == {"split-leak"}


@pytest.mark.parametrize("answer", [None, "z", {"a": 1}, (), 3.0])
def test_what_is_no_latent_is_refused(answer):
    with pytest.raises(PellucidError, match="encode"):
        run(enc=lambda x: answer)


@pytest.mark.parametrize("answer", [None, "x", {"a": 1}, ()])
def test_what_is_no_reconstruction_is_refused(answer):
    with pytest.raises(PellucidError, match="reconstruction"):
        run(dec=lambda z: answer)


def test_one_number_for_a_whole_batch_is_no_latent():
    with pytest.raises(PellucidError, match="encode"):
        run(enc=lambda x: x.mean())


def test_an_output_without_its_batch_is_refused():
    with pytest.raises(PellucidError, match="number of samples"):
        run(dec=lambda z: decode(z)[:1])


def test_a_decoder_that_changes_its_input_in_place_changes_nothing_else():
    def careless(z):
        z -= 5
        return decode(z + 5)

    assert asserted(run(dec=careless)) == {"split-leak"}


def test_an_encoder_that_changes_its_input_in_place_is_noted_and_judged_fairly():
    def careless(x):
        x -= 0.5
        return x.flatten(1) @ torch.linalg.pinv(MIX).T.to(x)

    diagnosis = run(enc=careless)
    assert asserted(diagnosis) == {"split-leak"}


def test_an_encoder_that_draws_and_counts_leaves_no_trace():
    class Counting(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.calls = 0
            self.register_buffer("seen", torch.zeros(()))

        def encode(self, x):
            self.calls += 1
            self.seen += len(x)
            torch.rand(3), np.random.rand(), random.random()  # noqa: NPY002
            return encode(x)

        def decode(self, z):
            return decode(z)

    model, torch_state = Counting(), torch.get_rng_state()
    numpy_state, python_state = np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    diagnose(model, samples(), samples().flip(0), budget_seconds=4)
    assert model.calls == 0
    assert float(model.seen) == 0
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002
    assert random.getstate() == python_state


def test_a_slow_model_keeps_the_budget():
    def slow(x):
        end = time.monotonic() + 0.02 * len(x)
        while time.monotonic() < end:
            pass
        return encode(x)

    start = time.monotonic()
    diagnosis = diagnose(Subject(slow, decode), samples(), samples().flip(0), budget_seconds=3)
    assert time.monotonic() - start < 7
    assert any(n.needs == "time budget" for n in diagnosis.not_tested)


def test_a_model_whose_parameters_are_all_frozen_is_diagnosed():
    model = torch.nn.Linear(64, 16).requires_grad_(False)
    back = torch.nn.Linear(16, 64).requires_grad_(False)
    diagnosis = run(
        lambda x: model(x.flatten(1)),
        lambda z: back(z).view(-1, 1, 8, 8),
        modules={"encoder": model, "decoder": back},
        loss_terms=lambda x: {"mse": (back(model(x.flatten(1))) - x.flatten(1)).square().mean()},
    )
    assert len(diagnosis.tested) > 5
    assert not model.weight.requires_grad


def test_a_model_that_is_only_right_in_training_mode_does_not_break():
    class Moody(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = torch.nn.BatchNorm1d(16)

        def encode(self, x):
            return self.norm(encode(x))

        def decode(self, z):
            if not self.training:
                z = z * 0.5
            return decode(z)

    model = Moody().train()
    diagnose(model, samples(), samples().flip(0), budget_seconds=4)
    assert model.training
    assert model.norm.training
    assert int(model.norm.num_batches_tracked) == 0


def test_loss_terms_that_break_leave_their_rows_untested():
    def broken(x):
        raise KeyError("label")

    layer = torch.nn.Linear(16, 64)
    diagnosis = run(
        dec=lambda z: decode(z) + 0 * layer(z).view(-1, 1, 8, 8),
        modules={"decoder": layer},
        loss_terms=broken,
    )
    reasons = {n.id: n.needs for n in diagnosis.not_tested}
    assert "KeyError" in reasons["inert-loss"]


def test_codes_that_the_decoder_refuses_leave_a_diagnosis():
    book = torch.randn(32, 16, generator=torch.Generator().manual_seed(3))

    def quantised(x):
        z = encode(x)
        codes = torch.cdist(z, book).argmin(1)
        return Latent(z, codes=codes, quantized=book[codes])

    def strict(z):
        # Not cdist: by way of a matrix product, a code's distance to itself may exceed 1e-3.
        near = (z[:, None] - book).square().sum(-1).min(1).values
        if float(near.max()) > 1e-6:
            raise IndexError("index out of range in self")
        return decode(z)

    diagnosis = run(quantised, strict, codebook=book)
    assert "codebook-collapse" in diagnosis.tested
    assert diagnosis.to_json()


def test_codes_out_of_range_in_some_samples_are_refused_with_both_ranges():
    table = torch.randn(8, 16, generator=torch.Generator().manual_seed(4))

    def encode_loud(x):
        codes = (x.amax((1, 2, 3)) > 4).long() * 9
        return Latent(table[codes.clamp_max(7)], codes=codes, quantized=codes[:, None].float())

    x = samples(160)
    x[150:] += 9
    with pytest.raises(PellucidError, match=r"codes 0 to 9 there, 0 to 0 in the samples that pass"):
        run(encode_loud, lambda z: decode(table[z[:, 0].long()]), x=x.flip(0))
