"""A tuned decoder is better on codes, the run's own is untouched, an interruption goes on."""

from __future__ import annotations

import copy

import pytest
import torch
from fitted_run import run_with_latents

from pellucid.codebooks import Codebook
from pellucid.codebooks.rules import Nearest
from pellucid.codebooks.scoring import held_out
from pellucid.codebooks.tuning import CodedSamples, budget, tune
from pellucid.errors import RunError
from pellucid.objectives import TERMS
from pellucid.objectives.objective import Objective, Weighted
from pellucid.run_folder import RunFolder


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    _, model, latents, data = run_with_latents(tmp_path_factory.mktemp("tuning"))
    rows = torch.tensor(latents.splits["train"].mean).flatten(2).transpose(1, 2).reshape(-1, 3)
    vectors = rows[:12].clone()
    return Codebook("x", vectors, Nearest(vectors), model), latents, data


def objective(data):
    return Objective({"l2": Weighted(TERMS["l2"](), 1.0)}, data.value_range)


def test_samples_are_the_codes_of_the_augmented_image(book):
    book, _, data = book
    coded = CodedSamples(data.train, book)
    for address in ((3, 0), (3, 5)):
        plain, found = data.train[address], coded[address]
        mean = book.autoencoder.encode(plain["x"][None]).mean
        assert torch.equal(found["x"], book.lookup(book.encode(mean))[0])
        assert torch.equal(found["target"], plain["target"])


def test_tuning_wins_on_codes_and_leaves_the_model_alone(book, tmp_path):
    book, latents, data = book
    before = copy.deepcopy(book.autoencoder.state_dict())
    decoder = tune(
        book, objective(data), data, RunFolder(tmp_path / "t"), steps=60, batch_size=16,
        learning_rate=3e-3, threads=1, progress=False,
    )  # fmt: skip
    for name, value in book.autoencoder.state_dict().items():
        assert torch.equal(value, before[name]), name
    samples = held_out(data.test, latents.splits["test"], data.value_range)
    found = budget(book, decoder, samples)
    assert found["psnr_after"].value > found["psnr_before"].value + 1
    if "closed" in found:
        lost = found["psnr_mean"].value - found["psnr_before"].value
        won = found["psnr_after"].value - found["psnr_before"].value
        assert found["closed"].value == pytest.approx(won / lost)


def test_the_same_decoder_closes_nothing(book):
    book, latents, data = book
    samples = held_out(data.test, latents.splits["test"], data.value_range)
    found = budget(book, book.autoencoder.decoder, samples)
    assert found["psnr_after"].value == found["psnr_before"].value


def test_an_interrupted_tuning_goes_on(book, tmp_path, monkeypatch):
    book, _, data = book
    how = {"steps": 12, "batch_size": 8, "threads": 1, "progress": False}
    whole = tune(book, objective(data), data, RunFolder(tmp_path / "whole"), **how)
    place = RunFolder(tmp_path / "cut")
    seen = CodedSamples.__getitems__
    calls = []

    def broken(self, addresses):
        calls.append(1)
        if len(calls) == 9:
            raise RuntimeError("the machine went down")
        return seen(self, addresses)

    monkeypatch.setattr(CodedSamples, "__getitems__", broken)
    with pytest.raises(RuntimeError, match="went down"):
        tune(book, objective(data), data, place, **how)
    monkeypatch.setattr(CodedSamples, "__getitems__", seen)
    again = tune(book, objective(data), data, place, **how)
    for name, value in whole.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_a_stopped_tuning_says_how_to_go_on(book, tmp_path, monkeypatch):
    from pellucid.codebooks import tuning
    from pellucid.training.record import FitResult

    book, _, data = book
    stopped = FitResult("stopped", 3, 1.0, "last", 3, "raw", None, "SIGINT")
    monkeypatch.setattr(tuning, "fit", lambda *_, **__: stopped)
    with pytest.raises(RunError, match="step 3 of 12"):
        tune(book, objective(data), data, RunFolder(tmp_path / "s"), steps=12)
