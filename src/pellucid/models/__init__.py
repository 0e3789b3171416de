"""Autoencoder = encoder + bottleneck + decoder; its weights, its use on images of any size."""

from pellucid.models.autoencoder import Autoencoder, AutoencoderOutput
from pellucid.models.inference import reconstruct
from pellucid.models.precision import Precision, autocast_for, resolve_precision
from pellucid.models.receptive_field import receptive_field
from pellucid.models.weights import load_weights, read_tensors, save_weights

__all__ = [
    "Autoencoder",
    "AutoencoderOutput",
    "Precision",
    "autocast_for",
    "load_weights",
    "read_tensors",
    "receptive_field",
    "reconstruct",
    "resolve_precision",
    "save_weights",
]
