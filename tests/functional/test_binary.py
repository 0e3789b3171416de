"""Bits and codes are each other's inverse; the entropy gap has its closed forms."""

from __future__ import annotations

import pytest
import torch

from pellucid.functional.binary import bit_entropy_gap, bits_to_codes, codes_to_bits, sign


def test_bits_and_codes_are_inverse():
    codes = torch.arange(64).view(4, 16)
    assert torch.equal(bits_to_codes(codes_to_bits(codes, 6)), codes)


def test_every_value_has_a_sign():
    assert sign(torch.tensor([-2.0, -0.0, 0.0, 3.0])).tolist() == [-1, 1, 1, 1]


def test_sure_and_even_bits_are_best_and_one_constant_code_is_worst():
    even = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]) * 50
    assert bit_entropy_gap(even, 0.5) == pytest.approx(-1, abs=1e-3)
    assert bit_entropy_gap(torch.full((4, 2), 50.0), 0.5) == pytest.approx(0, abs=1e-6)
    assert bit_entropy_gap(torch.zeros(4, 2), 0.5) == pytest.approx(0, abs=1e-6)
