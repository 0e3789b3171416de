"""The rows this version can examine: one line each, in the order of precedence.

To add a row: write `rules/<row>.py` with `missing(case)` and `examine(case)`, add its line here and
its thresholds to `thresholds.json`; `interventions/<row>.py` with `intervene(case, finding)` where
a fork can prove it.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable
from typing import Protocol

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.evidence import Confirmation, Finding
from pellucid.diagnosis.interventions import (
    affine_on_held_out,
    channel_weights,
    decoder_on_codes,
    fixed_seed,
    kmeans_codebook,
    lower_kl_weight,
)
from pellucid.diagnosis.pictures import (
    channels,
    code_usage,
    gradients,
    history,
    kl_per_dimension,
    lag,
    output_range,
    samples,
    spectrum,
    stride_pattern,
)
from pellucid.diagnosis.plot import Plot
from pellucid.diagnosis.rules import (
    amplitude_shrinkage,
    batchnorm_gap,
    blur,
    broken_filterbank,
    capacity_limit,
    channel_order,
    channel_scale_imbalance,
    checkerboard,
    codebook_collapse,
    codebook_ownership,
    codebook_too_small,
    colour_drift,
    commitment_drift,
    dc_offset,
    discriminator_dominates,
    free_bits_floor,
    frozen_module,
    gan_gradient_leak,
    inert_loss,
    latent_bypass,
    learning_rate,
    level_spread,
    logvar_blow_up,
    loss_imbalance,
    metallic_artefacts,
    metric_range,
    misalignment,
    output_saturation,
    overfitting,
    path_mismatch,
    perceptual_misfed,
    permutation_variance,
    post_hoc_gap,
    posterior_collapse,
    posterior_variance_floor,
    prior_hole,
    random_decoder,
    range_mismatch,
    rate_starvation,
    reduction_mismatch,
    spectral_nan,
    split_leak,
    stale_ema,
    straight_through_gain,
    tile_seams,
    unattainable_target,
    under_training,
    unpaired_evaluation,
    unreachable_target,
)


class Group(enum.IntEnum):
    """Precedence: a fault of an earlier group explains those of later ones."""

    MEASUREMENT = 0
    UNITS = 1
    WIRING = 2
    NUMERICS = 3
    TRAINING = 4
    CEILINGS = 5
    RATE = 6
    CODEBOOK = 7
    OBJECTIVE = 8
    ADVERSARY = 9
    GENERALISATION = 10
    ARTEFACTS = 11


class Rule(Protocol):
    """What a module in `rules` offers."""

    def missing(self, case: Case) -> str | None:
        """Return what would open the row, or None when it can be examined."""
        ...

    def examine(self, case: Case) -> Finding | None:
        """Return a finding, asserted or hinted, or None."""
        ...


class Intervention(Protocol):
    """What a module in `interventions` offers."""

    def intervene(self, case: Case, finding: Finding) -> Confirmation | None:
        """Predict, change one thing under a snapshot, measure; None when it cannot be done here."""
        ...


PlotMaker = Callable[[Case], Plot | None]
"""A function of `pictures`: draw what was measured, or None where there is nothing to draw."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the fault catalogue.

    Args:
        id: its stable name.
        access: letters of FAULTS: B, M, H, R.
        group: its place in the order of precedence.
        cost: 1 reuses the base pass, 2 runs the model again, 3 trains or searches, 4 comes last.
        rule: the module that examines it.
        explains: rows that are consequences of this one when both are met.
        intervention: the module that can prove it, or None.
        plots: functions that draw its evidence.
    """

    id: str
    access: str
    group: Group
    cost: int
    rule: Rule
    explains: tuple[str, ...] = ()
    intervention: Intervention | None = None
    plots: tuple[PlotMaker, ...] = ()


_ALL_OF_ERROR = (
    "under-training",
    "capacity-limit",
    "blur",
    "output-saturation",
    "colour-drift",
    "dc-offset",
    "amplitude-shrinkage",
    "misalignment",
    "level-spread",
    "checkerboard",
    "unreachable-target",
    "metallic-artefacts",
    "tile-seams",
)
"""What a broken decoder or broken units make look wrong besides themselves."""

_YOUNG = tuple(row for row in _ALL_OF_ERROR if row != "output-saturation")
"""What a model that has hardly learned looks like; a dead head is no matter of the rate."""

_BLUNT = ("under-training", "capacity-limit", "blur")
"""What any lost decibel can look like."""

_UNLEARNT = (*_BLUNT, "level-spread")
"""What a part that never learnt looks like: the loud is met, the rest is not."""

# fmt: off
ROWS: tuple[Row, ...] = (
    Row("unpaired-evaluation", "R", Group.MEASUREMENT, 1, unpaired_evaluation),
    Row("metric-range", "R", Group.MEASUREMENT, 1, metric_range),
    Row("misalignment", "B", Group.MEASUREMENT, 1, misalignment, ("amplitude-shrinkage", *_BLUNT),
        plots=(lag.correlation_against_lag,)),
    Row("range-mismatch", "B", Group.UNITS, 2, range_mismatch, _ALL_OF_ERROR, affine_on_held_out,
        plots=(output_range.output_against_data, output_range.output_quantiles)),
    Row("channel-order", "B", Group.UNITS, 1, channel_order, (*_ALL_OF_ERROR, "range-mismatch"),
        plots=(channels.channel_match,)),
    Row("channel-scale-imbalance", "B", Group.UNITS, 1, channel_scale_imbalance, _BLUNT,
        channel_weights, plots=(channels.r2_against_std, channels.std_by_channel)),
    Row("level-spread", "B", Group.UNITS, 2, level_spread, _BLUNT,
        plots=(samples.error_against_level,)),
    Row("perceptual-misfed", "M", Group.WIRING, 2, perceptual_misfed,
        ("loss-imbalance", "blur", "metallic-artefacts")),
    Row("reduction-mismatch", "M,R", Group.WIRING, 2, reduction_mismatch,
        ("rate-starvation", "posterior-collapse", "free-bits-floor", "prior-hole",
         "loss-imbalance", *_BLUNT)),
    Row("gan-gradient-leak", "M", Group.WIRING, 2, gan_gradient_leak,
        ("discriminator-dominates", "learning-rate", *_BLUNT)),
    Row("broken-filterbank", "M", Group.WIRING, 1, broken_filterbank),
    Row("random-decoder", "B", Group.WIRING, 2, random_decoder,
        (*_ALL_OF_ERROR, "frozen-module", "inert-loss", "path-mismatch"), fixed_seed),
    Row("frozen-module", "M", Group.WIRING, 2, frozen_module, (*_UNLEARNT, "inert-loss"),
        plots=(gradients.parameter_movement,)),
    Row("inert-loss", "M", Group.WIRING, 2, inert_loss, _UNLEARNT,
        plots=(gradients.gradient_shares,)),
    Row("codebook-ownership", "M", Group.WIRING, 2, codebook_ownership,
        ("codebook-collapse", "commitment-drift")),
    Row("straight-through-gain", "M", Group.WIRING, 2, straight_through_gain,
        ("inert-loss", "frozen-module", "codebook-collapse", "codebook-ownership",
         "commitment-drift", *_UNLEARNT),
        plots=(gradients.straight_through_multiple,)),
    Row("path-mismatch", "B", Group.WIRING, 2, path_mismatch),
    Row("permutation-variance", "B", Group.WIRING, 2, permutation_variance,
        ("path-mismatch", *_BLUNT)),
    Row("latent-bypass", "B", Group.WIRING, 2, latent_bypass, ("posterior-collapse",)),
    Row("output-saturation", "B,M", Group.NUMERICS, 1, output_saturation, _BLUNT,
        plots=(output_range.output_quantiles,)),
    Row("spectral-nan", "M", Group.NUMERICS, 2, spectral_nan),
    Row("logvar-blow-up", "B", Group.NUMERICS, 1, logvar_blow_up,
        ("posterior-variance-floor", "free-bits-floor", "under-training", "blur"),
        plots=(kl_per_dimension.posterior_noise,)),
    Row("learning-rate", "H,M", Group.TRAINING, 3, learning_rate,
        (*_YOUNG, "posterior-collapse", "codebook-collapse", "rate-starvation",
         "loss-imbalance", "commitment-drift", "batchnorm-gap"), plots=(history.training_history,)),
    Row("batchnorm-gap", "B,M", Group.TRAINING, 2, batchnorm_gap,
        (*_ALL_OF_ERROR, "range-mismatch", "path-mismatch")),
    Row("stale-ema", "M", Group.TRAINING, 2, stale_ema),
    Row("capacity-limit", "B,M", Group.CEILINGS, 3, capacity_limit, ("under-training", "blur"),
        plots=(spectrum.kept_power,)),
    Row("unreachable-target", "M", Group.CEILINGS, 3, unreachable_target,
        ("capacity-limit", "under-training", "posterior-collapse")),
    Row("unattainable-target", "B,R", Group.CEILINGS, 1, unattainable_target),
    Row("posterior-variance-floor", "B,M", Group.RATE, 2, posterior_variance_floor,
        (*_BLUNT, "rate-starvation"),
        plots=(kl_per_dimension.posterior_noise, kl_per_dimension.kl_per_dimension)),
    Row("free-bits-floor", "B,R", Group.RATE, 2, free_bits_floor, _BLUNT,
        plots=(kl_per_dimension.kl_per_dimension,)),
    Row("posterior-collapse", "B", Group.RATE, 2, posterior_collapse, _BLUNT,
        plots=(kl_per_dimension.kl_per_dimension,)),
    Row("rate-starvation", "B,R", Group.RATE, 2, rate_starvation, _BLUNT, lower_kl_weight,
        plots=(kl_per_dimension.kl_per_dimension,)),
    Row("codebook-collapse", "B", Group.CODEBOOK, 1, codebook_collapse, _BLUNT, kmeans_codebook,
        plots=(code_usage.code_usage,)),
    Row("commitment-drift", "B,H", Group.TRAINING, 3, commitment_drift,
        ("codebook-collapse", "under-training"), plots=(history.training_history,)),
    Row("post-hoc-gap", "B", Group.CODEBOOK, 3, post_hoc_gap,
        ("codebook-too-small", *_BLUNT), decoder_on_codes),
    Row("codebook-too-small", "B", Group.CODEBOOK, 3, codebook_too_small, _BLUNT,
        plots=(code_usage.code_usage,)),
    Row("blur", "B", Group.OBJECTIVE, 3, blur, ("under-training",),
        plots=(spectrum.kept_power, spectrum.power_spectrum)),
    Row("loss-imbalance", "M", Group.OBJECTIVE, 3, loss_imbalance,
        (*_ALL_OF_ERROR, "range-mismatch"), plots=(gradients.output_shares,)),
    Row("discriminator-dominates", "M,H", Group.ADVERSARY, 3, discriminator_dominates,
        (*_BLUNT, "range-mismatch", "colour-drift", "metallic-artefacts", "checkerboard")),
    Row("overfitting", "B", Group.GENERALISATION, 2, overfitting,
        plots=(samples.train_and_held_out,)),
    Row("split-leak", "B", Group.GENERALISATION, 1, split_leak, ("overfitting",)),
    Row("checkerboard", "B", Group.ARTEFACTS, 1, checkerboard,
        plots=(stride_pattern.error_by_phase, spectrum.power_spectrum)),
    Row("colour-drift", "B", Group.ARTEFACTS, 1, colour_drift, plots=(channels.channel_offsets,)),
    Row("dc-offset", "B", Group.ARTEFACTS, 1, dc_offset),
    Row("amplitude-shrinkage", "B", Group.ARTEFACTS, 1, amplitude_shrinkage,
        plots=(output_range.output_against_data,)),
    Row("metallic-artefacts", "B", Group.ARTEFACTS, 1, metallic_artefacts,
        plots=(spectrum.power_spectrum, spectrum.kept_power)),
    Row("tile-seams", "B", Group.ARTEFACTS, 2, tile_seams, ("under-training",)),
    Row("prior-hole", "B", Group.ARTEFACTS, 2, prior_hole),
    # Last to be examined: it is asserted only when nothing else is.
    Row("under-training", "B,H", Group.TRAINING, 4, under_training,
        plots=(history.training_history,)),
)
# fmt: on
