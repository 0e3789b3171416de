"""Samples as codes and back: a run's own quantiser, or a codebook fitted to it afterwards."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pellucid.bitstream.fingerprint import fingerprint
from pellucid.errors import RunError
from pellucid.workflows.run import Run

if TYPE_CHECKING:
    from pellucid.bottlenecks import Bottleneck
    from pellucid.data.dataset import ImageSplit
    from pellucid.functional.value_range import ValueRange

Progress = Callable[[int, int], None]
MOST_CODES_AS_VECTORS = 65_536


@dataclasses.dataclass(frozen=True)
class Tokenizer:
    """Turn samples into codes and codes into samples.

    Args:
        run: whose model it is.
        value_range: of its samples.
        codebook: name of a post-hoc codebook, or None for the model's own codes.
        size: K, codes per level.
        levels: L where codes have an axis of levels, else None.
        identity: fingerprint of what decides the codes.
        decoded_by: which decoder turns codes back, in words.
        encode: x (B, C, H, W) in the run's value range → codes (B, P...[, L]).
        decode: codes → x_hat in the run's value range.
        vectors: the (K, D) vectors of the codes per level, or None when they are too many.
    """

    run: Run
    value_range: ValueRange
    codebook: str | None
    size: int
    levels: int | None
    identity: str
    decoded_by: str
    encode: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor], Tensor]
    vectors: list[Tensor] | None

    @classmethod
    def open(cls, run: str | Path | Run, codebook: str | None = None) -> Tokenizer:
        """Open a run's codes.

        Raises:
            RunError: when the run is not of images, has no weights, or no codes and no codebook is
                named.
        """
        opened = Run.open(run)
        kind = opened.recipe.data.get("kind")
        if kind != "images" or opened.value_range is None:
            raise RunError(
                "only the codes of image models are modelled",
                where=opened.path,
                expected="data.kind: images",
                found=kind,
            )
        if codebook is None:
            return _own_codes(opened, opened.value_range)
        return _fitted_codes(opened, opened.value_range, codebook)


def _fitted_codes(run: Run, value_range: ValueRange, name: str) -> Tokenizer:
    from pellucid.codebooks import Codebook

    autoencoder = run.load()
    codebook = Codebook.open(run.folder, name, autoencoder)
    decides = {f"codebook.{key}": value for key, value in codebook.rule.tensors().items()}
    decides["codebook.vectors"] = codebook.vectors
    tuned = codebook.decoder is not None
    return Tokenizer(
        run=run,
        value_range=value_range,
        codebook=name,
        size=codebook.size,
        levels=None,
        identity=fingerprint({**autoencoder.state_dict(), **decides}).hex(),
        decoded_by="the decoder tuned for this codebook" if tuned else "the run's decoder",
        encode=lambda x: codebook.encode(autoencoder.encode(x).mean),
        decode=codebook.decode,
        vectors=[codebook.vectors],
    )


def _own_codes(run: Run, value_range: ValueRange) -> Tokenizer:
    autoencoder = run.load()
    bottleneck = autoencoder.bottleneck
    if bottleneck.codebook_size is None:
        raise RunError(
            "this run's model has no codes of its own",
            where=run.path,
            expected="a quantising bottleneck, or a codebook fitted afterwards",
            hint=f"pellucid codebook {run.path}, then --codebook NAME",
        )

    def encode(x: Tensor) -> Tensor:
        codes = autoencoder.encode(x).codes
        assert codes is not None
        return codes

    return Tokenizer(
        run=run,
        value_range=value_range,
        codebook=None,
        size=bottleneck.codebook_size,
        levels=bottleneck.residual_levels,
        identity=fingerprint(autoencoder.state_dict()).hex(),
        decoded_by="the run's decoder",
        encode=encode,
        decode=autoencoder.decode_codes,
        vectors=_own_vectors(bottleneck),
    )


@torch.no_grad()
def _own_vectors(bottleneck: Bottleneck) -> list[Tensor] | None:
    """Return the vectors that codes stand for; of residual levels each level's alone."""
    size, levels = bottleneck.codebook_size, bottleneck.residual_levels
    if size is None or size > MOST_CODES_AS_VECTORS:
        return None
    if levels is None:
        return [bottleneck.decode_codes(torch.arange(size)[None])[0].T]
    vectors = []
    for level in range(levels):
        codes_1KL = torch.full((1, size, levels), -1)  # −1: a level that was not sent
        codes_1KL[..., level] = torch.arange(size)
        vectors.append(bottleneck.decode_codes(codes_1KL)[0].T)
    return vectors


@dataclasses.dataclass(frozen=True)
class Encoded:
    """The codes of one split, ordered and unaugmented.

    Args:
        codes: (N, P...[, L]) int64.
        labels: (N,) classes, or None.
        names: file or row behind each sample.
    """

    codes: Tensor
    labels: Tensor | None
    names: list[str]


@torch.no_grad()
def encode_split(
    tokenizer: Tokenizer,
    split: ImageSplit,
    *,
    batch_size: int = 128,
    progress: Progress | None = None,
) -> Encoded:
    """Return the codes of every sample of a split in its order, without augmentation."""
    plain = each_once(split)
    codes, labels = [], []
    for start in range(0, len(plain), batch_size):
        batch = plain.batch(range(start, min(start + batch_size, len(plain))))
        codes.append(tokenizer.encode(batch["x"]))
        if "label" in batch:
            labels.append(batch["label"])
        if progress is not None:
            progress(min(start + batch_size, len(plain)), len(plain))
    names = [plain.name(index) for index in range(len(plain))]
    return Encoded(torch.cat(codes), torch.cat(labels) if labels else None, names)


def each_once(split: ImageSplit) -> ImageSplit:
    """Return the split with every sample once (`data.train_crops` repeats them), as it is."""
    plain = split.unaugmented()
    _, first = np.unique(plain.places, axis=0, return_index=True)
    plain.places = plain.places[np.sort(first)]
    return plain
