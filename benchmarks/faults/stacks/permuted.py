"""Graph autoencoders whose latents are meant not to see how a tile lies, and what breaks that.

Shape letters: N tiles, C channels, H and W pixels.
"""

from __future__ import annotations

import copy
import functools

import torch
from benchmarks.faults.contract import Base, Control, Mutant, Specimen, Trained
from benchmarks.faults.convolutional.training import BATCH
from benchmarks.faults.measure import held_out_mse
from benchmarks.faults.stacks.tissue import mibi
from torch import Tensor, nn

from pellucid.bottlenecks import Gaussian
from pellucid.diagnosis import Subject
from pellucid.functional.symmetries import moves
from pellucid.models import Autoencoder
from pellucid.nn.graph import GraphDecoder, GraphEncoder
from pellucid.nn.permuters import Dihedral, Learned, Permuter
from pellucid.records import Latent

CHANNELS, SIDE, PATCH = 24, 4, 4
LEARNING_RATE = 2e-3
KL_WEIGHT = 2e-5


class PermutedVAE(nn.Module):
    """A graph VAE inside a permuter, as its user calls it.

    Args:
        permuter: stands around it.
        both_sides: False forgets to arrange the encoder's input.
    """

    def __init__(self, permuter: Permuter, *, both_sides: bool = True) -> None:
        super().__init__()
        shared = {"channels": 64, "patch": PATCH, "depth": 2, "tokens": 4}
        self.both_sides = both_sides
        self.whole = Autoencoder(
            GraphEncoder(CHANNELS, **shared),
            Gaussian(64, 12, weight=KL_WEIGHT),
            GraphDecoder(12, CHANNELS, side=SIDE, **shared),
            permuter,
        )

    def encode(self, x: Tensor) -> Latent:
        """Return mean and log-variance of the tile in canonical order."""
        if self.both_sides:
            found = self.whole.encode(x)
        else:
            found = self.whole.bottleneck(self.whole.encoder(x)).latent
        return Latent(mean=found.mean, logvar=found.logvar)

    def decode(self, z: Tensor) -> Tensor:
        """Return tiles in canonical order."""
        return self.whole.decode(z)

    def loss_terms(self, x: Tensor) -> dict[str, Tensor]:
        """Return the weighted terms whose sum is minimised."""
        if self.both_sides:
            output = self.whole(x)
            x_hat, kl = output.x_hat, output.penalties["kl"]
        else:
            found = self.whole.bottleneck(self.whole.encoder(x))
            x_hat, kl = self.whole.decoder(found.z), found.penalties["kl"]
        return {"mse": (x_hat - x).square().mean(), "kl": kl.weight * kl.value}


def fit(model: PermutedVAE, x_NCHW: Tensor, *, steps: int, seed: int) -> PermutedVAE:
    """Train by Adam with a cosine."""
    torch.manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, LEARNING_RATE / 20)
    model.train()
    for step in range(steps):
        model.whole.at_step(step)
        total = sum(model.loss_terms(x_NCHW[torch.randint(len(x_NCHW), (BATCH,))]).values())
        optimizer.zero_grad()
        assert isinstance(total, Tensor)
        total.backward()
        optimizer.step()
        falling.step()
    return model.eval()


def _exact() -> PermutedVAE:
    # the template stays what the seed made it: canonical data are the same before and after
    return PermutedVAE(Dihedral(CHANNELS, SIDE, decay=1.0))


@torch.no_grad()
def canonical(model: PermutedVAE, x_NCHW: Tensor) -> Tensor:
    """Return tiles in the model's canonical order, in which a bare latent answers."""
    return torch.cat([model.whole.eval().arrange(x).x for x in x_NCHW.split(256)])


def untrained(seed: int) -> Trained:
    """Return the base before training, with its data."""
    torch.manual_seed(seed)
    model, data = _exact(), mibi(CHANNELS)
    facts = {
        "value_range": (-4.0, 4.0),
        "kl_weight": KL_WEIGHT,
        "symmetries": tuple(move for _, move, _ in moves("dihedral", SIDE)),
    }
    train, held = (canonical(model, x) for x in (data.train, data.validation))
    return Trained(model, train, held, LEARNING_RATE, facts)


def stack_graph(seed: int) -> Trained:
    """Train the graph VAE inside a dihedral permuter."""
    base = untrained(seed)
    fit(base.model, base.train, steps=500, seed=seed)
    return base


def _specimen(healthy: Trained, model: PermutedVAE, **more) -> Specimen:
    modules = {"encoder": model.whole.encoder, "decoder": model.whole.decoder}
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05 * LEARNING_RATE)
    facts = {**healthy.facts, **more}
    train, held = (
        facts.pop(n, x) for n, x in (("train", healthy.train), ("held", healthy.validation))
    )
    subject = Subject(
        model.encode,
        model.decode,
        modules=modules,
        loss_terms=model.loss_terms,
        optimizers=[optimizer],
        **facts,
    )
    return Specimen(subject, train, held, held_out_mse(subject, held), model=model)


def one_sided(healthy: Trained, seed: int) -> Specimen:
    """The permuter turns reconstructions back, but the encoder sees tiles as they lie."""
    torch.manual_seed(seed)
    model = PermutedVAE(copy.deepcopy(healthy.model.whole.permuter), both_sides=False)
    model.whole.load_state_dict(healthy.model.whole.state_dict())
    return _specimen(healthy, model.eval())


def no_direction(healthy: Trained, seed: int) -> Specimen:
    """A template averaged over all orientations: no orientation is nearer to it than another."""
    model = copy.deepcopy(healthy.model)
    mean = model.whole.permuter.template.mean
    everywhere = torch.stack([mean] + [move(mean[None])[0] for _, move, _ in moves("dihedral", 1)])
    mean.copy_(everywhere.mean(0))
    return _specimen(healthy, model.eval())


def undecided(healthy: Trained, seed: int) -> Specimen:
    """A learned permuter trained on its soft mixture at a high temperature, deployed hard."""
    torch.manual_seed(seed)
    permuter = Learned(
        CHANNELS, SIDE, temperature=4.0, final_temperature=4.0, anneal_steps=0, entropy_weight=0.0
    )
    model, data = PermutedVAE(permuter), mibi(CHANNELS)
    permuter.soft = True
    fit(model, data.train, steps=350, seed=seed)
    permuter.soft = False

    def soft_forward(x: Tensor) -> Tensor:
        permuter.soft = True
        try:
            return model.whole.decode(model.whole.encode(x))
        finally:
            permuter.soft = False

    train, held = (canonical(model, x) for x in (data.train, data.validation))
    return _specimen(
        healthy,
        model,
        train=train,
        held=held,
        permuter=permuter.soft_weights,
        soft_forward=soft_forward,
    )


@torch.no_grad()
def moves_by(specimen: Specimen) -> float:
    """Return how far a quarter turn moves latents, in their own length."""
    x = specimen.train[:64]
    own = specimen.subject.encode(x).mean
    other = specimen.subject.encode(torch.rot90(x, 1, (2, 3))).mean
    return float((other - own).norm() / own.norm())


@torch.no_grad()
def hardening_costs(specimen: Specimen) -> float:
    """Return hard minus soft error over the variance."""
    soft, x = specimen.subject.soft_forward, specimen.train[:128]
    if soft is None:
        return 0.0
    hard = specimen.subject.decode(specimen.subject.encode(x).mean)
    errors = [float((answer - x).square().mean()) for answer in (hard, soft(x))]
    return (errors[0] - errors[1]) / float(x.var())


def _sick(what: str, measure, least: float):
    def proof(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
        before, after = measure(healthy), measure(mutant)
        return after > least > before, f"{what} {before:.3g} healthy, {after:.3g} mutant"

    return proof


def healthy_graph(seed: int) -> Specimen:
    """The graph base: latents that do not move."""
    base = stack_graph(seed)
    return _specimen(base, base.model)


def healthy_learned(seed: int) -> Specimen:
    """A learned permuter that cooled: hard, and as good as its soft weights."""
    torch.manual_seed(seed)
    permuter = Learned(CHANNELS, SIDE, final_temperature=0.02, anneal_steps=250)
    model, data = PermutedVAE(permuter), mibi(CHANNELS)
    fit(model, data.train, steps=500, seed=seed)
    base = untrained(seed)
    train, held = (canonical(model, x) for x in (data.train, data.validation))
    return _specimen(base, model, train=train, held=held, permuter=permuter.soft_weights)


_PLANT = functools.partial(Mutant, base="stack-graph", expects=("permutation-variance",))
_MOVES = _sick("latents move by", moves_by, 0.1)

BASES = [Base("stack-graph", "stacks", stack_graph, untrained)]
MUTANTS = [
    _PLANT("stack-graph/one-sided-permuter", make=one_sided, sick=_MOVES, quick=True),
    _PLANT("stack-graph/no-direction", make=no_direction, sick=_MOVES),
    _PLANT(
        "stack-graph/undecided-permuter",
        make=undecided,
        sick=_sick("hard − soft error / variance", hardening_costs, 0.05),
    ),
]
CONTROLS = [
    Control("stack-graph/healthy", "stacks", healthy_graph, ("under-training",), quick=True),
    Control("stack-graph/learned", "stacks", healthy_learned, ("under-training",)),
]
