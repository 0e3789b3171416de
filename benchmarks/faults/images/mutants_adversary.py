"""Faults of adversarial training: a discriminator that outweighs, gradients that leak into it."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import time

import torch
from benchmarks.faults.contract import Mutant, Specimen, Trained
from benchmarks.faults.images.adversary import BATCH, AdversarialAE, Alternate
from benchmarks.faults.images.training import specimen, twin
from benchmarks.faults.measure import both, loses
from torch import Tensor


def handed_over(model: AdversarialAE, healthy: Trained, alternate: Alternate, **facts) -> Specimen:
    """Hand over a model with its discriminator and its own training step."""
    made = specimen(
        model,
        healthy,
        discriminator=model.critic,
        training_step=alternate,
        modules={"encoder": model.encoder, "decoder": model.decoder},
        **facts,
    )
    both_optimizers = [alternate.generator, alternate.critic]
    return dataclasses.replace(
        made, subject=dataclasses.replace(made.subject, optimizers=both_optimizers)
    )


def heavy_adversary(healthy: Trained, seed: int) -> Specimen:
    """An adversarial weight copied from a model whose error is a sum."""
    model = twin(healthy)
    model.adversary = 100 * model.adversary
    return _alternated(model, healthy, Alternate(model, 1e-3, 1e-3))


def strong_critic(healthy: Trained, seed: int) -> Specimen:
    """A discriminator at ten times the rate, three steps for each of the generator's."""
    model = twin(healthy)
    model.adversary = 40 * model.adversary
    return _alternated(model, healthy, Alternate(model, 5e-4, 5e-3))


def leaking_critic(healthy: Trained, seed: int) -> Specimen:
    """zero_grad after the discriminator's step: the generator's gradients are stepped on too."""
    model = twin(healthy)
    model.adversary = 10 * model.adversary
    return _alternated(model, healthy, Alternate(model, 5e-4, 2e-3, clear=False))


def _alternated(
    model: AdversarialAE,
    healthy: Trained,
    alternate: Alternate,
    steps: int = 400,
    seconds: float = 12,
) -> Specimen:
    """Train on for a while; keep the discriminator's accuracy as history."""
    accuracies: list[float] = []
    started = time.process_time()
    model.train()
    for index in itertools.count():
        if index >= steps or time.process_time() - started > seconds:
            break
        x = healthy.train[torch.randint(len(healthy.train), (BATCH,))]
        alternate(x)
        if index % 40 == 0:
            accuracies.append(accuracy(model, x))
    model.eval()
    return handed_over(model, healthy, alternate, history={"discriminator_accuracy": accuracies})


def accuracy(model: AdversarialAE, x: Tensor) -> float:
    """Return the share of images and reconstructions that the discriminator tells apart."""
    with torch.no_grad():
        real, fake = model.critic(x), model.critic(model.decode(model.encode(x)))
    return float(((real > 0).float().mean() + (fake < 0).float().mean()) / 2)


def adversary_outweighs(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
    """‖∇adversarial‖ over ‖∇reconstruction‖ at the decoder's last layer, by hand."""
    loss, model = mutant.subject.loss_terms, mutant.model
    assert loss is not None
    assert model is not None
    terms = loss(mutant.train[:32])
    weight = model.decoder[-1].weight
    adversarial, recon = (
        float(torch.autograd.grad(terms[n], weight, retain_graph=True)[0].norm())
        for n in ("adversarial", "recon")
    )
    return adversarial > 2 * recon, f"‖∇adv‖/‖∇rec‖ = {adversarial / recon:.2g} at the last layer"


def critic_holds_gradients(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
    """The discriminator's gradient as its step sees it, against one taken afresh."""
    step = mutant.subject.training_step
    assert isinstance(step, Alternate)
    model, state = step.model, copy.deepcopy(step.model.state_dict())
    x = mutant.train[:32]
    model.zero_grad()
    torch.stack(list(model.loss_terms(x).values())).sum().backward()
    left = sum(float(p.grad.norm()) for p in model.critic.parameters() if p.grad is not None)
    if step.clear:
        left = 0.0
    model.zero_grad()
    model.load_state_dict(state)
    return left > 0, f"the discriminator's step starts from a gradient of norm {left:.3g}"


# fmt: off
MUTANTS = [
    Mutant("cifar-adversarial/heavy-adversary", "cifar-adversarial", ("discriminator-dominates",),
           heavy_adversary, both(loses(0.5), adversary_outweighs)),
    Mutant("cifar-adversarial/strong-critic", "cifar-adversarial", ("discriminator-dominates",),
           strong_critic, both(loses(0.5), adversary_outweighs)),
    Mutant("cifar-adversarial/leaking-critic", "cifar-adversarial", ("gan-gradient-leak",),
           leaking_critic, critic_holds_gradients),
]
