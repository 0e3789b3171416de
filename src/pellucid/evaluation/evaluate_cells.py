"""Evaluate a model of windows of cells on held-out cells: every marker, beside linear references.

Shape letters: B windows, N cells of the largest, E cells of all of them, C markers,
D latent channels, T tokens, R = C + 3 + N rows of packed cells.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.data.stacks.cell_split import CellSplit
from pellucid.errors import DataError
from pellucid.evaluation.cell_gallery import save_cells
from pellucid.evaluation.cell_references import CellReferences, fit_cell_references
from pellucid.evaluation.hidden_markers import Batch, hidden_marker_r2
from pellucid.evaluation.passes import Reconstructor
from pellucid.evaluation.protocol import Progress, Steps, publish
from pellucid.evaluation.stack_pass import MarkerPass
from pellucid.evaluation.stack_record import StackEvaluation
from pellucid.evaluation.stack_references import Judge
from pellucid.evaluation.stack_summary import (
    all_metrics,
    by_marker,
    gains_over_references,
    live_markers,
    remarks,
    scores_of_references,
)
from pellucid.functional.cell_tensor import moved, unpack_graphs
from pellucid.metrics.latent import GaussianRate
from pellucid.models.cell_autoencoder import CellAutoencoder
from pellucid.models.precision import Precision, resolve_precision
from pellucid.records import Latent, MetricValue
from pellucid.references.samples import spaced
from pellucid.run_folder import RunFolder

TURNED, TURNS = 256, 6
"""Windows that are turned, and angles: sevenths of a full turn, none of them a right angle."""


def evaluate_cells(
    autoencoder: CellAutoencoder,
    train_set: CellSplit,
    held_out_set: CellSplit,
    *,
    names: Sequence[str],
    batch_size: int = 32,
    max_samples: int = 2048,
    pca: tuple[int, ...] = (2, 8),
    cofactor: float | None = 1.0,
    masked: bool = False,
    save_reconstructions: int = 6,
    resamples: int = 1000,
    seed: int = 0,
    precision: Precision = "float32",
    folder: RunFolder | None = None,
    weights: str = "as given",
    split: str = "test",
    shown: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> StackEvaluation:
    """Measure a model on held-out cells, and PCA fitted on training cells on the same ones.

    Every cell weighs the same, whatever window it lies in.

    Args:
        autoencoder: of cells, on any device; left as it was found.
        train_set: windows whose cells references are fitted on, not augmented.
        held_out_set: windows of one split.
        names: of the markers.
        batch_size: windows at once.
        max_samples: at most so many windows, evenly spaced over the split.
        pca: numbers per cell of the references.
        cofactor: fidelity is judged on arcsinh(mean counts / cofactor); None judges on counts.
        masked: also measure every live marker with its channel hidden from all cells of the input.
        save_reconstructions: markers drawn, spread evenly from best to worst.
        resamples: of the bootstrap over blocks (or regions, slides, patients).
        seed: of the bootstrap.
        precision: in which the model computes.
        folder: where evaluation.json and reconstructions/ go; None writes nothing.
        weights: which weights these are, stated in the result.
        split: which split `held_out_set` is, stated in the result.
        shown: names of markers to draw, e.g. those that another run shows.
        progress: called with (done, total) steps.

    Raises:
        DataError: when there is no held-out window, or no marker is live.
        PellucidError: when a reconstruction is not finite.
    """
    if not len(held_out_set):
        raise DataError(
            f"there are no {split} windows to evaluate on",
            hint="hold more out: data.validation, data.test; or a smaller data.block",
        )
    indices = spaced(len(held_out_set), max_samples)
    steps = Steps(progress, len(indices) + 1)
    reconstruct = Reconstructor(autoencoder, precision)
    judge = Judge(held_out_set.chain, cofactor)
    measured = _Pass(reconstruct, judge, len(names), held_out_set, indices)
    cells = float(np.mean([len(held_out_set.window(i).rows_N) for i in indices]))
    tokens = autoencoder.encoder.tokens * autoencoder.bottleneck.out_channels
    own = tokens + round(cells * measured.per_cell)
    counts_EC = torch.from_numpy(train_set.table.markers_NC[_rows(train_set)])
    references = fit_cell_references(counts_EC, judge, numbers=pca, per_cell=own / cells)
    steps.advance(1)
    for start in range(0, len(indices), batch_size):
        chosen = indices[start : start + batch_size]
        measured.update(chosen, references)
        steps.advance(len(chosen))
    live = live_markers(references.nonzero_C, measured.nonzero_C(), names)
    hidden = hidden_marker_r2(measured.hidden_batches(batch_size), live) if masked else {}
    draws = {"resamples": resamples, "seed": seed}
    metrics = all_metrics(measured, live, hidden, draws)
    if measured.cell_rate is not None:
        metrics["cell_kl_bits"] = measured.cell_rate.compute(**draws)["kl_bits"]
    metrics["turn_error"] = turn_error(reconstruct, held_out_set, indices[:TURNED])
    latent = measured.latent.to_json(own, **draws) | {
        "fair": references.fair,
        "cells": round(cells, 2),
        "per_cell": measured.per_cell,
    }
    result = StackEvaluation(
        split=split,
        weights=weights,
        precision=resolve_precision(reconstruct.device, precision),
        judged=judge.words.replace("counts", "mean counts"),
        metrics=metrics,
        markers=by_marker(names, measured, references.nonzero_C, live, hidden, draws),
        references=scores_of_references(measured, references.told, live, draws),
        differences=gains_over_references(measured, live, draws),
        latent=latent,
        codes=measured.latent.codes_json(),
        remarks=remarks(names, live, *_told(references, measured.lone, own, cells)),
        samples=measured.samples(live, references.std_C),
        kind="cells",
    )

    def show(folder: RunFolder) -> None:
        save_cells(
            folder, reconstruct, held_out_set, indices, judge, references, result,
            save_reconstructions, shown,
        )  # fmt: skip

    publish(folder, result, show if save_reconstructions > 0 else None)
    steps.finish()
    return result


class _Pass(MarkerPass):
    """Accumulate what one pass over the windows measures; rows are cells.

    Where a single group is held out, windows are resampled instead.
    """

    def __init__(
        self,
        reconstruct: Reconstructor,
        judge: Judge,
        channels: int,
        split: CellSplit,
        indices: Sequence[int],
    ) -> None:
        super().__init__(reconstruct, judge, channels, cells=True)
        self.split, self.indices = split, list(indices)
        self.lone = len({split.group(index) for index in indices}) < 2
        self.cell_rate: GaussianRate | None = None
        self.sizes: list[int] = []
        self.windows: list[str] = []  # digests
        model = reconstruct.autoencoder
        assert isinstance(model, CellAutoencoder)
        self.tokens = model.encoder.tokens
        self.per_cell = model.bottleneck.out_channels if model.encoder.per_node else 0

    def update(self, chosen: list[int], references: CellReferences) -> None:
        """Measure some windows by the model and by every reference."""
        batch = self.split.batch(chosen)
        raws = [self.split.raw(index) for index in chosen]
        sizes = [len(raw) for raw in raws]
        raw_EC = torch.from_numpy(np.concatenate(raws))
        y_BRN1, latent = self.reconstruct(batch["x"])
        mask_BN = unpack_graphs(batch["x"], raw_EC.shape[1]).mask_BN
        answered_EC = answered(y_BRN1.cpu(), mask_BN, self.judge, batch.get("scale"))
        windows = [self._group(index) for index in chosen]
        groups = [group for group, size in zip(windows, sizes, strict=True) for _ in range(size)]
        answers = references.reconstruct(self.judge(raw_EC), sizes)
        self.compare(
            answered_EC[..., None],
            raw_EC[..., None],
            {name: answer[..., None] for name, answer in answers.items()},
            groups,
        )
        self.sizes += sizes
        self.windows += [hashlib.blake2b(raw.tobytes(), digest_size=8).hexdigest() for raw in raws]
        self._rates(latent, mask_BN, windows, groups)

    def hidden_batches(self, batch_size: int) -> Iterator[Batch]:
        """Yield windows as `hidden_markers` takes them."""
        for start in range(0, len(self.indices), batch_size):
            chosen = self.indices[start : start + batch_size]
            batch = self.split.batch(chosen)
            raw_EC = torch.from_numpy(np.concatenate([self.split.raw(index) for index in chosen]))
            mask_BN = unpack_graphs(batch["x"], raw_EC.shape[1]).mask_BN
            scale = batch.get("scale")

            def answer(x: Tensor, mask: Tensor = mask_BN, scale: Tensor | None = scale) -> Tensor:
                return self.judge(answered(self.reconstruct(x)[0].cpu(), mask, self.judge, scale))

            yield batch["x"], self.judge(raw_EC), answer

    def _group(self, index: int) -> str:
        return f"window {index}" if self.lone else str(self.split.group(index))

    def _rates(
        self, latent: Latent, mask_BN: Tensor, windows: list[str], groups: list[str]
    ) -> None:
        """Count the tokens' rate per window, and the cells' per cell."""
        mean, logvar = latent.mean.cpu(), None if latent.logvar is None else latent.logvar.cpu()
        of_tokens = None if logvar is None else logvar[:, :, : self.tokens]
        self.latent.update(Latent(mean[:, :, : self.tokens], of_tokens, latent.codes), windows)
        if self.per_cell and logvar is not None:
            rows = [part[:, :, self.tokens :].transpose(1, 2)[mask_BN] for part in (mean, logvar)]
            self.cell_rate = self.cell_rate or GaussianRate()
            self.cell_rate.update(rows[0].float(), rows[1].float(), groups)

    def samples(self, live: list[int], std_C: Tensor) -> dict[str, list[Any]]:
        """Return columns over the windows; fvu is the mean over its cells and live markers."""
        error_EC = self.model.sums_TCK[:, live, 0] / std_C.square().numpy()[live]
        ends = np.cumsum([0, *self.sizes])[:-1]
        fvu = np.add.reduceat(error_EC.mean(1), ends) / np.array(self.sizes)
        return {
            "index": self.indices,
            "name": [self.split.name(index) for index in self.indices],
            "group": [self._group(index) for index in self.indices],
            "cells": self.sizes,
            "digest": self.windows,
            "fvu": np.round(fvu, 6).tolist(),
        }


@torch.no_grad()
def turn_error(reconstruct: Reconstructor, split: CellSplit, indices: Sequence[int]) -> MetricValue:
    """Return how far global latents move when windows are turned: ‖μ(g·x) − μ(x)‖ / ‖μ(x)‖."""
    model = reconstruct.autoencoder
    assert isinstance(model, CellAutoencoder)
    x = split.batch(list(indices))["x"]
    still = reconstruct(x)[1].mean[:, :, : model.encoder.tokens]
    shift = 0.0
    for angle in torch.arange(1, TURNS + 1) * (2 * math.pi / (TURNS + 1)):
        turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).view(2, 2)
        other = reconstruct(moved(x, turn.expand(len(x), 2, 2), model.in_channels))[1].mean
        shift += float((other[:, :, : model.encoder.tokens] - still).square().sum()) / TURNS
    value = (shift / max(float(still.square().sum()), 1e-20)) ** 0.5
    words = f"‖μ(g·x) − μ(x)‖ / ‖μ(x)‖ of global latents over {TURNS} angles; 0: blind to how "
    return MetricValue(value, "1", None, None, len(x), f"{words}a window lies")


def answered(y_BRN1: Tensor, mask_BN: Tensor, judge: Judge, scale_BC: Tensor | None) -> Tensor:
    """Return (E, C) counts that packed reconstructions say, of the cells that exist."""
    channels = y_BRN1.shape[1] - 3 - y_BRN1.shape[2]
    counts_BCN = judge.counts(y_BRN1[:, :channels, :, 0], scale_BC)
    return counts_BCN.transpose(1, 2)[mask_BN]


def _rows(split: CellSplit) -> np.ndarray:
    """Return the cells of a split's windows, each once."""
    return np.unique(np.concatenate([window.rows_N for window in split.windows]))


def _told(references: CellReferences, lone: bool, own: int, cells: float) -> list[str]:
    """Return what a reader must know of equal numbers, and of intervals."""
    found = [
        f"references are fitted on {references.cells} training cells; a window holds {cells:.3g} "
        f"cells on average, so {own} numbers per window are {own / cells:.2g} per cell"
    ]
    if not references.fair:
        found.append(
            f"the latent has as many numbers as the markers themselves "
            f"({len(references.mean_C)} per cell): no linear reference of equal numbers loses "
            "anything"
        )
    if lone:
        found.append(
            "one slide, region or block is held out: intervals are over its windows, and say "
            "nothing about others"
        )
    return found
