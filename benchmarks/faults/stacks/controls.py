"""Healthy stack models on which nothing may be asserted, under-training aside."""

from __future__ import annotations

import torch
from benchmarks.faults.contract import Control, Specimen
from benchmarks.faults.convolutional.posterior import low_weight_twin
from benchmarks.faults.convolutional.training import fit, specimen
from benchmarks.faults.stacks.bases import (
    BRIGHT,
    LEARNING_RATE,
    continuous,
    on_tissue,
    plain,
    stack_ae,
    stack_vae,
    stack_vq,
    train,
)
from benchmarks.faults.stacks.tissue import Tissue, hyperion, mibi


def healthy_ae(seed: int) -> Specimen:
    """The continuous base."""
    return specimen(stack_ae(seed))


def healthy_vq(seed: int) -> Specimen:
    """The residual-VQ base."""
    return specimen(stack_vq(seed))


def low_beta(seed: int) -> Specimen:
    """The Gaussian base at a tenth of its weight: hundreds of nats, none wasted."""
    return low_weight_twin(stack_vae(seed), seed)


def dead_channels(seed: int) -> Specimen:
    """Small mass-cytometry regions of five channels, some of them empty in most regions."""
    data = hyperion()
    torch.manual_seed(seed)
    high = float(data.train.max())
    healthy = train(on_tissue(continuous(5, 8), data), seed, steps=300)
    return specimen(healthy, value_range=(0.0, high))


def constant_channels(seed: int) -> Specimen:
    """Four of the 24 channels are exactly zero everywhere: dead metals, not a fault of scale."""
    data = mibi(BRIGHT)
    dead = torch.ones(1, BRIGHT, 1, 1)
    dead[:, [3, 9, 15, 20]] = 0
    silenced = Tissue(data.train * dead, data.validation * dead)
    torch.manual_seed(seed)
    healthy = train(on_tissue(continuous(BRIGHT, norm=True), silenced), seed)
    return specimen(healthy)


def young(seed: int) -> Specimen:
    """Sixty steps into training at full rate: under-trained and otherwise fine."""
    healthy = plain(seed)
    model = healthy.model
    fit(model, healthy.train, steps=60, learning_rate=LEARNING_RATE, seed=seed, decay=False)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    return specimen(healthy, optimizers=[optimizer])


_TRAIN_ON = ("under-training",)

CONTROLS = [
    Control("stack-ae/healthy", "stacks", healthy_ae, _TRAIN_ON, quick=True),
    Control("stack-vq/healthy", "stacks", healthy_vq, _TRAIN_ON),
    Control("stack-vae/low-beta", "stacks", low_beta, _TRAIN_ON),
    Control("stack-hyperion/dead-channels", "stacks", dead_channels, _TRAIN_ON),
    Control("stack-ae/constant-channels", "stacks", constant_channels, _TRAIN_ON),
    Control("stack-ae/young", "stacks", young, _TRAIN_ON, _TRAIN_ON),
]
