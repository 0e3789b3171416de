"""Discriminators: networks that tell reconstructions from data; a literal table names them."""

from pellucid.nn.discriminators.judgement import Discriminators, Judgement
from pellucid.nn.discriminators.patch import PatchDiscriminator
from pellucid.nn.discriminators.period import PeriodDiscriminator
from pellucid.nn.discriminators.spectral import SpectralDiscriminator

Discriminator = PeriodDiscriminator | SpectralDiscriminator | PatchDiscriminator

DISCRIMINATORS: dict[str, type[Discriminator]] = {
    "period": PeriodDiscriminator,
    "spectral": SpectralDiscriminator,
    "patch": PatchDiscriminator,
}

__all__ = [
    "DISCRIMINATORS",
    "Discriminators",
    "Judgement",
    "PatchDiscriminator",
    "PeriodDiscriminator",
    "SpectralDiscriminator",
]
