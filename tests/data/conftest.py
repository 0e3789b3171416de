"""Images written for the tests of this room."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

torch.set_num_threads(1)


def smooth_pixels(seed: int, height: int = 48, width: int = 40, channels: int = 3) -> np.ndarray:
    """Random smooth colours: no two seeds look alike, and every pixel differs from the next."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (6, 5, channels), dtype=np.uint8)
    image = Image.fromarray(coarse if channels == 3 else coarse[..., 0])
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of twelve different PNGs."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(12):
        Image.fromarray(smooth_pixels(seed)).save(folder / f"{seed:02}.png")
    return folder


@pytest.fixture
def shared_datasets() -> Path:
    """Real data beside the checkout."""
    folder = Path(__file__).parents[2].parent / "shared" / "datasets"
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}")
    return folder


@pytest.fixture
def imc(shared_datasets: Path) -> Path:
    """Imaging mass cytometry of nine small regions, which lies beside the repository."""
    return shared_datasets / "imc_hyperion"


@pytest.fixture
def mibi(shared_datasets: Path) -> Path:
    """One 41-channel ion-count image, which lies beside the repository."""
    return shared_datasets / "mibi"
