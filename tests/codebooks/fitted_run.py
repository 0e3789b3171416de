"""A run folder around a small continuous VAE with untrained weights, and its latents."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from pellucid.atomic_files import write_atomically
from pellucid.bottlenecks import Gaussian
from pellucid.codebooks import Latents, export_latents
from pellucid.data import ImageData
from pellucid.models.autoencoder import Autoencoder
from pellucid.nn import ResidualDecoder, ResidualEncoder
from pellucid.run_folder import RunFolder


def small_vae(seed: int = 0) -> Autoencoder:
    """A VAE from 16×16 images to 2×2×3 latents."""
    torch.manual_seed(seed)
    encoder = ResidualEncoder(3, 8, stride=8, width=8, multipliers=(1, 1))
    decoder = ResidualDecoder(3, 3, stride=8, width=8, multipliers=(1, 1))
    return Autoencoder(encoder, Gaussian(8, 3), decoder).eval()


def image_data(folder: Path, count: int = 60, seed: int = 0) -> ImageData:
    """Random blobs in two classes, as an .npz with labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    coarse = rng.integers(0, 255, (count, 2, 2, 3)) // (1 + labels[:, None, None, None])
    images = np.repeat(np.repeat(coarse, 8, 1), 8, 2).astype(np.uint8)
    np.savez(folder / "images.npz", images=images, labels=labels)
    return ImageData(str(folder / "images.npz"), size=16, resize=None, random_crop=False, test=0.2)


def run_with_latents(folder: Path) -> tuple[RunFolder, Autoencoder, Latents, ImageData]:
    """Everything a codebook is fitted on."""
    run = RunFolder(folder / "run")
    write_atomically(run.recipe, b"name: test\n")
    model, data = small_vae(), image_data(folder)
    return run, model, export_latents(run, model, lambda: data), data
