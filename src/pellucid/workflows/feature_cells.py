"""Features of the cells of stacks: a frozen encoder's maps, averaged over the pixels of every cell.

Shape letters: N cells, D features, C channels, H height, W width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from pellucid.errors import DataError
from pellucid.workflows.progress import progress_bar
from pellucid.workflows.run import Run
from pellucid.workflows.user_stacks import open_user_stacks

if TYPE_CHECKING:
    from pellucid.data.stacks import Stacks
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
        run: of stacks, or of cells: then rows are those of `write_features`, per cell.
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
    from pellucid.build.cells import is_cells
    from pellucid.data.stacks import read_mask
    from pellucid.export.files import format_of, write_table
    from pellucid.export.staging import Staging
    from pellucid.models.layers import FeatureExtractor
    from pellucid.workflows.feature_windows import per_cell_layers
    from pellucid.workflows.features import summary, write_features

    opened, target = Run.open(run), Path(out)
    if is_cells(opened.recipe):
        per_cell = per_cell_layers(opened, layers)
        return write_features(opened, path, layers=per_cell, out=out, to=to, progress=progress)
    if opened.recipe.data.get("kind") != "stacks":
        raise DataError("cells lie in stacks", where=opened.path, expected="a run of stacks")
    format_of(target, to)
    place = path if path is not None else str(opened.recipe.data.get("path"))
    stacks = open_user_stacks(opened, place)
    masks = _masks(stacks.listed)
    extractor = FeatureExtractor(opened.load(), list(layers))
    columns = [f"{layer.name}.c{c}" for layer in extractor.feature_info
               for c in range(layer.channels)]  # fmt: skip
    done = 0
    with (
        Staging(target.parent) as staging,
        progress_bar("features of cells", shown=progress) as report,
    ):
        for number, region in enumerate(stacks.store.regions):
            if region.name not in masks:
                continue
            labels_HW = read_mask(masks[region.name], region)
            x_CHW, _ = stacks.chain.forward(torch.from_numpy(stacks.store.window(number))[None])
            _stage(staging, extractor, x_CHW, labels_HW, region.name, region.slide)
            done += 1
            report(done, len(masks))
        if not len(staging):
            raise DataError("the masks hold no cells", where=stacks.listed.root)
        table = staging.table(
            model=opened.digest(),
            run=opened.path.resolve().name,
            layers=extractor.feature_info,
            pool="mean",
            columns=columns,
            skipped=[
                *stacks.skipped,
                *((r.name, "no mask") for r in stacks.store.regions if r.name not in masks),
            ],
        )
        write_table(table, target, to=to)
        return summary(table, target)


def _masks(stacks: Stacks) -> dict[str, Path]:
    """Return region → file of its mask."""
    from pellucid.data.stacks import find_masks

    masks = find_masks(stacks.root, stacks.regions)
    if not masks:
        raise DataError(
            "there are no masks for these regions",
            where=stacks.root,
            expected="a folder mask… below or beside it with one integer TIFF per region, "
            f"e.g. masks/{stacks.regions[0].name}.tiff",
        )
    return masks


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
