"""Named image sets: bundled photographs, and what torchvision downloads, reads and verifies."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from urllib.error import URLError

import numpy as np

from pellucid.data.arrays import array_source, channels_last
from pellucid.data.reading import FileReader
from pellucid.data.sources import Source
from pellucid.errors import DataError, require

NAMED = ("photographs", "cifar10", "mnist", "fashion-mnist")

# Real colour photographs, one per scene (motorcycle_right shows the scene of motorcycle_left);
# the Hubble deep field is left out: nearly black crops of a star field say little about a model.
PHOTOGRAPHS = {
    "skimage.data": (
        "astronaut.png",
        "chelsea.png",
        "coffee.png",
        "ihc.png",
        "motorcycle_left.png",
        "retina.jpg",
        "rocket.jpg",
    ),
    "sklearn.datasets": ("images/china.jpg", "images/flower.jpg"),
}

PHOTOGRAPHS_FOR_TEST = ("chelsea.png", "china.jpg")  # fur and architecture: neither is easy

_CLASSES = {"cifar10": "CIFAR10", "mnist": "MNIST", "fashion-mnist": "FashionMNIST"}
_IDX = tuple(
    f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
)
_CIFAR = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta")
_FILES = {
    "cifar10": ("cifar-10-batches-py/", _CIFAR),
    "mnist": ("MNIST/raw/", _IDX),
    "fashion-mnist": ("FashionMNIST/raw/", _IDX),
}


def open_photographs() -> Source:
    """Open the colour photographs that scikit-image and scikit-learn bring along, one per scene.

    Raises:
        MissingExtraError: when one of the two is not installed.
        DataError: when an installation lacks its photographs.
    """
    paths = []
    for module, files in PHOTOGRAPHS.items():
        package = require(module, extra="image", purpose="the bundled photographs")
        paths += [Path(str(package.__file__)).parent / file for file in files]
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise DataError(
            "the installed libraries lack bundled photographs",
            found=f"no {', '.join(missing)}",
            hint="reinstall scikit-image and scikit-learn, or give data.path",
        )
    paths.sort(key=lambda path: path.name)
    names = tuple(path.name for path in paths)
    tested = frozenset(names.index(name) for name in PHOTOGRAPHS_FOR_TEST)
    return Source("photographs", names, names, FileReader(paths), official_test=tested)


def default_root() -> Path:
    """Return the folder that named sets are downloaded into when `root` is not given."""
    return Path.home() / ".cache" / "pellucid" / "datasets"


def open_torchvision(name: str, root: str | None = None) -> Source:
    """Open a named set; its own test images are the test split.

    Args:
        name: which set.
        root: folder that holds or receives its files; default ~/.cache/pellucid/datasets.

    Raises:
        MissingExtraError: without torchvision.
        DataError: when its files are neither there nor can be downloaded.
    """
    datasets = require("torchvision.datasets", extra="image", purpose=f"the set '{name}'")
    place = Path(root).expanduser() if root is not None else default_root()
    opener = getattr(datasets, _CLASSES[name])
    try:
        parts = [opener(str(place), train=train, download=True) for train in (True, False)]
    except (URLError, OSError, RuntimeError) as error:
        folder, files = _FILES[name]
        raise DataError(
            f"the set '{name}' is not in its folder and cannot be downloaded",
            where=place,
            expected=f"in {place / folder}: {', '.join(files)}",
            found=(str(error).splitlines() or [type(error).__name__])[0],
            hint="put those files there, or say data.root=FOLDER that has them",
        ) from error
    images = np.concatenate([np.asarray(part.data) for part in parts])
    labels = np.concatenate([np.asarray(part.targets) for part in parts])
    source = array_source(name, channels_last(images, name), {"labels": labels})
    train = len(parts[0].data)
    names = [f"train/{i}" if i < train else f"test/{i - train}" for i in range(len(images))]
    classes = tuple(str(parts[0].classes[int(value)]) for value in source.classes)
    return dataclasses.replace(
        source,
        names=tuple(names),
        groups=tuple(names),
        classes=classes,
        official_test=frozenset(range(train, len(images))),
    )
