"""Features of the cells of stacks: a frozen encoder's maps, averaged over the pixels of every cell.

Shape letters: N cells, D features, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from pellucid.errors import DataError, RunError
from pellucid.workflows.progress import progress_bar
from pellucid.workflows.run import Run

if TYPE_CHECKING:
    from pellucid.export import Format
    from pellucid.export.staging import Staging
    from pellucid.models.layers import FeatureExtractor


def write_cells(
    run: str | Path | Run,
    path: str | Path | None = None,
    *,
    layers: Sequence[str] = ("latent",),
    out: str | Path,
    to: Format | None = None,
    progress: bool = False,
) -> dict:
    """Write one row per cell of every region that has a label mask.

    Columns are the channels of the layers; `samples` (`obs` in h5ad) holds region, slide, the
    mask's number of the cell, its area and centroid. A region is held in memory as a whole.

    Args:
        run: of stacks.
        path: a file or folder of stacks with the run's channels; masks lie in a folder mask… below
            or beside it. None takes the stacks the run was trained on.
        layers: maps by name.
        out: .npz, .parquet, .zarr or .h5ad.
        to: the format, where the ending is to be checked.
        progress: draw a progress bar.

    Returns:
        As `write_features`.

    Raises:
        DataError: when the run is not of stacks, there are no masks, or a mask does not fit.
        RunError: when the run has no weights or no normaliser.
    """
    from pellucid.data.stacks import find_masks, open_stacks, read_mask
    from pellucid.data.stacks.store import Store
    from pellucid.export.files import format_of, write_table
    from pellucid.export.staging import Staging
    from pellucid.models.layers import FeatureExtractor
    from pellucid.workflows.features import summary

    opened, target = Run.open(run), Path(out)
    if opened.recipe.data.get("kind") != "stacks":
        raise DataError("cells lie in stacks", where=opened.path, expected="a run of stacks")
    format_of(target, to)
    chain = opened.normaliser()
    if chain is None:
        raise RunError("this run has no normaliser", where=opened.folder.normaliser)
    place = path if path is not None else str(opened.recipe.data.get("path"))
    stacks = open_stacks(place, channels=chain.channels)
    masks = find_masks(stacks.root, stacks.regions)
    regions = [region for region in stacks.regions if region.name in masks]
    if not regions:
        raise DataError(
            "there are no masks for these regions",
            where=stacks.root,
            expected="a folder mask… below or beside it with one integer TIFF per region, "
            f"e.g. masks/{stacks.regions[0].name}.tiff",
        )
    extractor = FeatureExtractor(opened.load(), list(layers))
    store = Store(
        regions, range(len(chain.channels)), hot_pixels=opened.recipe.data.get("hot_pixels")
    )
    skipped = [(s.name, f"{s.reason} ({s.detail})") for s in stacks.skipped]
    skipped += [(r.name, "no mask") for r in stacks.regions if r.name not in masks]
    with (
        Staging(target.parent) as staging,
        progress_bar("features of cells", shown=progress) as report,
    ):
        for number, region in enumerate(regions):
            labels_HW = read_mask(masks[region.name], region)
            x_CHW, _ = chain.forward(torch.from_numpy(store.window(number))[None])
            _stage(staging, extractor, x_CHW, labels_HW, region.name, region.slide)
            report(number + 1, len(regions))
        if not len(staging):
            raise DataError("the masks hold no cells", where=stacks.root)
        table = staging.table(
            model=opened.digest(),
            run=opened.path.resolve().name,
            layers=extractor.feature_info,
            pool="mean",
            columns=[
                f"{layer.name}.c{channel}"
                for layer in extractor.feature_info
                for channel in range(layer.channels)
            ],
            skipped=skipped,
        )
        write_table(table, target, to=to)
        return summary(table, target)


def _stage(
    staging: Staging,
    extractor: FeatureExtractor,
    x_BCHW: torch.Tensor,
    labels_HW: np.ndarray,
    name: str,
    slide: str,
) -> None:
    """Append the cells of one region."""
    from scipy.ndimage import center_of_mass

    from pellucid.export.staging import X
    from pellucid.functional.label_pooling import pool_labels
    from pellucid.models.feature_maps import feature_maps

    if not labels_HW.any():
        return
    maps = feature_maps(extractor, x_BCHW)
    parts = []
    for layer in extractor.feature_info:
        if layer.reduction is None:
            raise DataError("cells need maps over the region", where="layers", found=layer.name)
        y_DRQ = maps[layer.name][0].cpu().numpy()
        found, pooled = pool_labels(y_DRQ, labels_HW, layer.reduction)
        parts.append(pooled)
    centres = np.asarray(center_of_mass(labels_HW > 0, labels_HW, found)) + 0.5
    areas = np.bincount(labels_HW.ravel())[found]
    count = len(found)
    staging.add(
        {
            "name": [name] * count,
            "cell": found.tolist(),
            "slide": [slide] * count,
            "area": areas.tolist(),
            "y": centres[:, 0].tolist(),
            "x": centres[:, 1].tolist(),
        },
        {X: list(np.concatenate(parts, axis=1))},
    )
