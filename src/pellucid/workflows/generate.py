"""Draw samples from a run's prior, decode them with its decoder, write and judge them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pellucid.errors import DataError, RunError, unknown_name
from pellucid.run_folder import RunFolder, write_atomically
from pellucid.workflows.prior import OWN
from pellucid.workflows.progress import progress_bar
from pellucid.workflows.run import Run
from pellucid.workflows.tokens import Tokenizer

if TYPE_CHECKING:
    from pellucid.priors.sampling import Drawing
    from pellucid.priors.stored import PriorRecord
    from pellucid.priors.transformer import CodeTransformer

INDEX, GRID, NEIGHBOURS, JUDGEMENT = "samples.json", "grid.png", "neighbours.png", "judgement.json"
SHOWN_WITH_NEIGHBOURS = 12


@dataclasses.dataclass(frozen=True)
class Generator:
    """A prior and the tokenizer whose codes it draws.

    Args:
        tokenizer: codes → samples.
        model: the prior.
        record: what is known of it.
        folder: where it lies.
    """

    tokenizer: Tokenizer
    model: CodeTransformer
    record: PriorRecord
    folder: Path

    @classmethod
    def open(cls, run: str | Path | Run, prior: str | None = None) -> Generator:
        """Open a run's prior and check that it models the run's codes.

        Args:
            run: the run or its folder.
            prior: its name; None takes "own", or the only one there is.

        Raises:
            RunError: when there is no such prior, or the run's codes are no longer those it models.
        """
        from pellucid.priors.stored import load_prior, require_same_tokens

        opened = Run.open(run)
        folder = opened.folder.prior(_choose(opened, prior))
        model, record = load_prior(folder)
        tokenizer = Tokenizer.open(opened, record.codebook)
        require_same_tokens(record, tokenizer.identity, where=folder)
        return cls(tokenizer, model, record, folder)

    def conditions(
        self, count: int, *, prompts: Sequence[str] | None = None, labels: Tensor | None = None
    ) -> Tensor:
        """Return (count, D) condition vectors of prompts, of classes, or of nothing.

        An empty prompt says nothing. A class is told as such where the prior knows classes, else
        in words.

        Raises:
            DataError: when the prior understands no prompts.
        """
        if labels is not None and self.model.class_embed is None:
            prompts, labels = [self.record.classes[label] for label in labels.tolist()], None
        if prompts is None:
            return self.model.condition(count=count, labels=labels)
        said = torch.tensor([bool(prompt.strip()) for prompt in prompts])
        if not said.any():
            return self.model.condition(count=count)
        distinct = list(dict.fromkeys(prompts))
        texts_of = torch.tensor([distinct.index(prompt) for prompt in prompts])
        return self.model.condition(
            count=count, text=self._embed(distinct), texts_of=texts_of, keep_text=said
        )

    @torch.no_grad()
    def draw(
        self,
        condition_ND: Tensor,
        *,
        seed: int,
        drawing: Drawing,
        progress: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """Return codes and the samples (N, C, H, W) uint8 they decode to; sample i has seed + i."""
        from pellucid.priors.sampling import sample

        count = len(condition_ND)
        seeds = range(seed, seed + count)
        with progress_bar("drawing codes", shown=progress) as report:
            codes = sample(self.model, condition_ND, seeds, drawing=drawing, progress=report)
        value_range = self.tokenizer.value_range
        parts = []
        with progress_bar("decoding", shown=progress) as report:
            for start in range(0, count, 64):
                x_hat = self.tokenizer.decode(codes[start : start + 64])
                parts.append(value_range.to_uint8(x_hat))
                report(min(start + 64, count), count)
        return codes, torch.cat(parts)

    def _embed(self, prompts: Sequence[str]) -> Tensor:
        from pellucid.priors.text import to_bytes

        if self.record.text == "clip":
            from pellucid.priors.clip_text import ClipText

            return ClipText.open(self.record.text_model).encode(prompts)
        return to_bytes(prompts)


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


def _choose(run: Run, prior: str | None) -> str:
    from pellucid.priors.stored import RECORD

    known = sorted(path.parent.name for path in run.folder.priors.glob(f"*/{RECORD}"))
    if prior is not None:
        if known and prior not in known:
            raise unknown_name("prior", prior, known, where=run.folder.priors)
        return prior
    if not known:
        raise RunError("this run has no prior", where=run.path, hint=f"pellucid prior {run.path}")
    if OWN in known or len(known) == 1:
        return OWN if OWN in known else known[0]
    raise RunError(
        "this run has several priors", where=run.folder.priors, found=", ".join(known),
        hint="name one with --prior",
    )  # fmt: skip


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
