"""Objectives: weighted sums of named terms, each a module (x_hat, target) → scalar."""

from pellucid.objectives.adversarial import (
    ADVERSARIAL,
    FEATURES,
    GanLoss,
    discriminator_loss,
    feature_matching,
    generator_loss,
)
from pellucid.objectives.balancer import Balancer
from pellucid.objectives.channel_noise import ChannelNoise
from pellucid.objectives.channels import Cosine
from pellucid.objectives.detail import Edge, FocalFrequency, Spectrum
from pellucid.objectives.gradient_shares import GradientShare, gradient_shares
from pellucid.objectives.intelligibility import Intelligibility
from pellucid.objectives.loudness import Loudness
from pellucid.objectives.objective import Objective, ObjectiveOutput, Weighted
from pellucid.objectives.perceptual import LPIPS, Perceptual, TimmFeatures
from pellucid.objectives.pixel import L1, L2, Charbonnier, GaussianNLL, Huber
from pellucid.objectives.spectral import STFT, CompressedSTFT, LogMel
from pellucid.objectives.structure import MSSSIMLoss, SSIMLoss
from pellucid.objectives.term import Term

TERMS: dict[str, type[Term]] = {
    "l1": L1,
    "l2": L2,
    "charbonnier": Charbonnier,
    "huber": Huber,
    "cosine": Cosine,
    "ssim": SSIMLoss,
    "ms-ssim": MSSSIMLoss,
    "channel-noise": ChannelNoise,
    "edge": Edge,
    "gaussian-nll": GaussianNLL,
    "focal-frequency": FocalFrequency,
    "spectrum": Spectrum,
    "perceptual": Perceptual,
    "lpips": LPIPS,
    "timm-features": TimmFeatures,
    "log-mel": LogMel,
    "stft": STFT,
    "compressed-stft": CompressedSTFT,
    "loudness": Loudness,
    "intelligibility": Intelligibility,
}

__all__ = [
    "ADVERSARIAL",
    "FEATURES",
    "L1",
    "L2",
    "LPIPS",
    "STFT",
    "TERMS",
    "Balancer",
    "ChannelNoise",
    "Charbonnier",
    "CompressedSTFT",
    "Cosine",
    "Edge",
    "FocalFrequency",
    "GanLoss",
    "GaussianNLL",
    "GradientShare",
    "Huber",
    "Intelligibility",
    "LogMel",
    "Loudness",
    "MSSSIMLoss",
    "Objective",
    "ObjectiveOutput",
    "Perceptual",
    "SSIMLoss",
    "Spectrum",
    "Term",
    "TimmFeatures",
    "Weighted",
    "discriminator_loss",
    "feature_matching",
    "generator_loss",
    "gradient_shares",
]
