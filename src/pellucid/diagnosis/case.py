"""Everything known about one subject while it is being diagnosed; measured once, used by all rules.

Shape letters: N samples, C channels, P positions, d latent numbers per sample.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from pellucid.diagnosis.clock import Clock
from pellucid.diagnosis.evidence import Finding
from pellucid.diagnosis.runner import Runner, decoded_latent
from pellucid.diagnosis.samples import Samples
from pellucid.diagnosis.snapshot import Snapshot
from pellucid.diagnosis.subject import Subject
from pellucid.diagnosis.thresholds import Threshold, thresholds
from pellucid.records import Latent

T = TypeVar("T")

PASS_SHARE = 1 / 25
"""Part of the budget that one pass over the held samples may take; about ten are needed."""


class Case:
    """One diagnosis in progress.

    Args:
        subject: what is diagnosed.
        runner: how it is called.
        fit_NCP: samples that references are fitted on (the training samples).
        x_NCP: samples that everything is measured on (held out where validation was given).
        train_NCP: training samples to compare with, or None when the two cannot be told apart.
        clock: the time budget.
        goal: ("psnr" or "snr", dB), or None.
    """

    def __init__(
        self,
        subject: Subject,
        runner: Runner,
        *,
        fit_NCP: Tensor,
        x_NCP: Tensor,
        train_NCP: Tensor | None,
        clock: Clock,
        goal: tuple[str, float] | None,
    ) -> None:
        self.subject, self.runner, self.clock, self.goal = subject, runner, clock, goal
        self.fit, self.x, self.train = fit_NCP, x_NCP, train_NCP
        self.reachable = subject.reachable()
        self.pass_seconds = 0.0
        self.notes: list[str] = []
        self.findings: list[Finding] = []
        self._measured: dict[Any, Any] = {}

    # --- measuring once -------------------------------------------------------------------------

    def measure(self, probe: Callable[[Case], T]) -> T:
        """Run a probe once; a second caller gets the same result, or the same error."""
        if probe not in self._measured:
            try:
                self._measured[probe] = (probe(self), None)
            except Exception as error:  # kept and raised again for every caller
                self._measured[probe] = (None, error)
        result, error = self._measured[probe]
        if error is not None:
            raise error
        return result

    def threshold(self, name: str) -> Threshold:
        """Return a threshold by name, e.g. "range-mismatch.refit_gain_db"."""
        return thresholds()[name]

    def found(self, *ids: str) -> bool:
        """Say whether one of these rows has been asserted already."""
        return any(f.asserted and f.id in ids for f in self.findings)

    # --- the base pass ----------------------------------------------------------------------------

    @functools.cached_property
    def _passed(self) -> tuple[Latent, Tensor]:
        return self.runner.roundtrip(self.x)

    @property
    def latent(self) -> Latent:
        """Latents of `x`."""
        return self._passed[0]

    @property
    def x_hat(self) -> Tensor:
        """decode(encode(x)), shaped like `x`."""
        return self._passed[1]

    @functools.cached_property
    def z(self) -> Tensor:
        """What the decoder receives for `x`: (N, d, P...)."""
        return decoded_latent(self.latent)

    @property
    def latent_size(self) -> int:
        """d: numbers per sample that the decoder receives."""
        return self.z[0].numel()

    @property
    def elements(self) -> int:
        """D: numbers per sample of the data."""
        return self.x[0].numel()

    @functools.cached_property
    def mse(self) -> float:
        """Mean squared error of decode(encode(x))."""
        return mean_square(self.x_hat - self.x)

    @functools.cached_property
    def mean_sample(self) -> Tensor:
        """(1, C, P...) the mean of the samples references are fitted on."""
        return self.fit.mean(0, keepdim=True)

    @functools.cached_property
    def variance(self) -> float:
        """R1: the mean squared error of answering with the mean sample."""
        return max(mean_square(self.x - self.mean_sample), 1e-20)

    @property
    def fvu(self) -> float:
        """Fraction of variance unexplained, MSE / R1."""
        return self.mse / self.variance

    # --- what kind of data ------------------------------------------------------------------------

    @property
    def is_audio(self) -> bool:
        """True for waveforms (B, C, T)."""
        return self.x.ndim == 3

    @functools.cached_property
    def peak(self) -> float | None:
        """Peak of the PSNR, or None when SNR is the fitting number (audio, stacks)."""
        if self.is_audio or self.x.ndim < 4 or self.x.shape[1] > 4:
            return None
        low, high = self.subject.value_range
        slack = 0.05 * (high - low)
        if low - slack <= float(self.x.min()) and float(self.x.max()) <= high + slack:
            return float(high - low)
        return None

    @property
    def decibel(self) -> str:
        """The name of the decibels used throughout."""
        if self.peak is None:
            return "SNR (10·log10 of variance over error, pooled)"
        return f"PSNR (peak {self.peak:g}, pooled error)"

    def db(self, mse: float) -> float:
        """Return PSNR or SNR of a mean squared error."""
        reference = self.variance if self.peak is None else self.peak**2
        return decibels(reference / max(mse, 1e-20))

    @functools.cached_property
    def stride(self) -> int | None:
        """Stride of the model in elements per latent position, where both have positions."""
        if self.z.ndim != self.x.ndim or self.z.ndim < 3:
            return None
        return max(1, round(self.x.shape[-1] / self.z.shape[-1]))

    # --- touching the subject's code --------------------------------------------------------------

    @contextlib.contextmanager
    def training_mode(self) -> Iterator[None]:
        """Put every module in training mode under a snapshot of its own, with gradients enabled."""
        with Snapshot(self.reachable):
            set_mode(self.reachable.roots, training=True)
            frozen = [self.frozen_module(name) for name in self.subject.frozen]
            set_mode([m for m in frozen if m is not None], training=False)
            with torch.enable_grad():
                yield

    def frozen_module(self, name: str) -> nn.Module | None:
        """Return the module a dotted name in `frozen` means, or None."""
        head, _, rest = name.partition(".")
        module = self.subject.modules.get(head)
        try:
            return module.get_submodule(rest) if module is not None else None
        except AttributeError:
            return None

    def batch_of(self, x_NCP: Tensor, start: int = 0, size: int | None = None) -> Tensor:
        """Return one training-sized batch on the model's device, wrapping around the end."""
        size = size or max(self.runner.batch if self.runner.batch <= 64 else 64, 2)
        index = torch.arange(start, start + size) % len(x_NCP)
        return self.runner.to_model(x_NCP[index])


def set_mode(modules: Any, *, training: bool) -> None:
    """Set the training mode of modules and everything below them."""
    for module in modules:
        module.train(training)


def cosine(a: Tensor, b: Tensor) -> float:
    """Return the cosine between two tensors; 0 when either is zero."""
    return float((a * b).sum() / (a.norm() * b.norm()).clamp_min(1e-30))


def mean_square(x: Tensor) -> float:
    """Return E[x²] in float64."""
    return float(x.detach().double().square().mean())


def per_sample(x_NCP: Tensor) -> Tensor:
    """Return (N,) mean squares in float64."""
    return x_NCP.detach().double().flatten(1).square().mean(1)


def decibels(ratio: float) -> float:
    """Return 10·log10 of a power ratio."""
    return 10 * math.log10(max(ratio, 1e-30))


def build_case(
    subject: Subject,
    train: Samples,
    validation: Samples | None,
    clock: Clock,
    goal: tuple[str, float] | None,
) -> Case:
    """Settle how the model runs and on how many samples it can be measured in time.

    One pass over them gets `PASS_SHARE` of the budget: as many as it holds, 16 to 512.
    """
    source = validation or train
    runner = Runner(subject, source.x, source.batch)
    # Finding out how it runs has warmed the model up, so this batch costs what others will.
    probe_clock = Clock(math.inf)
    runner.roundtrip(source.x[: runner.batch])
    per_batch, runner_batch = max(probe_clock.elapsed, 1e-4), runner.batch
    affordable = int(clock.budget_seconds * PASS_SHARE / per_batch * runner.batch)
    count = max(16, min(512, affordable))
    if count < 2 * runner.batch:  # a slow model: padding a last batch would waste time
        runner.shrink(8, source.x)
    if validation is None:
        held = train.x[-min(count, max(2, len(train) // 2)) :]
        fit, compared = train.x[: max(2, len(train) - len(held))], None
    else:
        chosen = torch.linspace(0, len(validation) - 1, min(count, len(validation))).round().long()
        held, fit, compared = validation.x[chosen], train.x, train.x[:count]
    case = Case(
        subject,
        runner,
        fit_NCP=_affordable(fit),
        x_NCP=held,
        train_NCP=compared,
        clock=clock,
        goal=goal,
    )
    case.pass_seconds = per_batch / runner_batch * len(held)
    case.notes.append(f"measured on {len(held)} of {source.note}, references fitted on {len(fit)}")
    case.notes += [s.trouble for s in (train, validation) if s is not None and s.trouble]
    if validation is None:
        case.notes.append("no validation data were given: nothing can be said about unseen samples")
    return case


def _affordable(fit_NCP: Tensor) -> Tensor:
    """Keep principal axes within seconds: fewer samples where they are large."""
    limit = 2048 if fit_NCP[0].numel() <= 1024 else 768
    return fit_NCP[:: max(1, math.ceil(len(fit_NCP) / limit))]
