"""Markers as pictures: mosaics of held-out tiles, original beside reconstruction beside PCA.

Shape letters: N tiles, C channels, H height, W width.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pellucid.atomic_files import write_atomically
from pellucid.data.stacks.tiles import TileSplit
from pellucid.evaluation.passes import Reconstructor
from pellucid.evaluation.stack_record import StackEvaluation
from pellucid.evaluation.stack_references import FittedReferences, Judge
from pellucid.references.samples import spaced
from pellucid.run_folder import RunFolder

TILES = 16
CANDIDATES = 96
"""Tiles that are looked at for each marker's sixteen."""
GAP = 1
"""Pixels between tiles of a mosaic."""
# What `save_markers` itself writes; anything else in the folder is not its to remove.
_OWN = re.compile(r"\d{2,}_[a-z0-9-]+\.png")


def save_markers(
    folder: RunFolder,
    reconstruct: Reconstructor,
    split: TileSplit,
    indices: Sequence[int],
    judge: Judge,
    references: FittedReferences,
    result: StackEvaluation,
    count: int,
    shown: Sequence[str] | None,
) -> None:
    """Write one PNG per marker and column, then reconstructions/index.json.

    Black is the marker's smallest judged value in the original mosaic, white its 99.5th percentile;
    all columns of a marker share that scale. Pictures of an earlier evaluation are removed last.

    Args:
        folder: of the run.
        reconstruct: the model.
        split: held-out tiles.
        indices: those that were measured.
        judge: what is judged.
        references: fitted.
        result: of this model on these tiles.
        count: how many markers.
        shown: names of the markers to draw, if all are there; else a spread from best to worst.

    Raises:
        RunError: when a file cannot be written.
    """
    chosen = [indices[i] for i in spaced(len(indices), CANDIDATES)]
    raw = torch.from_numpy(np.stack([split.raw(index) for index in chosen]))
    x, scale = split.chain.forward(raw)
    judged = judge(raw)
    answers = references.reconstruct(judged)
    linear = _fairest(answers, result.latent["numbers"])
    columns = {
        "original": judged,
        "reconstruction": judge(judge.counts(reconstruct(x)[0].cpu(), scale)),
        linear: answers[linear],
    }
    write_mosaics(folder, columns, result, count, shown, kind="stacks", what="tiles")


def write_mosaics(
    folder: RunFolder,
    columns: Mapping[str, Tensor],
    result: StackEvaluation,
    count: int,
    shown: Sequence[str] | None,
    *,
    kind: str,
    what: str,
) -> None:
    """Write the mosaics of judged pictures, and the index of them.

    Args:
        folder: of the run.
        columns: "original", "reconstruction" and a reference by its name → (N, C, H, W).
        result: of the model on these samples.
        count: how many markers.
        shown: names of the markers to draw, if all are there; else a spread from best to worst.
        kind: of the index.
        what: the pictures are, in words.

    Raises:
        RunError: when a file cannot be written.
    """
    names = [marker["name"] for marker in result.markers]
    markers, how = _markers(result, count, shown)
    samples = []
    for place, name in enumerate(markers):
        channel = names.index(name)
        rows = _with_most(columns["original"][:, channel])
        original = columns["original"][rows, channel]
        low, high = float(original.min()), float(np.percentile(original.numpy(), 99.5))
        files = {column: f"{place:02d}_{column}.png" for column in columns}
        for column, values in columns.items():
            mosaic = _mosaic(values[rows, channel], low, max(high, low + 1e-6))
            write_atomically(folder.reconstructions / files[column], _png(mosaic))
        marker = result.markers[channel]
        beside = {name: r2 for name, r2 in marker["references"].items() if name in columns}
        r2 = {"reconstruction": marker["r2"], **beside}
        samples.append({"name": name, "digest": name, "files": files, "r2": r2})
    index = {
        "kind": kind,
        "columns": list(columns),
        "selection": f"{len(markers)} of {sum(m['live'] for m in result.markers)} live markers, "
        f"{how}; of each, held-out {what} from the half that holds most of it",
        "samples": samples,
    }
    folder.write_json(folder.reconstructions / "index.json", index)
    kept = {file for sample in samples for file in sample["files"].values()}
    for path in folder.reconstructions.glob("*.png"):
        if _OWN.fullmatch(path.name) and path.name not in kept:
            path.unlink()


def _with_most(marker_NHW: Tensor) -> list[int]:
    """Return tiles spread evenly over the half that holds most of a marker, most first."""
    ranked = marker_NHW.flatten(1).mean(1).argsort(descending=True).tolist()
    half = ranked[: max(TILES, len(ranked) // 2)]
    return [half[place] for place in spaced(len(half), TILES)]


def _fairest(answers: dict[str, Tensor], numbers: int) -> str:
    """Return the reference with as many numbers as the model."""
    patches = f"patch-pca-{numbers}"
    return patches if patches in answers else f"pca-{numbers}"


def _markers(
    result: StackEvaluation, count: int, shown: Sequence[str] | None
) -> tuple[list[str], str]:
    live = {m["name"]: m["r2"] for m in result.markers if m["live"]}
    if shown and all(name in live for name in shown):
        return list(shown), "the ones another run shows"
    ranked = sorted(live, key=lambda name: -live[name])
    places = spaced(len(ranked), count)
    return [ranked[place] for place in places], "evenly spread by R² from best to worst"


def _mosaic(tiles_NHW: Tensor, low: float, high: float) -> np.ndarray:
    """Return one uint8 picture of all tiles."""
    count, height, width = tiles_NHW.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    picture = np.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP), 64, np.uint8)
    scaled = ((tiles_NHW - low) / (high - low)).clamp(0, 1).mul(255).round().to(torch.uint8)
    for number, tile in enumerate(scaled.numpy()):
        top, left = number // columns * (height + GAP), number % columns * (width + GAP)
        picture[top : top + height, left : left + width] = tile
    return picture


def _png(picture_HW: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture_HW).save(buffer, "PNG")
    return buffer.getvalue()
