"""Features of a run of cells: one row per cell where a layer is per cell, else one per window.

Layers: "window" (the global latents of a window, one after another), "latent" (a cell's own where
the run keeps latents per cell, else the window's), "nodes" (what the encoder knows of a cell beside
its neighbours) and "reconstruction" (its markers, in mean counts).

Shape letters: B windows, N cells of the largest, E cells of all of them, C markers, T tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch
from torch import Tensor

from pellucid.errors import DataError, RecipeError, unknown_name
from pellucid.models.layers import Layer
from pellucid.workflows.feature_sources import GIVEN, Split
from pellucid.workflows.run import Run

if TYPE_CHECKING:
    from pellucid.data.stacks.cell_split import CellSplit
    from pellucid.export import FeatureTable
    from pellucid.export.staging import Staging
    from pellucid.models.cell_autoencoder import CellAutoencoder

_BATCH = 64
WINDOW, LATENT, NODES, RECONSTRUCTION = "window", "latent", "nodes", "reconstruction"


def cell_layers(model: CellAutoencoder) -> dict[str, tuple[Layer, bool]]:
    """Return name → (layer, whether it has a row per cell)."""
    encoder, width = model.encoder, model.bottleneck.out_channels
    own = width if encoder.per_node else width * encoder.tokens
    return {
        WINDOW: (Layer(WINDOW, width * encoder.tokens, None), False),
        LATENT: (Layer(LATENT, own, None), encoder.per_node),
        NODES: (Layer(NODES, encoder.channels, None), True),
        RECONSTRUCTION: (Layer(RECONSTRUCTION, model.in_channels, None), True),
    }


def extract_windows(
    run: Run,
    path: str | Path | None,
    layers: Sequence[str],
    split: Split,
    staging: Staging,
    report: Callable[[int, int], None],
) -> FeatureTable:
    """Return the features of a run's own windows, or of all cells of a user's stacks.

    `samples` holds region, split, group and window of each row, its centre in pixels and, of cells,
    the mask's number, the area and the mean counts of every marker.

    Args:
        run: of cells.
        path: stacks with masks and the run's channels; None takes the run's own.
        layers: by name.
        split: of the run's own windows.
        staging: where rows are put.
        report: called with (windows done, all).

    Raises:
        DataError: when there is nothing to read.
        RecipeError: for an unknown layer or split.
        RunError: when the run has no weights or no normaliser.
    """
    from pellucid.models.cell_autoencoder import CellAutoencoder

    model: Any = run.load()
    assert isinstance(model, CellAutoencoder)
    if torch.cuda.is_available():
        model.cuda()
    known = cell_layers(model)
    for name in layers:
        if name not in known:
            raise unknown_name("layer", name, known, where="layers")
    chosen = list(dict.fromkeys(layers))
    per_cell = any(known[name][1] for name in chosen)
    parts, skipped = _own(run, split) if path is None else _given(run, path)
    total, done = sum(len(part) for _, part in parts), 0
    for name, part in parts:
        for indices, found in _passed(model, part, chosen):
            told = _of_cells(part, indices) if per_cell else _of_windows(part, indices)
            told["split"] = [name] * len(told["name"])
            _stage(staging, told, found, known, chosen, per_cell, part, indices)
            done += len(indices)
            report(done, total)
    if not len(staging):
        raise DataError("there are no cells", where=path or "split", found="an empty split")
    names = run.recipe.data["channels"]
    return staging.table(
        model=run.digest(),
        run=run.path.resolve().name,
        layers=tuple(known[name][0] for name in chosen),
        pool="flatten",
        columns=[
            f"{name}.{names[i]}" if name == RECONSTRUCTION else f"{name}.c{i}"
            for name in chosen
            for i in range(known[name][0].channels)
        ],
        skipped=skipped,
    )


def _own(run: Run, split: Split) -> tuple[list[tuple[str, CellSplit]], list[tuple[str, str]]]:
    if split not in get_args(Split):
        raise unknown_name("split", split, get_args(Split), where="split")
    data: Any = run.data()
    names = [name for name in get_args(Split)[1:] if split in ("all", name)]
    return [(name, getattr(data, name).plain()) for name in names], []


def _given(run: Run, path: str | Path) -> tuple[list[tuple[str, CellSplit]], list[tuple[str, str]]]:
    """Open a user's stacks: every cell of every mask, normalised as in training."""
    from pellucid.build.cells import window_keywords
    from pellucid.data.stacks import cell_table, find_masks
    from pellucid.data.stacks.blocks import Block
    from pellucid.data.stacks.cell_split import CellSplit, cut_windows
    from pellucid.workflows.user_stacks import open_user_stacks

    opened = open_user_stacks(run, path)
    stacks, chain = opened.listed, opened.chain
    table = cell_table(stacks.root, stacks.regions, hot_pixels=opened.store.hot_pixels)
    masks = find_masks(stacks.root, stacks.regions)
    skipped = opened.skipped
    skipped += [(r.name, "no mask") for r in stacks.regions if r.name not in masks]
    bad_N = ~np.isfinite(table.markers_NC).all(1)
    if bad_N.any():
        raise DataError(
            "cells hold NaN or infinity",
            where=path,
            expected="finite values in the channels of the run",
            found=f"{int(bad_N.sum())} of {len(table)} cells, first in {table.regions_N[bad_N][0]}",
        )
    side, unit, neighbourhood = window_keywords(run.recipe)
    names = [region.name for region in stacks.regions]
    blocks = [Block(i, 0, 0, r.height, r.width) for i, r in enumerate(stacks.regions)]
    windows, _ = cut_windows(table, names, blocks, side, 1)
    part = CellSplit(
        table, names, chain, blocks, list(range(len(blocks))), windows,
        neighbourhood=neighbourhood, unit=unit, least=1,
    )  # fmt: skip
    return [(GIVEN, part)], skipped


@torch.no_grad()
def _passed(
    model: CellAutoencoder, part: CellSplit, chosen: Sequence[str]
) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
    """Yield windows and their layers: (B, D) per window, (E, D) per cell."""
    from pellucid.functional.cell_tensor import unpack_graphs
    from pellucid.models.autoencoder import evaluating

    device, tokens = next(model.parameters()).device, model.encoder.tokens
    for start in range(0, len(part), _BATCH):
        indices = list(range(start, min(start + _BATCH, len(part))))
        batch = part.batch(indices)
        x = batch["x"].to(device)
        mask_BN = unpack_graphs(x, model.in_channels).mask_BN
        latent = model.encode(x)
        z = latent.mean if latent.quantized is None else latent.quantized
        found = {WINDOW: z[:, :, :tokens].transpose(1, 2).flatten(1)}
        found[LATENT] = found[WINDOW]
        if model.encoder.per_node:
            found[LATENT] = z[:, :, tokens:].transpose(1, 2)[mask_BN]
        if NODES in chosen:
            with evaluating(model):
                found[NODES] = model.encoder.features(x)[NODES].transpose(1, 2)[mask_BN]
        if RECONSTRUCTION in chosen:
            y_BCN = model.decode(latent)[:, : model.in_channels, :, 0].float().cpu()
            counts = part.chain.inverse(y_BCN, batch.get("scale"))
            found[RECONSTRUCTION] = counts.transpose(1, 2)[mask_BN.cpu()]
        yield indices, {name: found[name].float().cpu() for name in chosen}


def _stage(
    staging: Staging,
    told: dict[str, list],
    found: dict[str, Tensor],
    known: dict[str, tuple[Layer, bool]],
    chosen: Sequence[str],
    per_cell: bool,
    part: CellSplit,
    indices: Sequence[int],
) -> None:
    from pellucid.export.staging import X

    sizes = torch.tensor([len(part.window(index).rows_N) for index in indices])
    columns = [
        found[name].repeat_interleave(sizes, 0) if per_cell and not known[name][1] else found[name]
        for name in chosen
    ]
    staging.add(told, {X: list(torch.cat(columns, 1).numpy())})


def _of_windows(part: CellSplit, indices: Sequence[int]) -> dict[str, list]:
    windows = [part.window(index) for index in indices]
    return {
        "name": [part.regions[part.blocks[w.block].region] for w in windows],
        "group": [part.group(index) for index in indices],
        "cells": [len(w.rows_N) for w in windows],
        "top": [w.top for w in windows],
        "left": [w.left for w in windows],
        "y": [w.top + w.height / 2 for w in windows],
        "x": [w.left + w.width / 2 for w in windows],
    }


def _of_cells(part: CellSplit, indices: Sequence[int]) -> dict[str, list]:
    table = part.table
    rows = np.concatenate([part.window(index).rows_N for index in indices])
    counts = {f"counts.{name}": table.markers_NC[rows, i] for i, name in enumerate(table.channels)}
    sizes = [len(part.window(index).rows_N) for index in indices]
    told: dict[str, np.ndarray] = {
        "name": table.regions_N[rows],
        "cell": table.labels_N[rows],
        "slide": table.slides_N[rows],
        "group": np.repeat([part.group(index) for index in indices], sizes),
        "window": np.repeat([part.name(index) for index in indices], sizes),
        "area": table.areas_N[rows],
        "y": table.centroids_N2[rows, 0] + 0.5,
        "x": table.centroids_N2[rows, 1] + 0.5,
        **counts,
    }
    return {name: values.tolist() for name, values in told.items()}


def per_cell_layers(run: Run, layers: Sequence[str]) -> list[str]:
    """Return layers that give a row per cell: those asked for, else the encoder's nodes too.

    Raises:
        RecipeError: for an unknown layer.
    """
    from pellucid.models.cell_autoencoder import CellAutoencoder

    model: Any = run.load()
    if not isinstance(model, CellAutoencoder):
        raise RecipeError("this is no run of cells", where=run.path)
    known = cell_layers(model)
    if any(name in known and known[name][1] for name in layers):
        return list(layers)
    return [NODES, *(name for name in layers if name != LATENT)]
