"""Bottlenecks: what stands between encoder and decoder, behind one contract."""

from __future__ import annotations

from pellucid.bottlenecks.bsq import BSQ
from pellucid.bottlenecks.contract import Bottleneck, BottleneckOutput
from pellucid.bottlenecks.factorised import FactorisedRVQ
from pellucid.bottlenecks.fsq import FSQ
from pellucid.bottlenecks.gaussian import Gaussian
from pellucid.bottlenecks.identity import Identity
from pellucid.bottlenecks.lfq import LFQ
from pellucid.bottlenecks.rvq import RVQ
from pellucid.bottlenecks.simvq import SimVQ
from pellucid.bottlenecks.vq import VQ

BOTTLENECKS: dict[str, type[Bottleneck]] = {
    "identity": Identity,
    "gaussian": Gaussian,
    "vq": VQ,
    "rvq": RVQ,
    "factorised-rvq": FactorisedRVQ,
    "fsq": FSQ,
    "lfq": LFQ,
    "bsq": BSQ,
    "simvq": SimVQ,
}

__all__ = [
    "BOTTLENECKS",
    "BSQ",
    "FSQ",
    "LFQ",
    "RVQ",
    "VQ",
    "Bottleneck",
    "BottleneckOutput",
    "FactorisedRVQ",
    "Gaussian",
    "Identity",
    "SimVQ",
]
