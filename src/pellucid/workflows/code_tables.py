"""Learn which codes usually follow which, from a run's training split; entropy coding uses it.

Shape letters: P positions in order, L residual levels.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pellucid.atomic_files import write_atomically
from pellucid.bitstream import ContextTables
from pellucid.build.assemble import build_autoencoder
from pellucid.build.stacks import reads_stacks
from pellucid.models.picture import encode_picture
from pellucid.workflows.coder import Coder
from pellucid.workflows.progress import progress_bar
from pellucid.workflows.run import Run

if TYPE_CHECKING:
    from pellucid.data import AudioData, CellData, ImageData, StackData

MOST_CODES = 4096
"""Tables of larger codebooks would hardly be filled, and their fit grows with the square."""
MINUTES = 30.0
IMAGES = 512


def fit_code_tables(
    run: str | Path | Run,
    *,
    data: ImageData | AudioData | StackData | CellData | None = None,
    minutes: float = MINUTES,
    images: int = IMAGES,
    progress: bool = True,
) -> Path | None:
    """Count the codes of training samples and write `code_tables.safetensors` into the run.

    The number of samples is fixed and not the time, so that the tables do not depend on the
    machine. Streams that older tables coded can no longer be read; packed ones can.

    Args:
        run: the run or its folder.
        data: its data when they are open already.
        minutes: most audio to encode, whole clips drawn from the training split.
        images: most training crops to encode.
        progress: draw a progress bar.

    Returns:
        The file, or None when the model has no codes, more than 4096 per level, or works on stacks,
        which are not coded as files.

    Raises:
        RunError: when the run has no weights.
        DataError: when its data is gone.
    """
    import safetensors.numpy

    opened = Run.open(run)
    if not 0 < (build_autoencoder(opened.recipe).bottleneck.codebook_size or 0) <= MOST_CODES:
        return None
    if reads_stacks(opened.recipe):
        return None
    coder = Coder.open(opened)
    if torch.cuda.is_available():
        coder.autoencoder.cuda()
    train_set: Any = (opened.data() if data is None else data).train
    with progress_bar("counting codes", shown=progress) as report:
        if coder.kind == "audio":
            sequences = _clip_codes(coder, train_set, minutes, report)
        else:
            sequences = _crop_codes(coder, train_set, images, report)
    tables = ContextTables.fit(sequences, codes=coder.codebook_size)
    write_atomically(opened.folder.code_tables, safetensors.numpy.save(tables.to_arrays()))
    return opened.folder.code_tables


def saving(tables: ContextTables, sequences: list[np.ndarray]) -> float:
    """Return the share of packed bits that ideal entropy coding saves on (P, L) codes."""
    bits = sum(tables.cost_bits(codes_PL) for codes_PL in sequences)
    packed = sum(codes_PL.size for codes_PL in sequences) * np.ceil(np.log2(tables.codes))
    return 1 - bits / float(packed)


def _clip_codes(coder: Coder, train_set: Any, minutes: float, report: Any) -> list[np.ndarray]:
    """Return the codes of whole clips until there are `minutes` of them."""
    wanted = minutes * 60 * coder.sample_rate
    sequences: list[np.ndarray] = []
    done = 0
    for number in _spread(len(train_set.clips)):
        _, x_CT = train_set.whole(number)
        sequences.append(coder.encode_audio(x_CT[0].numpy()).codes)
        done += x_CT.shape[-1]
        report(min(done, int(wanted)), int(wanted))
        if done >= wanted:
            break
    return sequences


def _crop_codes(coder: Coder, train_set: Any, images: int, report: Any) -> list[np.ndarray]:
    """Return the codes of training crops in raster order."""
    chosen = _spread(len(train_set))[:images]
    sequences = []
    for done, number in enumerate(chosen):
        x_CHW = train_set[number]["target"]
        codes_RQL = encode_picture(coder.autoencoder, x_CHW.to(coder.device)).cpu().numpy()
        sequences.append(codes_RQL.reshape(-1, codes_RQL.shape[-1]))
        report(done + 1, len(chosen))
    return sequences


def _spread(count: int) -> list[int]:
    """Return 0 … count − 1 in a fixed shuffled order, so that any first part is a fair sample."""
    return np.random.default_rng(0).permutation(count).tolist()
