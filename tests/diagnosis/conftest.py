"""Models trained once for all diagnosis tests."""

import functools

import diagnosis_zoo as zoo
import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Small tensors are fastest, and reproducible, on one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def trained():
    """Return a function that trains each model once: trained(name)."""
    data = functools.cache(zoo.digits)

    @functools.cache
    def build(name: str) -> zoo.Trained:
        small = {"conv": False, "steps": 350}
        if name == "ae":
            return zoo.train(data(), "ae", 12, **small)
        if name == "vae":
            return zoo.train(data(), "vae", 8, weight=2e-4, **small)
        if name == "starved":
            return zoo.train(data(), "vae", 8, weight=8e-3, **small)
        if name == "collapsed":
            return zoo.train(data(), "vae", 8, weight=1.0, **small)
        if name == "young":
            return zoo.train(data(), "vae", 8, weight=2e-4, conv=False, steps=40, horizon=1000)
        if name == "sigmoid":
            head = torch.nn.Sigmoid()
            return zoo.train(zoo.digits(-1, 1), "ae", 12, head=head, **small)
        if name in ("loud", "even"):
            stacks = zoo.stacks(loud=50.0 if name == "loud" else 1.0)
            return zoo.train(stacks, "ae", 96, **small)
        if name in ("once", "per level"):
            return zoo.train(data(), "rvq", 4, codes=32, levels=3, path=name, width=16, steps=200)
        if name == "dead":
            return zoo.train(data(), "vq", 4, codes=32, path="dead", width=16, steps=200)
        if name == "audio":
            return zoo.train(zoo.waves(128, 600), "ae", 4, width=16, steps=250)
        raise KeyError(name)

    return build
