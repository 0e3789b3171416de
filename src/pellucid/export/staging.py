"""Rows of unknown number, kept on disk until they are written in the wanted format.

Memory holds one batch, whatever the number of rows.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

import numpy as np

from pellucid.errors import RunError
from pellucid.export.table import FeatureTable, Ragged
from pellucid.models.layers import Layer

X = "x"


class Staging:
    """Append float32 arrays, one stream per name; a hidden folder that vanishes on leaving.

    Args:
        beside: the folder it is made in (that of the output, so that there is room); None takes
            the system's.
    """

    def __init__(self, beside: Path | None = None) -> None:
        self._beside = beside
        self._files: dict[str, IO[bytes]] = {}
        self._shapes: dict[str, list[tuple[int, ...]]] = {}
        self._samples: dict[str, list] = {}

    def __enter__(self) -> Staging:
        try:
            if self._beside is not None:
                self._beside.mkdir(parents=True, exist_ok=True)
            self._folder = Path(tempfile.mkdtemp(prefix=".features-", dir=self._beside))
        except OSError as error:
            raise RunError("cannot write features", where=self._beside, found=error) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for file in self._files.values():
            file.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __len__(self) -> int:
        return len(self._samples.get("name", ()))

    def add(
        self, samples: Mapping[str, Sequence], arrays: Mapping[str, Sequence[np.ndarray]]
    ) -> None:
        """Append a batch: columns about the samples, and one array per sample and stream.

        Raises:
            RunError: when the disk is full.
        """
        for name, values in samples.items():
            self._samples.setdefault(name, []).extend(values)
        try:
            for name, rows in arrays.items():
                if name not in self._files:
                    self._files[name] = (self._folder / f"{len(self._files)}.f32").open("wb")
                    self._shapes[name] = []
                for row in rows:
                    self._files[name].write(np.ascontiguousarray(row, np.float32).tobytes())
                    self._shapes[name].append(row.shape)
        except OSError as error:
            raise RunError("cannot write features", where=self._folder, found=error) from error

    def table(
        self,
        *,
        model: str,
        run: str,
        layers: tuple[Layer, ...],
        pool: str,
        columns: Sequence[str],
        skipped: Sequence[tuple[str, str]],
    ) -> FeatureTable:
        """Return the rows, memory-mapped: valid until the staging is left."""
        arrays = {name: self._array(name) for name in self._files}
        x = arrays.pop(X, None)
        assert not isinstance(x, Ragged)
        return FeatureTable(
            model=model,
            run=run,
            layers=layers,
            pool=pool,
            samples={name: np.asarray(values) for name, values in self._samples.items()},
            columns=tuple(columns),
            x=x,
            maps=arrays,
            skipped=tuple(skipped),
        )

    def _array(self, name: str) -> np.ndarray | Ragged:
        file, shapes = self._files[name], self._shapes[name]
        file.flush()
        values = np.memmap(file.name, np.float32, "r")
        if len(set(shapes)) == 1:
            return values.reshape(len(shapes), *shapes[0])
        return Ragged(values, np.asarray(shapes, np.int64))
