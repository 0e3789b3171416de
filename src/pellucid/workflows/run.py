"""A trained run: its folder, recipe, data and model."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.errors import RunError
from pellucid.recipe import Recipe, load_recipe
from pellucid.run_folder import RunFolder

if TYPE_CHECKING:
    from pellucid.data import AudioData, CellData, ImageData, StackData
    from pellucid.data.stacks.normalisers import Chain
    from pellucid.functional.value_range import ValueRange
    from pellucid.models.autoencoder import Autoencoder


class Run:
    """Open what training left.

    Args:
        folder: the run folder.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder

    @classmethod
    def open(cls, path: str | Path | Run) -> Run:
        """Open a run folder.

        Raises:
            RunError: when `path` is not a run.
        """
        if isinstance(path, Run):
            return path
        return cls(RunFolder.open(path))

    @property
    def path(self) -> Path:
        """The run folder's path."""
        return self.folder.path

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe as it was run, overrides included."""
        return load_recipe(self.folder.recipe)

    @cached_property
    def value_range(self) -> ValueRange | None:
        """The range `load()` expects its input in and answers in; None for stacks."""
        from pellucid.build.assemble import data_facts

        return data_facts(self.recipe).value_range

    @property
    def is_main_process(self) -> bool:
        """Whether this process is the one that writes (rank 0 under torchrun)."""
        return int(os.environ.get("RANK", "0")) == 0

    def load(self) -> Autoencoder:
        """Return the trained autoencoder in eval mode, on the CPU.

        Raises:
            RunError: when the run has no finished weights, or they fit another model.
        """
        from pellucid.build.assemble import build_autoencoder
        from pellucid.models.weights import load_weights

        if not self.folder.model.is_file():
            raise RunError(
                "this run has no trained weights yet",
                where=self.folder.model,
                hint=f"pellucid train --resume {self.path}",
            )
        autoencoder = build_autoencoder(self.recipe, pretrained=False)
        load_weights(autoencoder, self.folder.model)
        return autoencoder.eval()

    def digest(self) -> str:
        """Return what tells this exact model from any other: SHA-256 of weights, form and range.

        Raises:
            RunError: when the run has no weights.
        """
        import hashlib
        import json

        from pellucid.build.assemble import data_facts
        from pellucid.models.weights import read_tensors, weights_digest

        facts = data_facts(self.recipe)
        form = {
            "encoder": self.recipe.encoder,
            "bottleneck": self.recipe.bottleneck,
            "decoder": self.recipe.decoder,
            "range": None
            if facts.value_range is None
            else (facts.value_range.low, facts.value_range.high),
            "sample_rate": facts.sample_rate,
        }
        if self.recipe.postfilter is not None:
            form["postfilter"] = self.recipe.postfilter
        digest = hashlib.sha256(weights_digest(read_tensors(self.folder.model)))
        digest.update(json.dumps(form, sort_keys=True).encode())
        return digest.hexdigest()

    def data(self) -> ImageData | AudioData | StackData | CellData:
        """Open the run's data with the splits the run was trained on.

        Raises:
            DataError: when the source is gone or no longer holds what the splits name.
        """
        from pellucid.build.assemble import build_data

        splits = self.folder.read_json(self.folder.splits)
        return build_data(self.recipe, splits=splits, normaliser=self.normaliser())

    def normaliser(self) -> Chain | None:
        """Return what stands between the values of stacks and the model, or None.

        Raises:
            RunError: when the file is damaged.
        """
        from pellucid.data.stacks.normalisers import Chain

        path = self.folder.normaliser
        return Chain.load(path) if path.is_file() else None

    def status(self) -> dict[str, Any]:
        """Return run.json: state, step, environment, which weights were kept."""
        return self.folder.read_json(self.folder.run)

    def started_from(self) -> dict[str, Any] | None:
        """Return start.json: whose weights these started as; None for those of a seed."""
        if not self.folder.start.is_file():
            return None
        return self.folder.read_json(self.folder.start)

    def evaluation(self) -> dict[str, Any] | None:
        """Return evaluation.json, or None when the run was not evaluated yet."""
        if not self.folder.evaluation.is_file():
            return None
        return self.folder.read_json(self.folder.evaluation)

    def __repr__(self) -> str:
        evaluation = self.evaluation() if self.folder.evaluation.is_file() else None
        metrics = (evaluation or {}).get("metrics", {})
        known = ", ".join(
            f"{name} {metrics[name]['value']:.4g} {metrics[name]['unit']}".removesuffix(" 1")
            for name in ("psnr", "ssim", "pesq", "stoi", "file_kbps")
            if name in metrics and metrics[name]["value"] is not None
        )
        return f"Run({str(self.path)!r}{', ' + known if known else ''})"
