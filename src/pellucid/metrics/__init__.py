"""Metrics: measurements over a whole set, each with its unit, interval and convention."""

from pellucid.metrics.codes import CodeUsage
from pellucid.metrics.latent import GaussianRate
from pellucid.metrics.paired import PairedImages, eight_bit_pair, eight_bit_psnr
from pellucid.metrics.quantised_latent import LatentBits, quantised_latent_bits
from pellucid.metrics.waveforms import Measure, PairedWaveforms, waveform_measures

__all__ = [
    "CodeUsage",
    "GaussianRate",
    "LatentBits",
    "Measure",
    "PairedImages",
    "PairedWaveforms",
    "eight_bit_pair",
    "eight_bit_psnr",
    "quantised_latent_bits",
    "waveform_measures",
]
