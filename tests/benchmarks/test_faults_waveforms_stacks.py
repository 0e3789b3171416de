"""The waveform and stack halves of the mutant bench: data, determinism, names."""

from __future__ import annotations

import pytest
import torch
from benchmarks.faults import stacks, waveforms
from benchmarks.faults.convolutional.quantizer import ResidualVQ
from benchmarks.faults.convolutional.spectra import mel_bank
from benchmarks.faults.stacks.tissue import TILE, hyperion, mibi
from benchmarks.faults.waveforms import speech as speech_module
from benchmarks.faults.waveforms.bases import LENGTH, wave_ae
from benchmarks.faults.waveforms.spectral import Buzz

CATALOGUE = set(
    """
unpaired-evaluation metric-range range-mismatch channel-order output-saturation
channel-scale-imbalance level-spread perceptual-misfed broken-filterbank random-decoder
unreachable-target frozen-module inert-loss codebook-ownership straight-through-gain
path-mismatch latent-bypass nan-or-overflow spectral-nan logvar-blow-up posterior-variance-floor
under-training capacity-limit posterior-collapse rate-starvation reduction-mismatch
free-bits-floor prior-hole codebook-collapse codebook-too-small commitment-drift post-hoc-gap
blur learning-rate loss-imbalance discriminator-dominates gan-gradient-leak batchnorm-gap
stale-ema overfitting split-leak checkerboard tile-seams colour-drift dc-offset
amplitude-shrinkage misalignment metallic-artefacts permutation-variance unattainable-target
""".split()  # noqa: SIM905  (fifty quoted names would hide the list)
)
"""Every row of the catalogue, whether its rule exists yet or not."""

MUTANTS = [m for part in (waveforms, stacks) for m in (*part.MUTANTS, *part.DOUBLES)]
CONTROLS = [*waveforms.CONTROLS, *stacks.CONTROLS]
BASES = [*waveforms.BASES, *stacks.BASES]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_mutants_expect_rows_of_the_catalogue(mutant):
    named = {*mutant.expects, *mutant.forbidden, *mutant.plants}
    assert named <= CATALOGUE
    assert mutant.base in {b.name for b in BASES}
    assert not set(mutant.expects) & set(mutant.forbidden)


def test_names_are_unique():
    names = [m.name for m in MUTANTS] + [c.name for c in CONTROLS]
    assert len(names) == len(set(names))
    assert len({b.name for b in BASES}) == len(BASES)


def test_enough_of_everything():
    assert len(CONTROLS) >= 8
    assert len(waveforms.DOUBLES) + len(stacks.DOUBLES) >= 3
    assert all(len(m.plants) == 2 for m in (*waveforms.DOUBLES, *stacks.DOUBLES))
    only_blackbox = [m for m in MUTANTS if m.black_box]
    assert len(only_blackbox) >= 12


def test_speech_is_active_in_range_and_no_segment_is_shared():
    data = speech_module.speech(LENGTH)
    assert data.train.shape[1:] == data.validation.shape[1:] == (1, LENGTH)
    assert len(data.train) > 1000
    assert len(data.validation) > 200
    assert float(data.train.abs().max()) <= 1
    assert float(data.train.square().mean((1, 2)).min()) > 0
    assert float(torch.cdist(data.validation.flatten(1), data.train.flatten(1)).min()) > 0


def test_synthesised_voices_stand_in_where_the_data_set_is_absent():
    data = speech_module._synthesised(256, 20, 10)
    assert data.train.shape == (20, 1, 256)
    assert data.validation.shape == (10, 1, 256)
    level = data.train.square().mean().sqrt()
    assert 0.05 < float(level) < 0.2


def test_tissue_is_standardised_on_train_and_tiles_do_not_overlap_between_the_sets():
    data = mibi(24)
    assert data.train.shape[1:] == (24, TILE, TILE)
    assert len(data.validation) >= 128
    assert torch.allclose(data.train.mean((0, 2, 3)), torch.zeros(24), atol=1e-3)
    assert torch.allclose(data.train.std((0, 2, 3)), torch.ones(24), atol=1e-2)
    held, train = data.validation[:32].flatten(1), data.train.flatten(1)
    assert float(torch.cdist(held, train).min()) > 0


def test_mass_cytometry_has_a_dead_channel_in_some_tiles():
    data = hyperion()
    assert data.train.shape[1:] == (5, TILE, TILE)
    assert bool((data.train.std((2, 3)) < 1e-6).any()) or float(data.train.min()) == 0


def test_a_base_is_the_same_for_the_same_seed_only():
    first, again, other = (wave_ae(seed, steps=3) for seed in (5, 5, 6))
    same = first.model.state_dict()
    assert all(torch.equal(v, again.model.state_dict()[k]) for k, v in same.items())
    assert any(not torch.equal(v, other.model.state_dict()[k]) for k, v in same.items())


@pytest.mark.parametrize(("gradient", "gain"), [("once", 1.0), ("per level", 4.0)])
def test_the_quantiser_has_the_gain_it_is_said_to_have(gradient, gain):
    quantizer = ResidualVQ(3, codes=8, levels=4, gradient=gradient).eval()
    z = torch.randn(2, 3, 5, requires_grad=True)
    (back,) = torch.autograd.grad(quantizer(z)[0].sum(), z)
    assert torch.allclose(back, torch.full_like(back, gain))


def test_a_quantiser_codebook_has_codes_with_levels_last():
    quantizer = ResidualVQ(3, codes=8, levels=4).eval()
    quantised, codes, _ = quantizer(torch.randn(2, 3, 5))
    assert quantised.shape == (2, 3, 5)
    assert codes.shape == (2, 5, 4)
    books = [layer.book_Kd for layer in quantizer.layers]
    looked_up = sum(book[codes[..., level]] for level, book in enumerate(books))
    assert torch.allclose(looked_up.movedim(-1, 1), quantised, atol=1e-6)


def test_the_mel_bank_is_ordered_and_covers_the_band():
    mel = mel_bank()
    centres = mel.argmax(1)
    assert bool((centres.diff() >= 0).all())
    assert float(mel.sum(0)[8:-2].min()) > 0


def test_the_buzz_is_periodic_with_the_stride():
    buzz = Buzz(torch.nn.Identity(), 1.0)
    y = buzz(torch.zeros(1, 1, 64))
    assert torch.allclose(y[..., :16], y[..., 16:32])
    assert float(y.std()) > 0.1
