"""Prompts as vectors: UTF-8 bytes through a few convolutions, learned together with the prior.

Bytes need no vocabulary and no download, and every script has them. Convolutions see phrases of a
few bytes wherever they stand, and the strongest and the mean response over the prompt are kept:
"a seven" means the same at both ends of a sentence.

Shape letters: N prompts, T bytes, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.errors import DataError

PAD = 256
MOST_BYTES = 256


def to_bytes(prompts: Sequence[str], *, most: int = MOST_BYTES) -> Tensor:
    """Return (N, T) int64: UTF-8 bytes of each prompt, case folded, padded to the longest.

    Surrounding blanks mean nothing and are cut. A prompt longer than `most` bytes is refused
    rather than cut in the middle of its meaning.

    Raises:
        DataError: when a prompt is too long.
    """
    rows = [prompt.strip().casefold().encode("utf-8", errors="replace") for prompt in prompts]
    longest = max((len(row) for row in rows), default=0)
    if longest > most:
        text = next(p for p, row in zip(prompts, rows, strict=True) if len(row) == longest)
        raise DataError(
            "this prompt is too long",
            expected=f"at most {most} bytes of UTF-8",
            found=f"{longest}: {text[:60]}…",
        )
    bytes_NT = torch.full((len(rows), max(longest, 1)), PAD)
    for number, row in enumerate(rows):
        bytes_NT[number, : len(row)] = torch.tensor(list(row), dtype=torch.int64)
    return bytes_NT


class ByteEncoder(nn.Module):
    """Turn prompts into vectors: embed, convolve, keep the strongest and the mean response.

    v = W·[max_t y_t, mean_t y_t] with y = x + Σ conv₅(GELU(norm(y))) over `layers`; padding takes
    part nowhere. After Kim 2014, "Convolutional neural networks for sentence classification".

    Args:
        out: size of v.
        channels: C inside.
        layers: residual convolutions; each lets a byte see two more on both sides.
    """

    def __init__(self, out: int, channels: int = 128, layers: int = 3) -> None:
        super().__init__()
        self.embed = nn.Embedding(PAD + 1, channels, padding_idx=PAD)
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(layers))
        self.convs = nn.ModuleList(
            nn.Conv1d(channels, channels, 5, padding=2) for _ in range(layers)
        )
        self.out = nn.Linear(2 * channels, out)

    def forward(self, bytes_NT: Tensor) -> Tensor:
        """Return (N, out)."""
        real_NT1 = (bytes_NT != PAD)[..., None]
        y_NTC = self.embed(bytes_NT)
        for norm, conv in zip(self.norms, self.convs, strict=True):
            seen_NTC = F.gelu(norm(y_NTC)) * real_NT1
            y_NTC = y_NTC + conv(seen_NTC.transpose(1, 2)).transpose(1, 2)
        y_NTC = y_NTC.float()
        strongest_NC = y_NTC.masked_fill(~real_NT1, -torch.inf).amax(1)
        mean_NC = (y_NTC * real_NT1).sum(1) / real_NT1.sum(1).clamp(min=1)
        # a prompt without a byte has no strongest response; callers treat it as no condition
        strongest_NC = torch.where(real_NT1.any(1), strongest_NC, 0.0)
        return self.out(torch.cat([strongest_NC, mean_NC], dim=1))
