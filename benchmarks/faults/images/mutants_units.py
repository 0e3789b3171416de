"""Faults of measurement and units: pairs, ranges, channels, heads, levels, loss networks."""

from __future__ import annotations

import dataclasses
import math

import torch
import torch.nn.functional as F
from benchmarks.faults.contract import (
    CALIBRATION_SEEDS,
    TEST_SEEDS,
    Mutant,
    Specimen,
    Trained,
)
from benchmarks.faults.images.networks import PlainAE, conv_decoder, conv_encoder
from benchmarks.faults.images.training import fine_tune, specimen, twin
from benchmarks.faults.measure import decibels, loses, reconstruct
from torch import Tensor, nn


def shuffled_pairs(healthy: Trained, seed: int) -> Specimen:
    """Score against a second pass of a shuffling loader."""
    model = twin(healthy)
    made = specimen(model, healthy)
    order = torch.randperm(len(healthy.validation), generator=torch.Generator().manual_seed(seed))
    outputs = reconstruct(made.subject, healthy.validation[order])
    return with_facts(made, pairs=(healthy.validation, outputs))


def pairs_are_worse(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
    """The pairs' error against the error of one pass."""
    assert mutant.subject.pairs is not None
    x, y = mutant.subject.pairs
    lost = decibels(float((x - y).square().mean()) / mutant.mse)
    return lost > 3, f"the pairs' error is {lost:.1f} dB above the model's own"


def psnr_for_bytes(healthy: Trained, seed: int) -> Specimen:
    """PSNR with peak 255 on images in [0, 1]."""
    return _with_psnr(healthy, 255.0)


def psnr_of_two(healthy: Trained, seed: int) -> Specimen:
    """PSNR with data_range=2 copied from a [−1, 1] project."""
    return _with_psnr(healthy, 2.0)


def _with_psnr(healthy: Trained, peak: float) -> Specimen:
    def psnr(x: Tensor, y: Tensor) -> float:
        return 10 * math.log10(peak**2 / float((x - y).square().mean()))

    return specimen(twin(healthy), healthy, metrics={"psnr": psnr})


def metric_is_off(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
    """The user's PSNR of the model against the definition."""
    x = mutant.validation
    assert x is not None
    y = reconstruct(mutant.subject, x)
    low, high = mutant.subject.value_range
    true = decibels((high - low) ** 2 / float((x - y).square().mean()))
    off = float(mutant.subject.metrics["psnr"](x, y)) - true
    return abs(off) > 1, f"the user's PSNR is {off:+.1f} dB off"


def not_denormalised(healthy: Trained, seed: int) -> Specimen:
    """Outputs in [0, 1] scored against images in [−1, 1]."""
    model = twin(healthy)
    return specimen(model, healthy, decode=lambda z: (model.decode(z) + 1) / 2)


def divided_twice(healthy: Trained, seed: int) -> Specimen:
    """ToTensor divided by 255, and the post-processing divides once more."""
    model = twin(healthy)
    return specimen(model, healthy, decode=lambda z: model.decode(z) / 255)


def sigmoid_on_signed(healthy: Trained, seed: int) -> Specimen:
    """A sigmoid head where images are in [−1, 1]."""
    model = twin(healthy)
    model.head = nn.Sigmoid()
    optimizer = fine_tune(model, model.loss_terms, healthy.train, learning_rate=1e-3)
    return specimen(model, healthy, optimizer=optimizer)


def swapped_colours(healthy: Trained, seed: int) -> Specimen:
    """Blue and red exchanged on the way out (OpenCV)."""
    model = twin(healthy)
    return specimen(model, healthy, decode=lambda z: model.decode(z).flip(1))


def rotated_colours(healthy: Trained, seed: int) -> Specimen:
    """Trained against targets whose channels were stacked in another order."""
    model = twin(healthy)

    def loss(x: Tensor) -> dict[str, Tensor]:
        q, _, penalty = model.quantizer(model.encoder(x))
        return {"recon": F.mse_loss(model.decode(q), x[:, [1, 2, 0]]), "vq": 0.25 * penalty}

    optimizer = fine_tune(model, loss, healthy.train, learning_rate=1e-3)
    return specimen(model, healthy, optimizer=optimizer, loss_terms=loss)


def saturated(healthy: Trained, seed: int) -> Specimen:
    """The last layer before a sigmoid was initialised far too large: the head is at its rails."""
    model = twin(healthy)
    last = model.decoder[-1]
    with torch.no_grad():
        last.weight.mul_(25)
        last.bias.mul_(25)
    optimizer = fine_tune(
        model, model.loss_terms, healthy.train, learning_rate=1e-5, steps=60, seconds=4
    )
    return specimen(model, healthy, optimizer=optimizer)


def dead_channel(healthy: Trained, seed: int) -> Specimen:
    """The logits of one colour ran to −30, where the sigmoid lets no gradient through."""
    model = twin(healthy)
    with torch.no_grad():
        model.decoder[-1].bias[2] = -30.0
    optimizer = fine_tune(
        model, model.loss_terms, healthy.train, learning_rate=5e-4, steps=300, seconds=8
    )
    return specimen(model, healthy, optimizer=optimizer)


def at_the_rails(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
    """Share of outputs within 1 % of 0 or 1, against the data's."""
    x = mutant.validation
    assert x is not None
    y = reconstruct(mutant.subject, x)
    share = [float(((t < 0.01) | (t > 0.99)).float().mean()) for t in (y, x)]
    return share[0] - share[
        1
    ] > 0.25, f"{share[0]:.0%} of outputs at the rails, {share[1]:.0%} of x"


def exposed(x: Tensor, seed: int) -> Tensor:
    """Return images under exposures spread over 40 dB."""
    generator = torch.Generator().manual_seed(seed)
    return x * 10 ** (-2.0 * torch.rand(len(x), 1, 1, 1, generator=generator))


def unequal_exposure(healthy: Trained, seed: int) -> Specimen:
    """Raw exposures that differ a hundredfold, not normalised."""
    model = twin(healthy)
    train, held = exposed(healthy.train, seed), exposed(healthy.validation, seed + 1)
    optimizer = fine_tune(model, model.loss_terms, train, learning_rate=1e-3)
    return specimen(model, healthy, optimizer=optimizer, train=train, validation=held)


def quiet_are_lost(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
    """Error over power of the darkest quarter against the brightest."""
    x = mutant.validation
    assert x is not None
    y = reconstruct(mutant.subject, x)
    power, error = (t.flatten(1).square().mean(1) for t in (x, y - x))
    order = power.argsort()
    quarter = len(order) // 4
    dark, bright = (
        decibels(float(error[i].sum() / power[i].sum()))
        for i in (order[:quarter], order[-quarter:])
    )
    return dark - bright > 6, f"the darkest quarter loses {dark - bright:.1f} dB to the brightest"


def faint_channel(healthy: Trained, seed: int) -> Specimen:
    """The green channel in other units, 40 times smaller, not normalised."""
    model = twin(healthy)
    scale = torch.tensor([1.0, 0.0, 1.0]).view(1, 3, 1, 1)
    train, held = (_faint(x, scale) for x in (healthy.train, healthy.validation))
    optimizer = fine_tune(model, model.loss_terms, train, learning_rate=1e-3, steps=400)
    return specimen(model, healthy, optimizer=optimizer, train=train, validation=held)


def _faint(x: Tensor, keep: Tensor) -> Tensor:
    """Replace green by another image's green, 40 times smaller: it must be learned by itself."""
    other = x.roll(7, 0)
    return x * keep + (1 - keep) * other / 40


def faint_is_lost(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
    """R² per channel, by hand."""
    x = mutant.validation
    assert x is not None
    error = (reconstruct(mutant.subject, x) - x).square().mean((0, 2, 3))
    r2 = 1 - error / (x - x.mean(0)).square().mean((0, 2, 3))
    good, faint = float(r2[[0, 2]].min()), float(r2[1])
    return (
        faint < 0.2 < 0.7 < good,
        f"R² {faint:.2f} of the faint channel, {good:.2f} of the others",
    )


def _feature_net(x: Tensor, seed: int) -> nn.Sequential:
    """Return features trained on the images, as a small stand-in for a perceptual network."""
    torch.manual_seed(seed)
    encoder = conv_encoder(3, 24, 16)
    model = PlainAE(encoder, conv_decoder(16, 24, 3))
    fine_tune(model, model.loss_terms, x, learning_rate=2e-3, steps=150, seconds=4)
    return encoder.requires_grad_(False)


def perceptual_in_bytes(healthy: Trained, seed: int) -> Specimen:
    """The perceptual network, made for [0, 1], is fed values up to 255."""
    model, net = twin(healthy), _feature_net(healthy.train, seed)
    return _perceptual(healthy, model, net, 255.0)


def perceptual_unloaded(healthy: Trained, seed: int) -> Specimen:
    """No key of the perceptual network's file matched: it is as its constructor drew it."""
    return _perceptual(healthy, twin(healthy), _unloaded(seed), 1.0)


def _unloaded(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return conv_encoder(3, 24, 16).requires_grad_(False)


def nothing_was_loaded(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
    """Draw the network anew from every seed of the bench, and compare tensors."""
    state = mutant.subject.loss_networks["lpips"].state_dict()
    for seed in (*TEST_SEEDS, *CALIBRATION_SEEDS):
        drawn = _unloaded(seed).state_dict()
        if all(torch.equal(state[name], tensor) for name, tensor in drawn.items()):
            return True, f"all {len(state)} tensors are what the constructor draws"
    return False, "its tensors differ from what the constructor draws"


def _perceptual(healthy: Trained, model, net: nn.Module, scale: float) -> Specimen:
    def loss(x: Tensor) -> dict[str, Tensor]:
        x_hat = model.decode(model.encode(x))
        distance = F.mse_loss(net(x_hat * scale), net(x * scale))
        return {"recon": F.mse_loss(x_hat, x), "lpips": 0.1 * distance}

    optimizer = fine_tune(model, loss, healthy.train, learning_rate=5e-4, steps=200, seconds=8)
    return specimen(
        model,
        healthy,
        optimizer=optimizer,
        loss_terms=loss,
        loss_networks={"lpips": net},
    )


def perceptual_is_off(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
    """The perceptual term beside the squared error, where it is meant to be a comparable part."""
    x = mutant.validation
    assert x is not None
    assert mutant.subject.loss_terms is not None
    with torch.no_grad():
        terms = mutant.subject.loss_terms(x[:64])
    ratio = float(terms["lpips"]) / float(terms["recon"])
    return not 0.01 < ratio < 30, f"the perceptual term is {ratio:.3g} times the squared error"


def with_facts(made: Specimen, **facts) -> Specimen:
    """Return the specimen with further keywords of `Subject`."""
    return dataclasses.replace(made, subject=dataclasses.replace(made.subject, **facts))


# fmt: off
MUTANTS = [
    Mutant("cifar-vae/shuffled-pairs", "cifar-vae", ("unpaired-evaluation",), shuffled_pairs,
           pairs_are_worse, quick=True),
    Mutant("cifar-batchnorm/psnr-255", "cifar-batchnorm", ("metric-range",), psnr_for_bytes,
           metric_is_off),
    Mutant("cifar-vq/psnr-data-range-2", "cifar-vq", ("metric-range",), psnr_of_two, metric_is_off,
           quick=True),
    Mutant("mlp-vae/not-denormalised", "mlp-vae", ("range-mismatch",), not_denormalised, loses(3),
           black_box=True, quick=True),
    Mutant("cifar-sigmoid/divided-twice", "cifar-sigmoid", ("range-mismatch",), divided_twice,
           loses(6), black_box=True),
    Mutant("mlp-vae/sigmoid-head", "mlp-vae", ("range-mismatch",), sigmoid_on_signed, loses(3)),
    Mutant("cifar-vae/bgr", "cifar-vae", ("channel-order",), swapped_colours, loses(1),
           black_box=True, quick=True),
    Mutant("cifar-vq/channels-restacked", "cifar-vq", ("channel-order",), rotated_colours,
           loses(1)),
    Mutant("cifar-sigmoid/saturated", "cifar-sigmoid", ("output-saturation", "range-mismatch"),
           saturated, at_the_rails),  # an affine map towards the middle is half a repair
    Mutant("cifar-sigmoid/dead-channel", "cifar-sigmoid", ("output-saturation",), dead_channel,
           at_the_rails),
    Mutant("digits-vae/exposures", "digits-vae", ("level-spread",), unequal_exposure,
           quiet_are_lost, black_box=True),
    Mutant("cifar-batchnorm/faint-channel", "cifar-batchnorm", ("channel-scale-imbalance",),
           faint_channel, faint_is_lost),
    Mutant("cifar-batchnorm/perceptual-bytes", "cifar-batchnorm", ("perceptual-misfed",),
           perceptual_in_bytes, perceptual_is_off),
    Mutant("cifar-sigmoid/perceptual-unloaded", "cifar-sigmoid", ("perceptual-misfed",),
           perceptual_unloaded, nothing_was_loaded),
]
