"""Export what the encoder says about every sample: ordered, unaugmented, memory-mapped.

RUN/latents/ holds, per split, SPLIT.mean.npy and, of a Gaussian posterior, SPLIT.logvar.npy and
SPLIT.z.npy, each (N, D, P…) float32; SPLIT.labels.npy (N,) int64 where there are labels; and
latents.json with the fingerprint of the model, the seed of z and the shapes. The folder is replaced
as a whole, so it is all there or not there.

Shape letters: N samples, B batch, D latent channels, P positions (any number of axes).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import open_memmap
from torch import Tensor

from pellucid.atomic_files import whole_folder
from pellucid.bitstream.fingerprint import fingerprint
from pellucid.errors import DataError, RunError
from pellucid.evaluation.passes import batches
from pellucid.models.autoencoder import Autoencoder
from pellucid.run_folder import RunFolder

SPLITS = ("train", "validation", "test")
_RECORD = "latents.json"
_BATCH = 64


@dataclasses.dataclass(frozen=True)
class SplitLatents:
    """The latents of one split, memory-mapped and read-only.

    Args:
        mean: (N, D, P…) what the model deploys.
        logvar: (N, D, P…) in nats, or None when the posterior is no Gaussian.
        z: (N, D, P…) one sample of each posterior, or None likewise.
        labels: (N,) classes, or None.
    """

    mean: np.ndarray
    logvar: np.ndarray | None
    z: np.ndarray | None
    labels: np.ndarray | None

    def source(self, name: str) -> np.ndarray:
        """Return the latents to fit on: "mean" or "sample".

        Raises:
            DataError: for samples of a posterior that has no variance.
        """
        if name == "mean":
            return self.mean
        if self.z is None:
            raise DataError(
                "this model's posterior has no variance to sample from",
                where="--source sample",
                expected="--source mean, or a run with a gaussian bottleneck",
            )
        return self.z


@dataclasses.dataclass(frozen=True)
class Latents:
    """All exported splits of a run.

    Args:
        model: fingerprint of the weights they come from.
        seed: of z.
        splits: by name; empty splits are absent.
    """

    model: str
    seed: int
    splits: dict[str, SplitLatents]

    @property
    def grid(self) -> tuple[int, ...]:
        """Positions P… of one sample."""
        return next(iter(self.splits.values())).mean.shape[2:]

    @property
    def dim(self) -> int:
        """Latent channels D."""
        return next(iter(self.splits.values())).mean.shape[1]


def model_fingerprint(autoencoder: Autoencoder) -> str:
    """Return what tells these weights from any others, as text."""
    return fingerprint(autoencoder.state_dict()).hex()


def export_latents(
    folder: RunFolder,
    autoencoder: Autoencoder,
    open_data: Callable[[], Any],
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Latents:
    """Write RUN/latents/ unless it is there and of this very model and seed; open it.

    z = μ + σ·ε with ε from a generator seeded with `seed` per split, so it does not depend on the
    batch size or on what ran before.

    Args:
        folder: of the run.
        autoencoder: in evaluation mode on any device.
        open_data: returns what has .train, .validation and .test image splits; not called when
            nothing has to be done.
        seed: of z.
        progress: called with (done, total) samples.

    Raises:
        DataError: when the samples are not images of one size.
        RunError: when it cannot be written.
    """
    known = _read_record(folder)
    model = model_fingerprint(autoencoder)
    if known is not None and known["model"] == model and known["seed"] == seed:
        return open_latents(folder)
    data = open_data()
    plain = {name: _plain(getattr(data, name)) for name in SPLITS}
    total = sum(len(split) for split in plain.values())
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if progress is not None:
            progress(done, total)

    with whole_folder(folder.latents) as target:
        shapes = {
            name: _write_split(target, name, split, autoencoder, seed, advance)
            for name, split in plain.items()
            if len(split)
        }
        record = {"model": model, "seed": seed, "splits": shapes}
        folder.write_json(target / _RECORD, record)
    return open_latents(folder)


def open_latents(folder: RunFolder) -> Latents:
    """Memory-map what `export_latents` wrote.

    Raises:
        RunError: when there are none, or a file is missing or of another shape.
    """
    record = _read_record(folder)
    if record is None:
        raise RunError(
            "this run's latents were not exported yet",
            where=folder.latents,
            hint=f"pellucid latents {folder.path}",
        )
    splits = {}
    for name, shapes in record["splits"].items():
        arrays = {key: _map(folder.latents / f"{name}.{key}.npy", s) for key, s in shapes.items()}
        splits[name] = SplitLatents(
            *(arrays.get(key) for key in ("mean", "logvar", "z", "labels"))  # type: ignore[arg-type]
        )
    return Latents(record["model"], int(record["seed"]), splits)


def _plain(split: Any) -> Any:
    if not hasattr(split, "unaugmented"):
        raise DataError(
            "latents are exported of images of one size",
            expected="a run with data.kind: images",
            found=type(split).__name__,
        )
    return split.unaugmented()


@torch.no_grad()
def _write_split(
    target: Path,
    name: str,
    split: Any,
    autoencoder: Autoencoder,
    seed: int,
    advance: Callable[[int], None],
) -> dict[str, list[int]]:
    device = next(autoencoder.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    files: dict[str, np.memmap] = {}
    start, labels = 0, []
    for batch in batches(split, range(len(split)), _BATCH):
        latent = autoencoder.encode(batch.x.to(device))
        arrays = {"mean": latent.mean.float().cpu()}
        if latent.logvar is not None:
            arrays["logvar"] = latent.logvar.float().cpu()
            noise = torch.randn(arrays["mean"].shape, generator=generator)
            arrays["z"] = arrays["mean"] + (0.5 * arrays["logvar"]).exp() * noise
        for key, values in arrays.items():
            if key not in files:
                files[key] = _create(target / f"{name}.{key}.npy", len(split), values)
            files[key][start : start + len(values)] = values.numpy()
        labels += batch.labels or []
        start += len(batch.indices)
        advance(len(batch.indices))
    for file in files.values():
        file.flush()
    shapes = {key: list(file.shape) for key, file in files.items()}
    if labels:
        np.save(target / f"{name}.labels.npy", np.asarray(labels, np.int64), allow_pickle=False)
        shapes["labels"] = [len(labels)]
    return shapes


def _create(path: Path, count: int, like: Tensor) -> np.memmap:
    return open_memmap(path, mode="w+", dtype=np.float32, shape=(count, *like.shape[1:]))


def _map(path: Path, shape: list[int]) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise RunError("latents cannot be read", where=path, found=error) from error
    if list(array.shape) != shape:
        raise RunError("latents of another shape", where=path, expected=shape, found=array.shape)
    return array


def _read_record(folder: RunFolder) -> dict[str, Any] | None:
    path = folder.latents / _RECORD
    return folder.read_json(path) if path.is_file() else None
