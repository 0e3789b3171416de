"""Real speech in short segments; synthesised voices where the data set is absent.

Shape letters: N segments, T samples.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import math
from pathlib import Path

import torch
from torch import Tensor

LIBRISPEECH = Path(__file__).parents[3].parent / "shared" / "datasets" / "librispeech"
RATE = 16000.0
RMS = 0.1
SECONDS = 5
"""How much of an utterance is read."""


@dataclasses.dataclass(frozen=True)
class Speech:
    """Segments (N, 1, T) in [−1, 1]; no speaker is on both sides."""

    train: Tensor
    validation: Tensor


@functools.lru_cache(maxsize=4)
def speech(length: int = 1024, count: int = 1600, held: int = 320) -> Speech:
    """Return active segments of level-normalised utterances, 16 kHz."""
    if not (LIBRISPEECH / "manifest.csv").exists():
        return _synthesised(length, count, held)
    with open(LIBRISPEECH / "manifest.csv", newline="") as manifest:
        files = sorted(row["file"] for row in csv.DictReader(manifest))
    files = files[::2]  # 75 speakers are enough, and read in a second
    cut = int(0.8 * len(files))
    return Speech(_segments(files[:cut], length, count, 1), _segments(files[cut:], length, held, 2))


def _segments(files: list[str], length: int, count: int, seed: int) -> Tensor:
    """Cut segments no quieter than 12 dB below their utterance."""
    import soundfile

    parts = []
    generator = torch.Generator().manual_seed(seed)
    each = math.ceil(count / len(files))
    for file in files:
        wave, rate = soundfile.read(LIBRISPEECH / file, frames=SECONDS * int(RATE), dtype="float32")
        assert rate == RATE
        x = torch.from_numpy(wave)
        x = RMS * x / x.square().mean().sqrt()
        frames = x[: len(x) // length * length].view(-1, length)
        active = frames[frames.square().mean(1).sqrt() > 0.25 * RMS]
        parts.append(active[torch.randperm(len(active), generator=generator)[:each]])
    x = torch.cat(parts)
    return x[torch.randperm(len(x), generator=generator)[:count], None].clamp(-1, 1)


def _synthesised(length: int, count: int, held: int) -> Speech:
    """Harmonics of a gliding pitch under two formants, plus noise."""
    generator = torch.Generator().manual_seed(0)
    n = count + held
    t = torch.arange(length) / RATE

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, 1, generator=generator)

    pitch, glide = uniform(90, 220), uniform(-2, 2)
    first, second = uniform(300, 900), uniform(1000, 2500)
    x = torch.zeros(n, length)
    for k in range(1, 20):
        f = k * pitch
        level = torch.exp(-(((f - first) / 250) ** 2)) + 0.4 * torch.exp(
            -(((f - second) / 350) ** 2)
        )
        phase = 2 * math.pi * (f * t * (1 + glide * t) + uniform(0, 1))
        x += level * torch.sin(phase)
    x = RMS * x / x.square().mean(1, keepdim=True).sqrt().clamp_min(1e-3)
    x = (x + 0.003 * torch.randn(n, length, generator=generator))[:, None].clamp(-1, 1)
    return Speech(x[:count], x[count:])
