"""The error budget: nested differences of PSNR/SNR in a fixed order, summing to R4b − deployed.

Waveforms show first what kind of error it is (`waveform_budget.py`), then where it arises.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from pellucid.diagnosis.case import Case, mean_square
from pellucid.diagnosis.evidence import Bar
from pellucid.diagnosis.probes.affine import fit_affine
from pellucid.diagnosis.probes.deployed import deployed_path
from pellucid.diagnosis.probes.latent_search import latent_search
from pellucid.diagnosis.waveform_budget import spend_by_kind


def spend(case: Case) -> tuple[Bar, ...]:
    """Return the bars that could be measured: kinds of error of a waveform, then the stages."""
    return (*spend_by_kind(case), *_spend_by_stage(case))


def _spend_by_stage(case: Case) -> tuple[Bar, ...]:
    """Return the bars of the stages; all but the last two share their samples.

    units: best affine map of the deployed output. sampling: decode(sample) to decode(mean), when
    samples are deployed. quantisation: decode(q(z)) to decode(z). encoder: decode(encode(x)) to
    R4a. rate: R4a to R4b. What is left above R4b is the decoder and the objective, as FVU.
    """
    searched = case.measure(latent_search)
    if searched is None:
        return _without_search(case)
    n = searched.n
    x = case.x[:n]
    deployed, sampled = case.measure(deployed_path)
    refit = _refit(deployed, case.x)
    stations: list[tuple[str, float, str]] = [
        ("deployed", mean_square(deployed[:n] - x), ""),
        ("units", mean_square(_apply(refit, deployed[:n]) - x), "best affine map of the output"),
    ]
    if sampled:
        stations.append(("sampling", searched.own, "decode(sample) to decode(mean)"))
    if case.latent.quantized is not None:
        z = case.runner.decode(case.latent.mean[:n], x) if _same_space(case) else None
        if z is not None:
            error = mean_square(_apply((searched.gain, searched.offset), z) - x)
            stations.append(("quantisation", error, "decode(q(z)) to decode(z)"))
    if searched.constrained is not None:
        stations.append(("encoder", searched.constrained, f"to R4a: {searched.note}"))
        stations.append(("rate", searched.free, "R4a to R4b"))
    else:
        stations.append(("encoder", searched.free, f"to R4b, rate included: {searched.note}"))
    bars = [
        Bar(after[0], case.db(after[1]) - case.db(before[1]), "dB", after[2])
        for before, after in itertools.pairwise(stations)
    ]
    bars.append(
        Bar("decoder and objective", searched.free / case.variance, "FVU", "what remains at R4b")
    )
    return (*bars, *_generalisation(case))


def _without_search(case: Case) -> tuple[Bar, ...]:
    """Return what can be said when the decoder has no gradients."""
    deployed, _ = case.measure(deployed_path)
    before = mean_square(deployed - case.x)
    after = mean_square(_apply(_refit(deployed, case.x), deployed) - case.x)
    bar = Bar("units", case.db(after) - case.db(before), "dB", "best affine map of the output")
    return (bar, *_generalisation(case))


def _generalisation(case: Case) -> tuple[Bar, ...]:
    """Return the bar from training to held-out samples, where both are known."""
    if case.train is None:
        return ()
    win = case.db(case.measure(train_error)) - case.db(case.mse)
    return (Bar("train to held-out", win, "dB", "training samples against held-out ones"),)


def train_error(case: Case) -> float:
    """Return the error on as many training samples as there are held-out ones."""
    assert case.train is not None
    train = case.train[: len(case.x)]
    return mean_square(case.runner.roundtrip(train)[1] - train)


def _refit(x_hat: Tensor, x: Tensor) -> tuple[float, float]:
    gain, offset = fit_affine(x_hat, x)
    return (gain, offset) if torch.isfinite(torch.tensor(gain)) else (1.0, 0.0)


def _apply(refit: tuple[float, float], x_hat: Tensor) -> Tensor:
    return refit[0] * x_hat + refit[1]


def _same_space(case: Case) -> bool:
    """Say whether the unquantised latent is something the decoder accepts."""
    quantized = case.latent.quantized
    return quantized is not None and quantized.shape == case.latent.mean.shape
