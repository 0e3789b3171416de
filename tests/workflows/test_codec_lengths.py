"""Every length from 1 sample comes back as it was, through codes, bytes and codes again.

The exhaustive form is slow; the quick one takes every length around the first frames and a spread.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pellucid.bottlenecks import RVQ
from pellucid.functional.value_range import ValueRange
from pellucid.models.autoencoder import Autoencoder
from pellucid.nn import SEANetDecoder, SEANetEncoder
from pellucid.workflows.coder import Coder

LONGEST = 5000


@pytest.fixture(scope="module")
def coder() -> Coder:
    torch.manual_seed(0)
    sizes = {"strides": (4, 8), "width": 2, "dilations": (1,), "kernel": 1}
    model = Autoencoder(
        SEANetEncoder(1, channels=4, **sizes),
        RVQ(4, levels=2, codes=8, init="normal"),
        SEANetDecoder(4, 1, **sizes),
    )
    return Coder("tiny", "audio", model, ValueRange(-1, 1), 8000, -25.0, None)


def returned(coder: Coder, x_T: np.ndarray) -> np.ndarray:
    data = coder.pack(coder.encode_audio(x_T))
    return coder.decode_audio(coder.unpack(data))


def check(coder: Coder, lengths) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, LONGEST).astype(np.float32)
    wrong = {n: len(y) for n in lengths if len(y := returned(coder, noise[:n])) != n}
    assert not wrong


def test_lengths_around_frames_and_far_from_them(coder: Coder) -> None:
    check(coder, [*range(1, 100), *range(101, LONGEST, 211), *range(LONGEST - 33, LONGEST + 1)])


@pytest.mark.slow
def test_every_length(coder: Coder) -> None:
    check(coder, range(1, LONGEST + 1))
