"""Bottlenecks: what stands between encoder and decoder, behind one contract."""

from __future__ import annotations

from pellucid.bottlenecks.contract import Bottleneck, BottleneckOutput
from pellucid.bottlenecks.factorised import FactorisedRVQ
from pellucid.bottlenecks.fsq import FSQ
from pellucid.bottlenecks.gaussian import Gaussian
from pellucid.bottlenecks.identity import Identity
from pellucid.bottlenecks.rvq import RVQ
from pellucid.bottlenecks.vq import VQ

BOTTLENECKS: dict[str, type[Bottleneck]] = {
    "identity": Identity,
    "gaussian": Gaussian,
    "vq": VQ,
    "rvq": RVQ,
    "factorised-rvq": FactorisedRVQ,
    "fsq": FSQ,
}

__all__ = [
    "BOTTLENECKS",
    "FSQ",
    "RVQ",
    "VQ",
    "Bottleneck",
    "BottleneckOutput",
    "FactorisedRVQ",
    "Gaussian",
    "Identity",
]
