"""Named sets: the bundled photographs, and torchvision's sets without a network."""

from __future__ import annotations

import struct
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest

from pellucid.data import ImageData
from pellucid.errors import DataError, MissingExtraError


def write_idx(path: Path, values: np.ndarray) -> None:
    header = struct.pack(">HBB", 0, 8, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header + values.astype(np.uint8).tobytes())


@pytest.fixture
def mnist_root(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for part, count in (("train", 60), ("t10k", 20)):
        raw = tmp_path / "MNIST" / "raw"
        write_idx(raw / f"{part}-images-idx3-ubyte", rng.integers(0, 256, (count, 28, 28)))
        write_idx(raw / f"{part}-labels-idx1-ubyte", np.arange(count) % 10)
    return tmp_path


def test_photographs_are_split_by_photograph() -> None:
    data = ImageData(name="photographs", resize=None, train_crops=20, crops_per_image=9)
    parts = [set(part) for part in data.splits["items"].values()]
    assert len(set.union(*parts)) == sum(map(len, parts)) == 9
    assert parts[2] == {"chelsea.png", "china.jpg"}
    assert len(data.train) == 20 * len(parts[0])
    assert len(data.test) == 18
    assert sorted(data.test.batch(range(18))["group"].unique(return_counts=True)[1]) == [9, 9]
    assert data.report.skipped == {}


def test_mnist_keeps_its_own_test_images(mnist_root: Path) -> None:
    data = ImageData(name="mnist", root=str(mnist_root), size=28, channels=1, resize=None, test=0.5)
    assert len(data.test) == 20
    assert {name.split("/")[0] for name in data.splits["items"]["test"]} == {"test"}
    assert {name.split("/")[0] for name in data.splits["items"]["train"]} == {"train"}
    assert len(data.train) + len(data.validation) == 60
    assert len(data.classes) == 10
    assert data.test[3]["label"] == 3


@pytest.mark.parametrize(
    ("name", "opener", "file"),
    [
        ("cifar10", "CIFAR10", "cifar-10-batches-py: data_batch_1"),
        ("fashion-mnist", "FashionMNIST", "FashionMNIST/raw: train-images-idx3-ubyte"),
    ],
)
def test_offline_the_error_says_which_files_to_put_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, opener: str, file: str
) -> None:
    import torchvision.datasets

    def offline(*_: object, **__: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(torchvision.datasets, opener, offline)
    with pytest.raises(DataError, match="cannot be downloaded") as caught:
        ImageData(name=name, root=str(tmp_path))  # type: ignore[arg-type]
    assert f"in {tmp_path}/{file}" in str(caught.value)
    assert "no network" in str(caught.value)


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "skimage.data", None)
    with pytest.raises(MissingExtraError, match=r"pellucid\[image\]"):
        ImageData(name="photographs")
