"""Tune a decoder for the codes of a codebook; encoder and codebook stay as they are.

The encoder and the codebook are where samples are made: each is encoded, quantised and looked up
once, outside training, so what is trained is the decoder alone, on pairs (q(μ), x). Augmented
samples are encoded as augmented. The budget is measured on held-out samples before and after.

Shape letters: n held-out samples, B batch, D latent channels, P positions.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from pellucid.bottlenecks import Identity
from pellucid.codebooks.codebook import Codebook
from pellucid.codebooks.scoring import HeldOut, decode_codes, decode_means, decoded_psnr
from pellucid.errors import RunError
from pellucid.functional.bootstrap import bootstrap_interval
from pellucid.models.autoencoder import Autoencoder
from pellucid.objectives.objective import Objective
from pellucid.records import MetricValue
from pellucid.run_folder import RunFolder
from pellucid.training.fit import fit

_SMALLEST_GAP = 0.01  # dB; a share of less means nothing


class CodedSamples(Dataset[dict[str, Any]]):
    """Samples as a decoder for codes meets them: x is q(μ), target the clean sample.

    Args:
        samples: map-style, answers to an index or (index, epoch) with {"x", "target", …}.
        codebook: encodes them, with its own model.
    """

    def __init__(self, samples: Any, codebook: Codebook) -> None:
        self.samples, self.codebook = samples, codebook

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, address: Any) -> dict[str, Any]:
        return self.__getitems__([address])[0]

    @torch.no_grad()
    def __getitems__(self, addresses: Sequence[Any]) -> list[dict[str, Any]]:
        found = self.samples.__getitems__(addresses)
        x = torch.stack([item["x"] for item in found])
        book = self.codebook
        q_BDP = book.lookup(book.encode(book.autoencoder.encode(x).mean))
        return [{**item, "x": q} for item, q in zip(found, q_BDP, strict=True)]


class _AsGiven(nn.Module):
    """Stands where an encoder stands, for latents that are made already."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.channels, self.in_channels, self.stride = channels, channels, stride

    def forward(self, q_BDP: Tensor) -> Tensor:
        return q_BDP


def tune(
    codebook: Codebook,
    objective: Objective,
    data: Any,
    place: RunFolder,
    *,
    steps: int = 1000,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    seed: int = 0,
    threads: int | None = None,
    progress: bool = True,
) -> nn.Module:
    """Train a copy of the model's decoder on codes; return the best by validation PSNR.

    Args:
        codebook: with its own model, which is not touched.
        objective: what the model was trained with.
        data: has .train, .validation and .value_range.
        place: where checkpoints lie while it trains; an interrupted training there goes on.
        steps: optimiser steps.
        batch_size: samples per step.
        learning_rate: peak of AdamW's.
        seed: of the order.
        threads: torch's, or None for a sensible number.
        progress: draw a bar.

    Raises:
        RunError: when it was interrupted; the next call goes on.
    """
    decoder = copy.deepcopy(codebook.autoencoder.decoder).requires_grad_(True)
    channels, stride = codebook.vectors.shape[1], codebook.autoencoder.stride
    model = Autoencoder(_AsGiven(channels, stride), Identity(channels), decoder)
    every = max(1, min(200, steps // 4))
    validation = CodedSamples(data.validation, codebook) if len(data.validation) else None
    result = fit(
        model,
        objective,
        CodedSamples(data.train, codebook),
        validation,
        place,
        value_range=data.value_range,
        seed=seed,
        steps=steps,
        batch_size=min(batch_size, len(data.train)),
        learning_rate=learning_rate,
        warmup_steps=min(50, steps // 10),
        ema_decay=0.99,
        validate_every=every,
        checkpoint_every=every,
        gradient_shares_every=steps + 1,
        monitor="psnr" if validation is not None else None,
        threads=threads,
        resume=True,
        progress=progress,
    )
    if result.state != "finished":
        raise RunError(
            "tuning was interrupted",
            where=place.path,
            found=f"step {result.step} of {steps}",
            hint="the same command goes on from there",
        )
    return decoder.eval()


def budget(codebook: Codebook, decoder: nn.Module, samples: HeldOut) -> dict[str, MetricValue]:
    """Measure what codes cost before and after, on held-out samples.

    Returns:
        PSNR of decode(μ) and of decode(q(μ)) by the model's decoder, of decode(q(μ)) by the tuned
        one, and the share of the gap that tuning closed (absent where there is no gap).
    """
    codes_nP = codebook.encode(samples.mean)
    before = Codebook(codebook.name, codebook.vectors, codebook.rule, codebook.autoencoder)
    after = Codebook(
        codebook.name, codebook.vectors, codebook.rule, codebook.autoencoder, decoder=decoder
    )
    psnr_n3 = np.stack(
        [
            decoded_psnr(decode_means(codebook.autoencoder, samples.mean), samples),
            decoded_psnr(decode_codes(before, codes_nP), samples),
            decoded_psnr(decode_codes(after, codes_nP), samples),
        ],
        axis=1,
    )
    said = {
        "psnr_mean": "decode(mean), the model's decoder",
        "psnr_before": "decode(q(mean)), the model's decoder",
        "psnr_after": "decode(q(mean)), the tuned decoder",
    }
    found = {
        name: _metric(psnr_n3[:, column], samples, "dB", convention)
        for column, (name, convention) in enumerate(said.items())
    }
    mean, coded, _ = psnr_n3.mean(0)
    if mean - coded > _SMALLEST_GAP:
        share = bootstrap_interval(
            psnr_n3,
            samples.groups,
            statistic=lambda m: (m[..., 2] - m[..., 1]) / (m[..., 0] - m[..., 1]),
        )
        found["closed"] = MetricValue(
            share.value, "1", share.low, share.high, share.n,
            "(after − before)/(decode(mean) − before), of mean PSNR",
        )  # fmt: skip
    return found


def _metric(values_n: np.ndarray, samples: HeldOut, unit: str, convention: str) -> MetricValue:
    interval = bootstrap_interval(values_n, samples.groups)
    return MetricValue(interval.value, unit, interval.low, interval.high, interval.n, convention)
