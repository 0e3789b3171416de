"""Bits of a continuous latent: known entropies, the allowed loss, degenerate decoders."""

import math

import numpy as np
import pytest
import torch

from pellucid.errors import PellucidError
from pellucid.functional.value_range import ValueRange
from pellucid.metrics import quantised_latent_bits
from pellucid.metrics.paired import eight_bit_psnr
from pellucid.metrics.quantised_latent import _table_entropies

UNIT = ValueRange(0, 1)


def identity_codec(n=64, sigma=0.1, error=0.02, seed=0):
    """Latents are pixels; the decoder adds a fixed error, so that PSNR is finite."""
    generator = torch.Generator().manual_seed(seed)
    latent = 0.5 + sigma * torch.randn(n, 1, 16, 16, generator=generator)
    fixed = error * torch.randn(1, 1, 16, 16, generator=generator)
    return latent, latent.clamp(0, 1), lambda z: z + fixed


def test_gaussian_pixels_cost_what_theory_says():
    sigma, error = 0.1, 0.02
    latent, target, decode = identity_codec(sigma=sigma, error=error)
    bits = quantised_latent_bits(latent, target, decode, UNIT)
    # A loss of 0.1 dB lets the error grow by 10^0.01; uniform rounding adds step²/12.
    step = math.sqrt(12 * error**2 * (10**0.01 - 1))
    assert bits.step == pytest.approx(step, rel=0.1)
    assert bits.loss_db <= 0.1
    entropy = math.log2(sigma * math.sqrt(2 * math.pi * math.e) / bits.step)
    assert bits.bits_per_sample / 256 == pytest.approx(entropy, abs=0.02)
    assert sum(bits.table_bits) * 256 == pytest.approx(bits.bits_per_sample)


def test_the_step_is_the_coarsest_allowed():
    latent, target, decode = identity_codec()
    bits = quantised_latent_bits(latent, target, decode, UNIT)
    coarser = 1.05 * bits.step
    mean = latent.mean()
    rounded = mean + coarser * ((latent - mean) / coarser).round()
    lost = (
        eight_bit_psnr(decode(latent), target, UNIT).mean()
        - eight_bit_psnr(decode(rounded), target, UNIT).mean()
    )
    assert lost > 0.1


def test_a_larger_allowance_costs_fewer_bits():
    latent, target, decode = identity_codec()
    costs = [
        quantised_latent_bits(latent, target, decode, UNIT, largest_loss_db=db).bits_per_sample
        for db in (0.02, 0.1, 1.0)
    ]
    assert costs[0] > costs[1] > costs[2] > 0


def test_the_scale_of_the_latent_does_not_matter():
    latent, target, decode = identity_codec()
    plain = quantised_latent_bits(latent, target, decode, UNIT)
    scaled = quantised_latent_bits(
        1000 * latent + 7, target, lambda z: decode((z - 7) / 1000), UNIT
    )
    assert scaled.bits_per_sample == pytest.approx(plain.bits_per_sample, rel=0.02)


def test_a_decoder_that_ignores_the_latent_needs_no_bits():
    latent, target, _ = identity_codec(8)
    bits = quantised_latent_bits(latent, target, lambda z: torch.full_like(z, 0.5), UNIT)
    assert bits.bits_per_sample == 0
    assert bits.step == math.inf
    constant = quantised_latent_bits(torch.ones_like(latent), target, lambda z: z, UNIT)
    assert constant.bits_per_sample == 0


def test_unused_channels_are_free():
    latent, target, decode = identity_codec()
    padded = torch.cat([latent, torch.zeros_like(latent)], dim=1)
    bits = quantised_latent_bits(padded, target, lambda z: decode(z[:, :1]), UNIT)
    assert bits.table_bits[1] == 0
    plain = quantised_latent_bits(latent, target, decode, UNIT).bits_per_sample
    assert bits.bits_per_sample == pytest.approx(plain, rel=0.02)


def test_correction_takes_most_of_the_bias():
    generator = torch.Generator().manual_seed(0)
    symbols = torch.randint(0, 16, (100, 400), generator=generator)
    corrected = np.mean(_table_entropies(symbols)[0])
    plain = corrected - 15 / (2 * 100 * math.log(2))
    assert abs(corrected - 4) < 0.2 * abs(plain - 4)


def test_small_sets_are_said_to_be_small():
    latent, target, decode = identity_codec(4)
    flat = latent.flatten(1)
    bits = quantised_latent_bits(flat, target, lambda z: decode(z.view(-1, 1, 16, 16)), UNIT)
    assert bits.values_per_table == 4
    metric = bits.to_metric(4)
    assert "underestimate" in metric.convention
    assert metric.unit == "bits per sample"
    enough = quantised_latent_bits(latent, target, decode, UNIT).to_metric(4)
    assert "underestimate" not in enough.convention


def test_bad_input():
    latent, target, decode = identity_codec(4)
    with pytest.raises(PellucidError, match="one latent per target"):
        quantised_latent_bits(latent, target[:2], decode, UNIT)
    with pytest.raises(PellucidError, match="NaN or infinity"):
        quantised_latent_bits(latent * math.nan, target, decode, UNIT)
    generator = torch.Generator().manual_seed(0)
    draws = iter([0.0] + [0.5] * 1000)
    with pytest.raises(PellucidError, match="deterministic"):
        quantised_latent_bits(
            latent,
            target,
            lambda z: decode(z) + next(draws) * torch.randn(z.shape, generator=generator),
            UNIT,
        )
