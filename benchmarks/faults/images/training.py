"""Train, fine-tune and hand over: the few steps that every base, mutant and control shares."""

from __future__ import annotations

import copy
import itertools
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from benchmarks.faults.contract import Base, Specimen, Trained
from benchmarks.faults.images.networks import Quantizer
from benchmarks.faults.measure import held_out_mse
from torch import Tensor, nn

from pellucid.diagnosis import Subject

Loss = Callable[[Tensor], Mapping[str, Tensor]]

BATCH = 32


def base(name: str, build: Callable[[int], Trained], *, steps: int) -> Base:
    """Return a base that is trained with Adam under a cosine schedule."""

    def train(seed: int) -> Trained:
        built = build(seed)
        fit(built, steps)
        return built

    return Base(name, "images", train, build)


def fit(built: Trained, steps: int) -> None:
    """Train a model on its own loss; codebooks start at the encoder's outputs."""
    model = built.model
    quantizer = getattr(model, "quantizer", None)
    if isinstance(quantizer, Quantizer):
        warm = steps // 10  # an encoder that does something gives codebooks a better start
        _descend(model, _unquantized(model), built.train, built.learning_rate, warm)
        with torch.no_grad():
            quantizer.start_at(model.encoder(built.train[:512]))
    _descend(model, model.loss_terms, built.train, built.learning_rate, steps)
    model.eval()


def _unquantized(model: Any) -> Loss:
    return lambda x: {"recon": model.error(model.decode(model.encoder(x)), x)}


def _descend(model: nn.Module, loss: Loss, x: Tensor, learning_rate: float, steps: int) -> None:
    """Take Adam steps under a cosine schedule that ends at a fiftieth."""
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, learning_rate / 50)
    model.train()
    for _ in range(steps):
        step(loss, [optimizer], x[torch.randint(len(x), (BATCH,))])
        schedule.step()


def step(loss: Loss, optimizers: Iterable[torch.optim.Optimizer], x: Tensor) -> None:
    """Take one optimisation step on the sum of all terms."""
    for optimizer in optimizers:
        optimizer.zero_grad()
    torch.stack([term.reshape(()) for term in loss(x).values()]).sum().backward()
    for optimizer in optimizers:
        optimizer.step()


def twin(healthy: Trained) -> Any:
    """Return a copy of a trained model that may be changed."""
    return copy.deepcopy(healthy.model)


def fine_tune(
    model: nn.Module,
    loss: Loss,
    x: Tensor,
    *,
    learning_rate: float,
    steps: int = 600,
    seconds: float = 15.0,
    parameters: Iterable[nn.Parameter] | None = None,
) -> torch.optim.Optimizer:
    """Train on, to an annealed end, within the time a mutant has; return the optimiser as left."""
    optimizer = torch.optim.Adam(parameters or model.parameters(), lr=learning_rate)
    started = time.process_time()  # work, not waiting: a busy machine trains no less
    model.train()
    for done in itertools.count():
        spent = max(done / steps, (time.process_time() - started) / seconds)
        if spent >= 1:
            break
        for group in optimizer.param_groups:  # a ramp down to a twentieth, whichever ends first
            group["lr"] = learning_rate * max(1 - spent, 0.05)
        step(loss, [optimizer], x[torch.randint(len(x), (BATCH,))])
    model.eval()
    return optimizer


def finished(model: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
    """Return an optimiser as it stands at the end of an annealed training."""
    return torch.optim.Adam(model.parameters(), lr=learning_rate / 50)


def specimen(
    model: Any,
    healthy: Trained,
    *,
    optimizer: torch.optim.Optimizer | None = None,
    train: Tensor | None = None,
    validation: Tensor | None = None,
    goal: str | None = None,
    **facts: Any,
) -> Specimen:
    """Hand over a model with everything its user has; keywords override `Subject`'s.

    A keyword of value None withholds what would be given otherwise.
    """
    train = healthy.train if train is None else train
    validation = healthy.validation if validation is None else validation
    given: dict[str, Any] = {
        "encode": model.encode,
        "decode": model.decode,
        "modules": {n: m for n, m in model.named_children() if any(True for _ in m.parameters())},
        "loss_terms": model.loss_terms,
        "optimizers": [optimizer or finished(model, healthy.learning_rate)],
        "codebook": codebooks(model),
        **healthy.facts,
        **facts,
    }
    subject = Subject(given.pop("encode"), given.pop("decode"), **given)
    mse = held_out_mse(subject, validation)
    return Specimen(subject, train, validation, mse, goal=goal, model=model)


def codebooks(model: Any) -> list[Tensor] | None:
    """Return the live codebooks of a model with a `Quantizer`, one per level."""
    quantizer = getattr(model, "quantizer", None)
    return list(quantizer.books.detach()) if isinstance(quantizer, Quantizer) else None
