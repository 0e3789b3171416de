"""The reference ladder R0–R3: what trivial and linear models reach on the user's own data.

Everything is fitted on training samples and measured on held-out ones, in raw values: images,
audio (N, 1, T) and stacks alike, without clamping or rounding.

Shape letters: N samples, C channels, S spatial axes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import DataError
from pellucid.references.linear import (
    LinearVAEReference,
    MeanSample,
    PCAReference,
    random_sample,
)
from pellucid.references.samples import collect


@dataclasses.dataclass(frozen=True)
class Rung:
    """Hold one reference's numbers on the held-out samples.

    Args:
        id: "R0", "R1", "R2", "R3" or "R3-bits".
        name: what it is in words.
        mse: mean squared error per element, in squared data units.
        psnr: mean over samples of 10·log₁₀(peak²/MSE) in dB; None without a peak or error.
        fvu: MSE / variance of the held-out samples; None when they do not vary.
        note: how it was fitted, and what to beware of.
        kl: nats per sample on the held-out samples (R3, R3-bits).
        kl_predicted: KL*, its closed form on the training samples (R3, R3-bits).
        mse_sampled: the error when z is sampled from the posterior (R3, R3-bits).
        active: latent dimensions in use (R3, R3-bits).
    """

    id: str
    name: str
    mse: float
    psnr: float | None
    fvu: float | None
    note: str
    kl: float | None = None
    kl_predicted: float | None = None
    mse_sampled: float | None = None
    active: int | None = None


@dataclasses.dataclass(frozen=True)
class Ladder:
    """Hold the rungs and what they were measured on.

    Args:
        rungs: R0, R1, R2; R3 when a KL weight is known, R3-bits when bits are.
        variance: Var(x), per element around the held-out mean sample, in squared data units.
        elements: D, numbers in one sample.
        latent_size: numbers per sample of the latent that R2 and R3 match.
        train_samples: how many samples the references were fitted on.
        held_out_samples: how many they were measured on.
        peak: distance between black and white behind `psnr`, or None.
    """

    rungs: tuple[Rung, ...]
    variance: float
    elements: int
    latent_size: int
    train_samples: int
    held_out_samples: int
    peak: float | None

    def __getitem__(self, rung_id: str) -> Rung:
        """Return the rung with this id.

        Raises:
            KeyError: when it was not measured (R3 without a KL weight).
        """
        for rung in self.rungs:
            if rung.id == rung_id:
                return rung
        raise KeyError(rung_id)

    def to_json(self) -> dict[str, Any]:
        """Return plain dictionaries and numbers; rungs by id, without what they have not."""
        rungs = {}
        for rung in self.rungs:
            node = dataclasses.asdict(rung)
            del node["id"]
            rungs[rung.id] = {
                key: value
                for key, value in node.items()
                if value is not None or key in ("psnr", "fvu")
            }
        facts = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name != "rungs"
        }
        return {"rungs": rungs, **facts}

    @classmethod
    def from_json(cls, node: Mapping[str, Any]) -> Ladder:
        """Read what `to_json` wrote."""
        rungs = tuple(Rung(id=rung_id, **rung) for rung_id, rung in node["rungs"].items())
        return cls(**{**node, "rungs": rungs})


def ladder(
    train: Any,
    held_out: Any,
    latent_size: int,
    stride: int | None,
    *,
    kl_weight: float | None = None,
    bits: float | None = None,
    peak: float | None = None,
    samples: int = 2048,
    seed: int = 0,
    pca: PCAReference | None = None,
) -> Ladder:
    """Measure R0 (another sample), R1 (the mean), R2 (PCA), R3 and R3-bits (linear VAEs).

    R2 matches the latent's numbers, which flatters it against codes; R3-bits matches its bits: the
    linear VAE whose rate on the training samples is `bits`, decoded from a sample of its posterior,
    which is reverse water-filling (a Gaussian reference, not a bound).

    Args:
        train: (N, C, S...) tensor, dataset or loader the references are fitted on.
        held_out: the same, what they are measured on.
        latent_size: numbers per sample in the model's latent.
        stride: the model's stride for patch-PCA, or None where there is none.
        kl_weight: w of ΣKL (sum over dimensions, mean over batch) beside a mean-reduced squared
            error; None leaves R3 out.
        bits: what the model's latent costs per sample; None or 0 leaves R3-bits out.
        peak: distance between black and white for PSNR; None leaves PSNR out.
        samples: at most so many of each set, evenly spaced.
        seed: of the pairing in R0.
        pca: the fitted R2, when the caller has it already.

    Raises:
        DataError: for fewer than two samples on either side, or sets of different shapes.
    """
    train_NCS, x_NCS = collect(train, samples), collect(held_out, samples)
    if train_NCS.shape[1:] != x_NCS.shape[1:]:
        raise DataError(
            "training and held-out samples differ in shape",
            expected=tuple(train_NCS.shape[1:]),
            found=tuple(x_NCS.shape[1:]),
        )
    if len(x_NCS) < 2:
        raise DataError("too few held-out samples", expected="at least 2", found=len(x_NCS))
    pca = pca or PCAReference.fit(train_NCS, latent_size, stride=stride)
    measure = _Yardstick.of(x_NCS, peak)
    mean = MeanSample.fit(train_NCS)
    rungs = [
        measure.rung("R0", "a random other sample", random_sample(x_NCS, seed=seed), "held-out"),
        measure.rung(
            "R1",
            "the mean sample",
            mean.reconstruct(x_NCS),
            f"of {len(train_NCS)} training samples",
        ),
        measure.rung("R2", "PCA", pca.reconstruct(x_NCS), pca.note),
    ]
    if kl_weight is not None:
        rungs.append(_at_weight(measure, LinearVAEReference.fit(pca, kl_weight=kl_weight)))
    if bits and pca.numbers:
        rungs.append(_at_bits(measure, LinearVAEReference.at_bits(pca, bits), bits))
    return Ladder(
        rungs=tuple(rungs),
        variance=measure.variance,
        elements=x_NCS[0].numel(),
        latent_size=latent_size,
        train_samples=len(train_NCS),
        held_out_samples=len(x_NCS),
        peak=peak,
    )


def _at_weight(measure: _Yardstick, vae: LinearVAEReference) -> Rung:
    rung = measure.rung(
        "R3",
        "linear VAE at this weight, decoded from the posterior mean",
        vae.reconstruct(measure.x),
        f"θ = w·D/2 = {vae.prediction.threshold:.4g}; dimensions with less variance than that are "
        f"meant to be switched off; {vae.pca.note}",
    )
    return _with_rate(rung, measure, vae, mse_sampled=rung.mse + vae.sampling_error())


def _at_bits(measure: _Yardstick, vae: LinearVAEReference, bits: float) -> Rung:
    rung = measure.rung(
        "R3-bits",
        "linear VAE at the same bits, decoded from a posterior sample",
        vae.reconstruct(measure.x),
        f"reverse water-filling at {bits:.4g} bits per sample; {vae.pca.note}",
        added=vae.sampling_error(),
    )
    return _with_rate(rung, measure, vae, mse_sampled=rung.mse)


def _with_rate(
    rung: Rung, measure: _Yardstick, vae: LinearVAEReference, *, mse_sampled: float
) -> Rung:
    kl = float(vae.kl(measure.x).mean())
    return dataclasses.replace(
        rung,
        kl=kl if math.isfinite(kl) else None,
        kl_predicted=vae.prediction.kl if math.isfinite(vae.prediction.kl) else None,
        mse_sampled=mse_sampled,
        active=vae.prediction.active,
    )


@dataclasses.dataclass(frozen=True)
class _Yardstick:
    """Measure any reconstruction of the same held-out samples."""

    x: Tensor
    variance: float
    peak: float | None

    @classmethod
    def of(cls, x_NCS: Tensor, peak: float | None) -> _Yardstick:
        return cls(x_NCS, float(x_NCS.double().var(0).mean()), peak)

    def rung(
        self, rung_id: str, name: str, x_hat_NCS: Tensor, note: str, *, added: float = 0.0
    ) -> Rung:
        """Measure x̂; `added` is squared error per element that comes on top of every sample."""
        error_N = (x_hat_NCS - self.x).square().flatten(1).double().mean(1) + added
        mse = float(error_N.mean())
        psnr = None
        if self.peak is not None and bool((error_N > 0).all()):
            psnr = float((10 * torch.log10(self.peak**2 / error_N)).mean())
        fvu = mse / self.variance if self.variance > 0 else None
        return Rung(rung_id, name, mse, psnr, fvu, note)
