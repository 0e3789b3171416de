"""Laws of the snapshot: whatever happens inside, everything is as before, bit for bit."""

import copy
import functools
import random

import numpy as np
import pytest
import torch
from torch import nn

from pellucid.diagnosis.reachable import reachable
from pellucid.diagnosis.snapshot import Snapshot


class Counting(nn.Module):
    """A module with a buffer it replaces, a counter, a cache and a list."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.norm = nn.BatchNorm1d(3)
        self.register_buffer("average", torch.zeros(3))
        self.calls, self.log = 0, [1.0]

    def forward(self, x):
        self.calls += 1
        self.log.append(2.0)
        self.average = 0.5 * self.average + x.mean(0).detach()  # a new tensor object
        self.cache = x
        return self.norm(self.linear(x))


def state(model, optimizer):
    """Everything that could differ, as comparable copies."""
    return {
        "tensors": {k: v.clone() for k, v in model.state_dict().items()},
        "ids": {k: id(v) for k, v in (*model.named_parameters(), *model.named_buffers())},
        "grads": {
            k: None if p.grad is None else p.grad.clone() for k, p in model.named_parameters()
        },
        "requires": {k: p.requires_grad for k, p in model.named_parameters()},
        "modes": [m.training for m in model.modules()],
        "optimizer": copy.deepcopy(optimizer.state_dict()),
        "plain": (model.calls, list(model.log), hasattr(model, "cache")),
        "rng": (torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()),  # noqa: NPY002
    }


def same(a, b) -> bool:
    """Compare nested states exactly."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return bool((a == b).all())
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def ravage(model, optimizer) -> None:
    """Do everything a probe could do, and worse."""
    model.eval()
    for _ in range(3):
        optimizer.zero_grad()
        model.train()(torch.randn(8, 3)).square().sum().backward()
        optimizer.step()
    optimizer.param_groups[0]["lr"] = 99.0
    model.linear.weight.requires_grad_(False)
    model.linear.bias.grad = None
    model.extra = nn.Linear(2, 2)
    np.random.rand()  # noqa: NPY002
    random.random()


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize(
    "kind", [torch.optim.Adam, functools.partial(torch.optim.SGD, momentum=0.9)]
)
def test_everything_is_restored_bit_for_bit(kind, fails):
    torch.manual_seed(0)
    model = Counting()
    optimizer = kind(model.parameters(), lr=0.1)
    model(torch.randn(8, 3)).sum().backward()
    optimizer.step()
    del model.cache
    before = state(model, optimizer)
    grad_object = model.linear.weight.grad
    try:
        with Snapshot(reachable([model, optimizer])):
            ravage(model, optimizer)
            if fails:
                raise RuntimeError("a probe that breaks")
    except RuntimeError:
        assert fails
    after = state(model, optimizer)
    for key in before:
        assert same(before[key], after[key]), key
    assert model.linear.weight.grad is grad_object
    assert not hasattr(model, "extra")


def test_training_continues_as_if_nothing_had_happened():
    def run(disturb: bool):
        torch.manual_seed(1)
        model = Counting()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for step in range(6):
            if disturb and step == 3:
                with Snapshot(reachable([model, optimizer])):
                    ravage(model, optimizer)
            optimizer.zero_grad()
            model(torch.randn(8, 3)).square().sum().backward()
            optimizer.step()
        return model.state_dict()

    assert same(run(False), run(True))


def test_modules_are_found_behind_closures_methods_partials_and_containers():
    hidden, bound, wrapped, listed = (nn.Linear(1, 1) for _ in range(4))

    class Holder:
        def __init__(self):
            self.parts = {"a": [listed]}

        def encode(self, x):
            return self.parts["a"][0](x)

    def call(module, x):
        return module(x)

    found = reachable(
        [lambda x: hidden(x), bound.forward, functools.partial(call, wrapped), Holder().encode]
    ).modules
    assert {id(m) for m in found} == {id(m) for m in (hidden, bound, wrapped, listed)}


def test_loose_codebooks_are_restored_too():
    book = torch.randn(4, 2)
    before = book.clone()
    with Snapshot(reachable([lambda: book])):
        book.add_(1)
    assert torch.equal(book, before)
