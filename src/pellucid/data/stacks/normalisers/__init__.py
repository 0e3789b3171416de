"""Normalisers of stacks: fitted on training values, saved with the run, inverted on output."""

from collections.abc import Callable

from pellucid.data.stacks.normalisers.arcsinh import Arcsinh
from pellucid.data.stacks.normalisers.chain import Chain, Step
from pellucid.data.stacks.normalisers.clip import Clip
from pellucid.data.stacks.normalisers.contract import Normaliser
from pellucid.data.stacks.normalisers.log1p import Log1p
from pellucid.data.stacks.normalisers.per_sample import PerSample
from pellucid.data.stacks.normalisers.whiten import Whiten
from pellucid.data.stacks.normalisers.zscore import ZScore

NORMALISERS: dict[str, Callable[..., Step]] = {
    "arcsinh": Arcsinh,
    "log1p": Log1p,
    "clip": Clip,
    "zscore": ZScore,
    "whiten": Whiten,
    "per-sample": PerSample,
}

__all__ = [
    "NORMALISERS",
    "Arcsinh",
    "Chain",
    "Clip",
    "Log1p",
    "Normaliser",
    "PerSample",
    "Step",
    "Whiten",
    "ZScore",
]
