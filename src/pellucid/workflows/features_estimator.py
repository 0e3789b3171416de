"""A run's frozen features as a scikit-learn transformer.

Shape letters: N samples, D numbers, C channels, H height, W width, T samples of a waveform.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from pellucid.build.assemble import data_facts
from pellucid.errors import DataError, require
from pellucid.functional.pooling import Pool, check_pool, column_names
from pellucid.models.feature_maps import feature_maps
from pellucid.models.layers import FeatureExtractor
from pellucid.workflows.feature_sources import read_image, to_model
from pellucid.workflows.features import pooled
from pellucid.workflows.run import Run

_base = require("sklearn.base", extra="features", purpose="a scikit-learn transformer")
_validation = require("sklearn.utils.validation", extra="features", purpose="its checks")


class Features(_base.TransformerMixin, _base.BaseEstimator):
    """Turn images or waveforms into a frozen model's features, one row each.

    X is a list of image files (each of any size), or an array of N images: (N, H, W, C),
    (N, C, H, W), (N, H, W) or (N, C·size·size) with the run's `data.size`; uint8, or floats from 0
    (black) to 1 (white), as scikit-learn's own image sets are. Waveforms are (N, T) at the model's
    rate. Nothing is learned: `fit` opens the model and remembers its digest.

    Args:
        run: the run or its folder.
        layer: a layer's name, or several; see `pellucid features RUN --list`.
        pool: "mean", "max" or "flatten".
        batch_size: samples at once.

    Attributes:
        model_digest_: SHA-256 that names the exact model, as in feature files.
        n_features_in_: columns of X where X has two axes.
    """

    def __init__(
        self,
        run: str | Path | Run,
        *,
        layer: str | Sequence[str] = "latent",
        pool: Pool = "mean",
        batch_size: int = 64,
    ) -> None:
        self.run = run
        self.layer = layer
        self.pool: Pool = pool
        self.batch_size = batch_size

    def fit(self, X: Any, y: Any = None) -> Features:
        """Open the model and look at the form of X; y is not used.

        Raises:
            RunError: when the run has no weights.
            RecipeError: for an unknown layer or pooling.
            DataError: when X is neither files nor samples the model takes.
        """
        del y
        check_pool(self.pool)
        self._run = Run.open(self.run)
        layers = [self.layer] if isinstance(self.layer, str) else list(self.layer)
        self._extractor = FeatureExtractor(self._run.load(), layers)
        self.model_digest_ = self._run.digest()
        if not _is_files(X):
            X = _checked(X)
            if X.ndim == 2:
                self.n_features_in_ = X.shape[1]
        if not len(X):
            raise DataError("there are no samples", where="X", expected="at least one", found=0)
        self._columns = self._names(self._maps(X[:1]))
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return (N, D) float32.

        Raises:
            NotFittedError: before `fit`.
            DataError: as `fit`, or when "flatten" gives other columns than at `fit`.
        """
        _validation.check_is_fitted(self, "model_digest_")
        if not _is_files(X):
            X = _checked(X)
            expected = getattr(self, "n_features_in_", None)
            if X.ndim == 2 and expected is not None and X.shape[1] != expected:
                # scikit-learn's own words: its checks and its users look for them
                raise ValueError(
                    f"X has {X.shape[1]} features, but Features is expecting {expected} features "
                    "as input"
                )
        step = 1 if _is_files(X) else self.batch_size
        rows = []
        for start in range(0, len(X), step):
            maps = self._maps(X[start : start + step])
            if self._names(maps) != self._columns:
                raise DataError(
                    "samples of another size than at fit",
                    where="X",
                    expected=f"{len(self._columns):,} numbers each",
                    found=f"{len(self._names(maps)):,}",
                    hint="pool by mean or max",
                )
            rows.append(pooled(maps, self.pool).numpy())
        return np.concatenate(rows)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the D names, e.g. `latent.c0`; the names of the inputs play no part."""
        del input_features
        _validation.check_is_fitted(self, "model_digest_")
        return np.asarray(self._columns, dtype=object)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = True
        tags.no_validation = False
        tags.input_tags.two_d_array = True
        tags.input_tags.three_d_array = True
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the run's place and what was fitted, never the weights."""
        state = {name: value for name, value in self.__dict__.items() if name != "_extractor"}
        if isinstance(state.get("_run"), Run):
            state["_run"] = str(self._run.path)
        if isinstance(state["run"], Run):
            state["run"] = str(state["run"].path)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if "_run" not in state:
            return
        self._run = Run.open(state["_run"])
        if self._run.digest() != self.model_digest_:
            raise DataError(
                "the run holds another model than the transformer was fitted with",
                where=self._run.path,
                expected=f"{self.model_digest_[:16]}…",
                found=f"{self._run.digest()[:16]}…",
            )
        layers = [self.layer] if isinstance(self.layer, str) else list(self.layer)
        self._extractor = FeatureExtractor(self._run.load(), layers)

    def _names(self, maps: dict[str, Tensor]) -> list[str]:
        return [
            column
            for name, y_BCP in maps.items()
            for column in column_names(name, tuple(y_BCP.shape[1:]), self.pool)
        ]

    def _maps(self, X: Any) -> dict[str, Tensor]:
        x_BCP = _read(X, self._run) if _is_files(X) else _tensor(X, self._run)
        return feature_maps(self._extractor, x_BCP, batch=self.batch_size)


def _is_files(X: Any) -> bool:
    first = X[0] if isinstance(X, list | tuple) and X else X
    if isinstance(first, str | Path):
        return True
    return isinstance(X, np.ndarray) and X.dtype.kind in "US" and X.ndim == 1


def _read(X: Any, run: Run) -> Tensor:
    """Read image files of one size."""
    from pellucid.data.reading import UnreadableImage

    try:
        return torch.cat([read_image(Path(str(name)), run) for name in X])
    except UnreadableImage as problem:
        raise DataError("this image cannot be used", where=X[0], found=problem) from problem


def _checked(X: Any) -> np.ndarray:
    """Return a finite array, with scikit-learn's own messages for what is none."""
    return _validation.check_array(
        X, allow_nd=True, ensure_2d=True, dtype=[np.uint8, np.float32, np.float64]
    )


def _tensor(X: np.ndarray, run: Run) -> Tensor:
    facts = data_facts(run.recipe)
    if facts.axes == 1:
        if X.ndim not in (2, 3) or (X.ndim == 3 and X.shape[1] != facts.channels):
            raise DataError("waveforms are needed", expected="(N, T)", found=X.shape)
        return torch.from_numpy(X.reshape(len(X), facts.channels, -1).astype(np.float32))
    pixels_BHWC = _channels_last(X, facts.channels, facts.size)
    if X.dtype != np.uint8 and (X.min() < -1e-4 or X.max() > 1 + 1e-4):
        raise DataError(
            "pixels outside their range",
            where="X",
            expected="uint8, or floats from 0 (black) to 1 (white)",
            found=f"{X.min():.4g} … {X.max():.4g}",
        )
    return to_model(pixels_BHWC, run)


def _channels_last(X: np.ndarray, channels: Literal[1, 3] | int, size: int) -> np.ndarray:
    if X.ndim == 4 and X.shape[1] == channels:
        return X.transpose(0, 2, 3, 1)
    if X.ndim == 4 and X.shape[3] == channels:
        return X
    if X.ndim == 3 and channels == 1:
        return X[..., None]
    if X.ndim == 2 and X.shape[1] == channels * size * size:
        return X.reshape(len(X), channels, size, size).transpose(0, 2, 3, 1)
    raise DataError(
        "these samples do not fit the model",
        where="X",
        expected=f"(N, H, W, {channels}), (N, {channels}, H, W) or (N, {channels * size * size}), "
        "or a list of image files",
        found=X.shape,
    )
