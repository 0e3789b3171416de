"""Send a user's own stacks through a run's model and write them back as OME-TIFF."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pellucid.atomic_files import write_atomically
from pellucid.errors import RunError, require
from pellucid.workflows.progress import progress_bar
from pellucid.workflows.stack_pass import reconstruct_region
from pellucid.workflows.user_stacks import open_user_stacks

if TYPE_CHECKING:
    from pellucid.data.stacks.store import Store
    from pellucid.workflows.run import Run


def reconstruct_stacks(
    run: Run, path: str | Path, *, out: str | Path | None = None, progress: bool = True
) -> dict[str, Any]:
    """Reconstruct regions of any size, in the unit of the data, channels named.

    Args:
        run: of stacks.
        path: a file or a folder of stacks that have the run's channels.
        out: where to write; by default `RUN/reconstructed/`.
        progress: draw a progress bar.

    Returns:
        `{"folder", "stacks": [{"name", "file", "height", "width", "r2": marker → R²}], "skipped"}`,
        also written as `index.json`; R² is judged on arcsinh(values).

    Raises:
        DataError: when there is nothing to read, or a channel is missing.
        RunError: when the run has no weights or normaliser, or the output cannot be written.
    """
    from pellucid.build.assemble import data_facts

    stacks = open_user_stacks(run, path)
    chain, store = stacks.chain, stacks.store
    autoencoder = run.load()
    size = data_facts(run.recipe).size
    folder = Path(out) if out is not None else run.path / "reconstructed"
    done = []
    with progress_bar("reconstructing", shown=progress) as report_progress:
        for number, region in enumerate(store.regions):
            target = folder / f"{region.name}.ome.tiff"
            shape = (len(chain.channels), region.height, region.width)
            with _Written(target, shape, chain.channels) as values:
                reconstruct_region(
                    autoencoder, chain, store, number, values, size=size,
                    progress=report_progress if len(store.regions) == 1 else None,
                )  # fmt: skip
                r2 = _r2(store, number, values)
            report_progress(number + 1, len(store.regions))
            done.append(
                {
                    "name": region.name,
                    "file": target.relative_to(folder).as_posix(),
                    "height": region.height,
                    "width": region.width,
                    "r2": dict(zip(chain.channels, r2, strict=True)),
                }
            )
    skipped = [{"name": name, "reason": why} for name, why in stacks.skipped]
    result = {"folder": str(folder), "stacks": done, "skipped": skipped}
    write_atomically(folder / "index.json", (json.dumps(result, indent=2) + "\n").encode())
    return result


class _Written:
    """A memory-mapped OME-TIFF that takes its name when it is whole."""

    def __init__(self, path: Path, shape: tuple[int, ...], names: tuple[str, ...]) -> None:
        self.path, self.shape, self.names = path, shape, names

    def __enter__(self) -> np.ndarray:
        tifffile = require("tifffile", extra="tissue", purpose="writing OME-TIFF")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(
                dir=self.path.parent, prefix=f".{self.path.name}.", suffix=".ome.tiff"
            )
            os.close(handle)
            self.temporary = Path(name)
            self.values = tifffile.memmap(
                name,
                shape=self.shape,
                dtype=np.float32,
                photometric="minisblack",
                metadata={"axes": "CYX", "Channel": {"Name": list(self.names)}},
            )
        except OSError as error:
            raise RunError("cannot write", where=self.path, found=error.strerror) from error
        return self.values

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.values.flush()  # pyright: ignore[reportAttributeAccessIssue]
        if kind is None:
            os.chmod(self.temporary, 0o644)
            self.temporary.replace(self.path)
        else:
            self.temporary.unlink(missing_ok=True)


def _r2(store: Store, number: int, values_CHW: np.ndarray) -> list[float | None]:
    """Return R² per channel on arcsinh(values), band by band; None for a flat channel."""
    sums = np.zeros((len(values_CHW), 4))
    for rows, band_CHW in store.bands(number):
        x, y = (np.arcsinh(np.asarray(v, np.float64)) for v in (band_CHW, values_CHW[:, rows]))
        parts = (np.square(y - x), x, x * x, np.ones_like(x))
        sums += np.stack([part.sum((1, 2)) for part in parts], 1)
    error, total, square, count = sums.T
    variance = square - total**2 / count
    return [
        round(float(1 - e / v), 5) if v > 0 else None for e, v in zip(error, variance, strict=True)
    ]
