"""Send a user's own images, or stacks, through a run's model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pellucid.atomic_files import write_atomically
from pellucid.errors import DataError
from pellucid.workflows.progress import progress_bar
from pellucid.workflows.run import Run


def reconstruct(
    run: str | Path | Run,
    path: str | Path,
    *,
    out: str | Path | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Reconstruct images of any size at their own resolution and write them as PNG.

    A run of stacks reads and writes stacks: see `reconstruct_stacks`.

    Args:
        run: the run or its folder.
        path: an image file or a folder of images (recursive).
        out: where to write; by default `RUN/reconstructed/`. Files keep their relative names.
        progress: draw a progress bar.

    Returns:
        `{"folder", "images": [{"name", "file", "width", "height", "psnr", "bits_per_pixel"}],
        "skipped": [{"name", "reason"}]}`, also written as `index.json` beside the images.

    Raises:
        DataError: when `path` holds no readable image.
        RunError: when the run has no weights or the output cannot be written.
    """
    from pellucid.build.assemble import data_facts
    from pellucid.data.reading import UnreadableImage, read_picture

    opened = Run.open(run)
    if opened.recipe.data.get("kind") == "stacks":
        from pellucid.workflows.reconstruct_stacks import reconstruct_stacks

        return reconstruct_stacks(opened, path, out=out, progress=progress)
    if opened.recipe.data.get("kind") == "cells":
        raise DataError(
            "cells are written out as a table, not as files",
            where=opened.path,
            hint=f"pellucid features {opened.path} {path} --layers reconstruction",
        )
    source, names = image_files(Path(path))
    autoencoder = opened.load()
    channels = data_facts(opened.recipe).channels
    folder = Path(out) if out is not None else opened.path / "reconstructed"
    images: list[dict[str, Any]] = []
    skipped: list[dict[str, str]] = []
    with progress_bar("reconstructing", shown=progress) as report_progress:
        for done, name in enumerate(names):
            report_progress(done, len(names))
            try:
                picture = read_picture(source / name)
            except UnreadableImage as problem:
                skipped.append({"name": name.as_posix(), "reason": str(problem)})
                continue
            target = folder / _output_name(name, names)
            images.append(
                {
                    "name": name.as_posix(),
                    "file": target.relative_to(folder).as_posix(),
                    **_reconstruct_one(
                        autoencoder, picture.pixels_HWC, channels, opened.value_range, target
                    ),
                }
            )
    if not images:
        raise DataError("none of the images could be read", where=path, found=skipped[0]["reason"])
    result = {"folder": str(folder), "images": images, "skipped": skipped}
    write_atomically(folder / "index.json", (json.dumps(result, indent=2) + "\n").encode())
    return result


def _reconstruct_one(
    autoencoder: Any, pixels_HWC: Any, channels: int, value_range: Any, target: Path
) -> dict[str, Any]:
    import numpy as np
    import torch

    from pellucid.data.preparing import to_channels
    from pellucid.metrics.paired import eight_bit_psnr
    from pellucid.models.inference import reconstruct as run_model

    pixels_HWC = to_channels(pixels_HWC, channels)
    unit_HWC = pixels_HWC / np.float32(255 if pixels_HWC.dtype == np.uint8 else 1)
    x_BCHW = value_range.from_unit(
        torch.from_numpy(unit_HWC.astype(np.float32)).permute(2, 0, 1)[None]
    )
    x_hat_BCHW = run_model(autoencoder, x_BCHW)
    eight_bit = value_range.to_uint8(x_hat_BCHW)
    write_atomically(target, _png(eight_bit[0].permute(1, 2, 0).numpy()))
    height, width = x_BCHW.shape[-2:]
    bits = autoencoder.bottleneck.bits_per_position
    return {
        "width": width,
        "height": height,
        "psnr": float(eight_bit_psnr(x_hat_BCHW, x_BCHW, value_range)[0]),
        "bits_per_pixel": None if bits is None else bits / autoencoder.encoder.stride**2,
    }


def _png(pixels_HWC: Any) -> bytes:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels_HWC.squeeze(-1) if pixels_HWC.shape[-1] == 1 else pixels_HWC).save(
        buffer, format="PNG"
    )
    return buffer.getvalue()


def image_files(path: Path) -> tuple[Path, list[Path]]:
    """Return a folder and the images in it, at any depth, or a file's folder and the file.

    Raises:
        DataError: when there is no image.
    """
    from pellucid.data.reading import EXTENSIONS

    if path.is_file():
        return path.parent, [Path(path.name)]
    if not path.is_dir():
        raise DataError("no such file or folder", where=path)
    names = sorted(
        file.relative_to(path)
        for file in path.rglob("*")
        if file.suffix.lower() in EXTENSIONS and not file.name.startswith(".")
    )
    if not names:
        raise DataError("no images in this folder", where=path, expected=", ".join(EXTENSIONS))
    return path, names


def _output_name(name: Path, names: list[Path]) -> Path:
    """Swap the extension for .png, keeping it when `a.jpg` and `a.png` would collide."""
    swapped = name.with_suffix(".png")
    collides = sum(other.with_suffix(".png") == swapped for other in names) > 1
    return name.with_name(name.name + ".png") if collides else swapped
