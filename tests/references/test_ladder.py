"""The ladder on tensors, datasets and loaders of any shape."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from pellucid.errors import DataError
from pellucid.references.ladder import Ladder, ladder
from pellucid.references.samples import affordable, collect, spaced

CLOTHING = Path(__file__).parents[2].parent / "shared" / "datasets" / "clothing"


class Items(torch.utils.data.Dataset):
    def __init__(self, x: torch.Tensor) -> None:
        self.x = x

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> dict[str, object]:
        return {"x": self.x[index] * 0, "target": self.x[index], "index": index, "group": index}


def low_rank(n: int, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    basis = torch.randn(6, math.prod(shape), generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(n, 6, generator=generator)
    noise = torch.randn(n, math.prod(shape), generator=generator)
    return (weights @ basis + 0.05 * noise).view(n, *shape) + 2


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 160), (5, 4, 8, 8)])
def test_rungs_stand_where_they_should(shape: tuple[int, ...]) -> None:
    found = ladder(low_rank(200, shape, 1), low_rank(100, shape, 2), 6, 4, kl_weight=1e-4, peak=1.0)
    assert found["R0"].fvu == pytest.approx(2, rel=0.15)
    assert found["R1"].fvu == pytest.approx(1, rel=0.05)
    assert found["R2"].mse == pytest.approx(0.05**2, rel=0.15)
    assert found["R3"].mse >= found["R2"].mse
    assert found["R3"].kl is not None
    assert found["R3"].kl_predicted is not None
    assert found["R3"].kl == pytest.approx(found["R3"].kl_predicted, rel=0.1)


def test_more_bits_bring_the_linear_vae_closer_to_pca() -> None:
    train, held_out = low_rank(400, (1, 6, 6), 1), low_rank(400, (1, 6, 6), 2)
    found = [ladder(train, held_out, 6, 3, bits=bits, peak=1.0) for bits in (1.0, 8.0, 40.0, 90.0)]
    errors = [each["R3-bits"].mse for each in found]
    assert errors == sorted(errors, reverse=True)
    assert found[0]["R1"].mse > errors[0]
    assert errors[-1] == pytest.approx(found[-1]["R2"].mse, rel=0.05)
    for each, bits in zip(found, (1.0, 8.0, 40.0, 90.0), strict=True):
        assert each["R3-bits"].kl_predicted == pytest.approx(bits * math.log(2))
        assert each["R3-bits"].kl == pytest.approx(bits * math.log(2), rel=0.15)


def test_psnr_is_the_mean_over_samples_and_needs_a_peak() -> None:
    train, held_out = low_rank(50, (1, 6, 6), 1), low_rank(20, (1, 6, 6), 2)
    errors = (held_out - train.mean(0)).square().flatten(1).mean(1)
    expected = float((10 * torch.log10(4 / errors)).mean())
    assert ladder(train, held_out, 4, 3, peak=2.0)["R1"].psnr == pytest.approx(expected, abs=1e-4)
    assert ladder(train, held_out, 4, 3)["R1"].psnr is None


def test_datasets_tensors_and_loaders_agree() -> None:
    train, held_out = low_rank(40, (1, 6, 6), 1), low_rank(20, (1, 6, 6), 2)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(held_out), batch_size=7)
    a = ladder(train, held_out, 4, 3, kl_weight=1e-3)
    assert ladder(Items(train), Items(held_out), 4, 3, kl_weight=1e-3) == a
    assert ladder(train, loader, 4, 3, kl_weight=1e-3) == a


def test_it_survives_json_and_leaves_r3_out_without_a_weight() -> None:
    train, held_out = low_rank(40, (1, 6, 6), 1), low_rank(20, (1, 6, 6), 2)
    for kl_weight, bits in ((None, None), (1e-3, 20.0)):
        found = ladder(train, held_out, 4, 3, kl_weight=kl_weight, bits=bits, peak=1.0)
        assert Ladder.from_json(json.loads(json.dumps(found.to_json()))) == found
    with pytest.raises(KeyError):
        ladder(train, held_out, 4, 3)["R3"]


def test_a_constant_held_out_set_has_no_fvu() -> None:
    flat = torch.ones(8, 1, 6, 6)
    found = ladder(flat, flat, 4, 3, bits=10.0, peak=1.0)
    assert [(rung.mse, rung.fvu, rung.psnr) for rung in found.rungs] == [(0, None, None)] * 3


def test_samples_are_spread_evenly_and_never_repeat() -> None:
    assert spaced(10, 5) == [1, 3, 5, 7, 9]
    assert spaced(3, 8) == [0, 1, 2]
    for total, count in ((7, 3), (1000, 999), (5, 1)):
        found = spaced(total, count)
        assert len(set(found)) == count
        assert all(0 <= i < total for i in found)
    assert affordable(10**12) == 2


def test_bad_sets_are_refused() -> None:
    x = low_rank(10, (1, 6, 6), 1)
    with pytest.raises(DataError, match="differ in shape"):
        ladder(x, low_rank(10, (1, 6, 7), 1), 4, 3)
    with pytest.raises(DataError, match="too few held-out"):
        ladder(x, x[:1], 4, 3)
    with pytest.raises(DataError, match="no samples"):
        collect([], 4)
    with pytest.raises(DataError, match="differ in shape"):
        collect([torch.zeros(1, 4), torch.zeros(1, 5)], 4)


def test_patch_pca_on_photographs_of_clothing() -> None:
    """Held-out patch-PCA of 16×16 patches with 16 numbers each reaches 23.7 dB on one split."""
    files = sorted(CLOTHING.glob("*/*.*"))
    if not files:
        pytest.skip(f"no photographs at {CLOTHING}")
    from PIL import Image

    def square(path: Path) -> np.ndarray:
        with Image.open(path) as image:
            side = min(image.size)
            left, top = ((extent - side) // 2 for extent in image.size)
            crop = image.convert("RGB").crop((left, top, left + side, top + side))
            return np.asarray(crop.resize((128, 128), Image.Resampling.LANCZOS))

    x = torch.from_numpy(np.stack([square(path) for path in files])).permute(0, 3, 1, 2) / 255
    held_out = torch.arange(len(x)) % 7 == 3
    found = ladder(x[~held_out], x[held_out], 1024, 16, peak=1.0)
    assert found["R2"].psnr == pytest.approx(23.7, abs=1.0)
    assert "16×16 patches with 16 numbers each" in found["R2"].note
