"""The small parts: schedule, groups, averages, generators, selection, batches, agreement."""

from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pytest
import torch
from tiny_training import TinyImages, tiny_model

from pellucid.data.order import EpochOrder
from pellucid.errors import RecipeError
from pellucid.training import rng
from pellucid.training.agreement import StepAgreement
from pellucid.training.batches import training_loader, validation_loader
from pellucid.training.ema import WeightAverage
from pellucid.training.optimizer import (
    build_optimizer,
    learning_rate_factor,
    match_layout,
    parameter_groups,
)
from pellucid.training.selection import Selection

CPU = torch.device("cpu")


def test_learning_rate_warms_up_then_falls_along_a_cosine():
    shape = {"steps": 100, "warmup_steps": 9, "final": 0.1}
    factors = [learning_rate_factor(step, **shape) for step in range(101)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9] == 1.0
    assert factors[100] == pytest.approx(0.1)
    middle = 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * 40 / 91))
    assert factors[49] == pytest.approx(middle)
    assert all(a < b for a, b in itertools.pairwise(factors[:10]))
    assert all(a > b for a, b in itertools.pairwise(factors[9:]))


def test_norms_biases_and_codebooks_are_not_decayed():
    model = tiny_model()
    model.bottleneck.codebook = torch.nn.Parameter(torch.zeros(4, 8))
    model.encoder.first.weight.requires_grad_(False)
    decayed, plain = parameter_groups(model, 0.1)
    names = {id(p): name for name, p in model.named_parameters()}
    assert {names[id(p)] for p in decayed["params"]} == {
        "encoder.second.weight",
        "decoder.first.weight",
        "decoder.last_layer.weight",
    }
    assert plain["weight_decay"] == 0
    assert "bottleneck.codebook" in {names[id(p)] for p in plain["params"]}


def test_restored_moments_take_their_parameters_layout():
    torch.manual_seed(0)
    weights = [torch.nn.Parameter(torch.randn(4, 3, 3, 3)) for _ in range(2)]
    weights[1].data = weights[0].detach().clone(memory_format=torch.channels_last)
    optimizers = [torch.optim.AdamW([weight], fused=True) for weight in weights]
    for step in range(3):
        for weight, optimizer in zip(weights, optimizers, strict=True):
            gradient = torch.full_like(weight, 0.1) * torch.arange(27.0).view(1, 3, 3, 3)
            weight.grad = gradient
            if step == 2:
                for state in optimizer.state.values():
                    state["exp_avg"] = state["exp_avg"].contiguous()
                match_layout(optimizer)
            optimizer.step()
    assert torch.equal(weights[0], weights[1])


def test_average_follows_its_closed_form_and_swaps_exactly():
    model = torch.nn.Linear(1, 1, bias=False)
    average = WeightAverage(model, decay=0.9)
    expected = model.weight.item()
    for step in range(1, 200):
        model.weight.data.fill_(float(step))
        average.update(step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    raw = model.weight.detach().clone()
    with average.swapped_in():
        assert model.weight.item() == pytest.approx(expected, rel=1e-5)
        assert model.weight.is_leaf
    assert torch.equal(model.weight, raw)
    restored = WeightAverage(model, decay=0.9)
    restored.load_state_dict(average.state_dict())
    assert torch.equal(restored.state_dict()["weight"], average.state_dict()["weight"])


def test_generators_come_back_exactly():
    rng.seed_all(3)
    random.gauss(0, 1)
    np.random.standard_normal()  # noqa: NPY002
    state = rng.capture(CPU)
    draws = [
        (torch.randn(3).tolist(), np.random.standard_normal(3).tolist(), random.gauss(0, 1))  # noqa: NPY002
        for _ in range(2)
        if rng.restore(state, CPU) is None
    ]
    assert draws[0] == draws[1]
    with rng.preserved(CPU):
        torch.randn(5)
        random.random()
    assert torch.randn(3).tolist() != draws[0][0]


def test_selection_follows_the_right_direction():
    up, down = Selection("psnr", patience=2), Selection("terms.l1.value")
    assert up.maximises
    assert not down.maximises
    assert Selection("bottleneck.perplexity").maximises
    assert [up.take({"psnr": v}, k) for k, v in enumerate([1.0, math.nan, 2.0, 1.5])] == [
        True,
        False,
        True,
        False,
    ]
    assert not up.exhausted
    up.take({"psnr": 2.0}, 4)
    assert up.exhausted
    assert (up.best, up.best_step) == (2.0, 2)
    assert down.take({"terms.l1.value": 1.0}, 0)
    assert down.take({"terms.l1.value": 0.5}, 1)
    with pytest.raises(RecipeError, match="did you mean 'psnr'"):
        Selection("pnsr").check_name(["psnr", "total"])


def test_loaders_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    order = EpochOrder(24, 4, 0, start_step=3)
    batches = list(training_loader(TinyImages(), order, count=4, workers=0, pin_memory=False))
    assert [batch["index"].tolist() for batch in batches] == [
        [index for index, _ in order.batch(step)] for step in range(3, 7)
    ]
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("n", [1, 7, 8, 9, 17])
def test_validation_counts_every_sample_once_in_equally_many_batches(n):
    counted, lengths = [], []
    for rank in range(3):
        loader, weights = validation_loader(
            TinyImages(n), batch_size=4, rank=rank, world=3, pin_memory=False
        )
        batches = list(loader)
        lengths.append(len(batches))
        for batch, weight in zip(batches, weights, strict=True):
            assert weight in (0, len(batch["index"]))
            counted += batch["index"].tolist() if weight else []
    assert sorted(counted) == list(range(n))
    assert len(set(lengths)) == 1


def test_a_lagged_agreement_freezes_the_weights_until_it_is_read():
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = build_optimizer(
        torch.nn.ParameterList([weight]), learning_rate=0.1, betas=(0.9, 0.99), weight_decay=0.0
    )
    agreement = StepAgreement(lagged=True)
    answers, values = [], []
    for bad in (False, True, False):
        weight.grad = torch.ones(3) * (math.nan if bad else 1)
        answers.append(agreement.exchange(torch.tensor(bad), [optimizer])[0])
        optimizer.step()
        values.append(weight[0].item())
    assert answers == [False, False, True]
    assert values[0] < 1
    assert values[1] == values[0] == values[2]
    assert agreement.settle()
