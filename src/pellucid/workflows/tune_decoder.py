"""Tune a decoder for the codes of one of a run's codebooks."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from pellucid.errors import RunError
from pellucid.run_folder import RunFolder
from pellucid.workflows.run import Run


def tune_decoder(
    run: str | Path | Run,
    *,
    codebook: str | None = None,
    steps: int = 1000,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    seed: int = 0,
    threads: int | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Train the decoder on q(mean), encoder and codebook frozen; the run's own model is untouched.

    The tuned decoder is stored beside the codebook and used by whatever decodes its codes. An
    interrupted tuning goes on when it is called again.

    Args:
        run: the run or its folder.
        codebook: its name; None takes the only one.
        steps: optimiser steps.
        batch_size: samples per step.
        learning_rate: peak of AdamW's.
        seed: of the order.
        threads: torch's, or None for a sensible number.
        progress: draw a progress bar.

    Returns:
        The content of tuning.json: PSNR before and after with intervals, and the share of the gap
        that was closed.

    Raises:
        PellucidError: when there is no such codebook, or several and none was named.
        RunError: when it was interrupted.
        DataError: when the run's data is gone.
    """
    from pellucid.build.assemble import build_objective
    from pellucid.codebooks import Codebook, open_latents
    from pellucid.codebooks.codebook import save_tuning
    from pellucid.codebooks.files import CodebookFiles
    from pellucid.codebooks.gallery import save_strip
    from pellucid.codebooks.scoring import held_out
    from pellucid.codebooks.tuning import budget, tune

    opened = Run.open(run)
    name = codebook or only_codebook(opened.folder)
    book = Codebook.open(opened.folder, name, opened.load(), tuned=False)
    data: Any = opened.data()
    files = CodebookFiles(opened.folder, name)
    place = RunFolder(files.tuning_run)
    decoder = tune(
        book,
        build_objective(opened.recipe),
        data,
        place,
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        seed=seed,
        threads=threads,
        progress=progress,
    )
    latents = open_latents(opened.folder)
    samples = held_out(data.test, latents.splits["test"], data.value_range)
    scores = {key: value.to_json() for key, value in budget(book, decoder, samples).items()}
    settings = {
        "steps": steps, "batch_size": batch_size, "learning_rate": learning_rate, "seed": seed
    }  # fmt: skip
    save_tuning(opened.folder, name, decoder, {"settings": settings, "scores": scores})
    shutil.rmtree(place.path, ignore_errors=True)
    save_strip(opened.folder, Codebook.open(opened.folder, name, book.autoencoder), samples)
    found = files.read_tuning()
    assert found is not None
    return {"codebook": name, **found}


def only_codebook(folder: RunFolder) -> str:
    """Return the name of a run's only codebook.

    Raises:
        RunError: when there is none, or more than one.
    """
    from pellucid.codebooks import codebook_names

    names = codebook_names(folder)
    if len(names) == 1:
        return names[0]
    if not names:
        raise RunError(
            "this run has no codebook", where=folder.path, hint=f"pellucid codebook {folder.path}"
        )
    raise RunError(
        "this run has several codebooks",
        where=folder.path,
        expected=f"--codebook NAME, one of: {', '.join(names)}",
    )
