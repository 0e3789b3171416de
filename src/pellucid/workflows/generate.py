"""Draw samples from a run's prior, decode them with its decoder, write and judge them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pellucid.atomic_files import write_atomically
from pellucid.errors import DataError
from pellucid.run_folder import RunFolder
from pellucid.workflows.generator import Generator
from pellucid.workflows.run import Run

if TYPE_CHECKING:
    from pellucid.priors.sampling import Drawing

INDEX, GRID, NEIGHBOURS, JUDGEMENT = "samples.json", "grid.png", "neighbours.png", "judgement.json"
SHOWN_WITH_NEIGHBOURS = 12


def generate(
    run: str | Path | Run,
    prompt: str | None = None,
    *,
    class_name: str | None = None,
    n: int | None = None,
    prior: str | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    guidance: float = 1.0,
    judge: bool = False,
    features: str | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Draw samples, decode them by the trained (or tuned) decoder and write them as PNG.

    Args:
        run: the run or its folder.
        prompt: what to draw, in words; empty says nothing.
        class_name: or a class by name.
        n: how many; 64, or 2,048 when they are judged.
        prior: which of the run's priors; None takes "own", or the only one.
        out: folder to write to; by default `RUN/generated/`.
        seed: of the first sample; the next has the next seed.
        temperature: divides the logits; 0 takes the likeliest code.
        top_k: keep this many codes at every step.
        top_p: keep the likeliest codes that together reach this probability.
        guidance: how strongly the condition is followed; 1 is plain.
        judge: measure the samples; told neither prompt nor class, every class is asked for in turn.
        features: an .npz of a CIFAR ResNet to judge with.
        progress: draw progress bars.

    Returns:
        `{"folder", "samples": […], "grid", "judgement"}`, also written as samples.json; judged
        samples have judgement.json and neighbours.png (samples above their nearest training
        images) beside them.

    Raises:
        RunError: when there is no prior, or it models other codes.
        DataError: for an unknown class, or a prompt to a prior that knows none.
        RecipeError: for a meaningless temperature, filter or guidance.
    """
    from pellucid.priors.sampling import Drawing

    drawing = Drawing(temperature, top_k, top_p, guidance)
    generator = Generator.open(run, prior)
    count = n if n is not None else 2048 if judge else 64
    if count < 1:
        raise DataError("there is nothing to draw", where="-n", expected="at least 1", found=count)
    labels = _labels(generator, prompt, class_name, count, every_class=judge)
    prompts = None if prompt is None else [prompt] * count
    condition = generator.conditions(count, prompts=prompts, labels=labels)
    opened = generator.tokenizer.run
    judgement = None
    codes, images = generator.draw(condition, seed=seed, drawing=drawing, progress=progress)
    folder = Path(out) if out is not None else opened.folder.generated
    if judge:
        judgement = judge_into(
            generator, images, labels, folder, features=features, progress=progress
        )
    asked = [None if labels is None else generator.record.classes[i] for i in
             (labels.tolist() if labels is not None else range(count))]  # fmt: skip
    return _write(folder, images, codes, prompts, asked, seed, generator, drawing, judgement)


def judge_into(
    generator: Generator,
    images_NCHW: Tensor,
    labels: Tensor | None,
    folder: Path,
    *,
    features: str | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Judge generated images; write judgement.json and the nearest training images beside them."""
    from pellucid.workflows.judging import Judge

    opened = Judge.open(generator.tokenizer, features=features, progress=progress)
    found = opened(images_NCHW, labels)
    shown = min(SHOWN_WITH_NEIGHBOURS, len(found.nearest))
    pairs = [images_NCHW[:shown], opened.train.images[found.nearest[:shown]]]
    write_atomically(folder / NEIGHBOURS, _png(tile(torch.cat(pairs), columns=shown)))
    node = found.to_json()
    RunFolder(folder).write_json(folder / JUDGEMENT, node)
    return node


def _labels(
    generator: Generator, prompt: str | None, name: str | None, count: int, *, every_class: bool
) -> Tensor | None:
    """Return the class asked of every sample, or None."""
    from pellucid.priors.phrases import find_class

    classes = generator.record.classes
    if name is not None:
        if prompt is not None:
            raise DataError("say a prompt or a class, not both", found=f"'{prompt}', '{name}'")
        if not classes:
            raise DataError(
                "this prior was trained without classes", where=generator.folder, found=name
            )
        return torch.full((count,), find_class(name, classes))
    if prompt is None and every_class and classes:
        return torch.arange(count) % len(classes)
    return None


def _write(
    folder: Path,
    images_NCHW: Tensor,
    codes: Tensor,
    prompts: list[str] | None,
    asked: list[str | None],
    seed: int,
    generator: Generator,
    drawing: Drawing,
    judgement: dict[str, Any] | None,
) -> dict[str, Any]:
    """Write pictures first and the index last; pictures of an earlier, longer index go."""
    before = _files_before(folder)
    samples = []
    for number, image_CHW in enumerate(images_NCHW):
        file = f"{number:04d}.png"
        write_atomically(folder / file, _png(image_CHW.permute(1, 2, 0).numpy()))
        sample: dict[str, Any] = {"file": file, "seed": seed + number}
        if prompts is not None:
            sample["prompt"] = prompts[number]
        if asked[number] is not None:
            sample["class"] = asked[number]
        samples.append({**sample, "codes": codes[number].tolist()})
    columns = min(16, max(1, round(len(images_NCHW) ** 0.5)))
    write_atomically(folder / GRID, _png(tile(images_NCHW[:256], columns=columns)))
    index = {
        "prior": str(generator.folder),
        "decoded_by": generator.tokenizer.decoded_by,
        "drawing": dataclasses.asdict(drawing),
        "grid": GRID,
        "samples": samples,
    }
    RunFolder(folder).write_json(folder / INDEX, index)
    gone = before - {sample["file"] for sample in samples}
    if judgement is None:  # what was judged here were other samples
        gone |= {JUDGEMENT, NEIGHBOURS}
    for name in gone:
        (folder / name).unlink(missing_ok=True)
    return {"folder": str(folder), **index, "judgement": judgement}


def _files_before(folder: Path) -> set[str]:
    try:
        node = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        names = {str(sample["file"]) for sample in node["samples"]}
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    return {name for name in names if Path(name).name == name and name.endswith(".png")}


def tile(images_NCHW: Tensor, *, columns: int, gap: int = 2) -> np.ndarray:
    """Return one picture (H, W, C) of many, row by row, white between them."""
    count, channels, height, width = images_NCHW.shape
    rows = -(-count // columns)
    sheet = np.full(
        (rows * (height + gap) - gap, columns * (width + gap) - gap, channels), 255, np.uint8
    )
    for number, image_CHW in enumerate(images_NCHW):
        row, column = divmod(number, columns)
        top, left = row * (height + gap), column * (width + gap)
        sheet[top : top + height, left : left + width] = image_CHW.permute(1, 2, 0).numpy()
    return sheet


def _png(pixels_HWC: np.ndarray) -> bytes:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    picture = pixels_HWC[..., 0] if pixels_HWC.shape[-1] == 1 else pixels_HWC
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, format="PNG")
    return buffer.getvalue()
