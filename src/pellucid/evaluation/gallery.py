"""Reconstructions beside originals and references, from the best sample to the worst.

Shape letters: N samples, C channels, H height, W width.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

import numpy as np
from PIL import Image
from torch import Tensor

from pellucid.atomic_files import write_atomically
from pellucid.run_folder import RunFolder

# What `save_gallery` itself writes; anything else in the folder is not its to remove.
_OWN = re.compile(r"\d{2,}_[a-z0-9-]+\.png")


def spread_by_psnr(psnr_N: np.ndarray, count: int) -> list[int]:
    """Return `count` samples evenly spread over the ranking by PSNR, best first, worst last."""
    best_first = np.argsort(-psnr_N, kind="stable")
    count = min(count, len(psnr_N))
    ranks = np.linspace(0, len(psnr_N) - 1, count).round().astype(int)
    return [int(i) for i in best_first[ranks]]


def save_gallery(
    folder: RunFolder,
    names: Sequence[str],
    digests: Sequence[str],
    columns: dict[str, Tensor],
    values: dict[str, dict[str, np.ndarray]],
    *,
    selection: str,
) -> None:
    """Write one PNG per sample and column, then reconstructions/index.json.

    Pictures of an earlier evaluation are removed last, so a reader never finds an index that
    names a missing file.

    Args:
        folder: of the run.
        names: (N,) names of the samples.
        digests: (N,) of their pixels, by which another run can show the same.
        columns: column → (N, C, H, W) uint8, "original" and "reconstruction" first.
        values: metric ("psnr", "ssim") → column (without "original") → (N,).
        selection: which samples these are, in words.

    Raises:
        RunError: when a file cannot be written.
    """
    samples = []
    for row, name in enumerate(names):
        files = {column: f"{row:02d}_{column}.png" for column in columns}
        for column, file in files.items():
            write_atomically(folder.reconstructions / file, _png(columns[column][row]))
        samples.append(
            {
                "name": name,
                "digest": digests[row],
                "files": files,
                **{
                    metric: {column: round(float(v[row]), 5) for column, v in by_column.items()}
                    for metric, by_column in values.items()
                },
            }
        )
    index = {"columns": list(columns), "selection": selection, "samples": samples}
    folder.write_json(folder.reconstructions / "index.json", index)
    kept = {file for sample in samples for file in sample["files"].values()}
    for path in folder.reconstructions.glob("*.png"):
        if _OWN.fullmatch(path.name) and path.name not in kept:
            path.unlink()


def _png(image_CHW: Tensor) -> bytes:
    """Encode the first three channels of an 8-bit image (two channels show the first alone)."""
    array = image_CHW.permute(1, 2, 0).contiguous().cpu().numpy()
    shown = array[..., :3] if array.shape[2] >= 3 else array[..., 0]
    buffer = io.BytesIO()
    Image.fromarray(shown).save(buffer, "PNG")
    return buffer.getvalue()
