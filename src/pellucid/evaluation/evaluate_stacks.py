"""Evaluate a model of stacks on held-out tiles: every marker, beside linear references."""

from __future__ import annotations

from collections.abc import Sequence

from pellucid.data.stacks.tiles import TileSplit
from pellucid.evaluation.hidden_markers import hidden_marker_r2
from pellucid.evaluation.passes import Reconstructor
from pellucid.evaluation.protocol import Progress, Steps, choose_held_out, publish
from pellucid.evaluation.stack_gallery import save_markers
from pellucid.evaluation.stack_pass import hidden_batches, latent_shape, sweep_tiles
from pellucid.evaluation.stack_record import StackEvaluation
from pellucid.evaluation.stack_references import Judge, fit_references, training_tiles
from pellucid.evaluation.stack_summary import (
    all_metrics,
    by_marker,
    gains_over_references,
    live_markers,
    remarks,
    scores_of_references,
)
from pellucid.models.autoencoder import Autoencoder
from pellucid.models.precision import Precision, resolve_precision
from pellucid.references.samples import affordable
from pellucid.run_folder import RunFolder


def evaluate_stacks(
    autoencoder: Autoencoder,
    train_set: TileSplit,
    held_out_set: TileSplit,
    *,
    names: Sequence[str],
    batch_size: int = 32,
    max_samples: int = 2048,
    pca: tuple[int, ...] = (64, 256),
    reference_samples: int = 1024,
    cofactor: float | None = 1.0,
    masked: bool = False,
    save_reconstructions: int = 6,
    resamples: int = 1000,
    seed: int = 0,
    precision: Precision = "float32",
    folder: RunFolder | None = None,
    weights: str = "as given",
    split: str = "test",
    shown: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> StackEvaluation:
    """Measure a model on held-out tiles, and PCA fitted on training tiles on the same ones.

    Args:
        autoencoder: of stacks, on any device; left as it was found.
        train_set: tiles that references are fitted on, augmented as in training.
        held_out_set: tiles of one split.
        names: of the channels.
        batch_size: tiles at once.
        max_samples: at most so many tiles, evenly spaced over the split.
        pca: numbers per tile of the references.
        reference_samples: training tiles they are fitted on, at most.
        cofactor: fidelity is judged on arcsinh(counts / cofactor); None judges on counts.
        masked: also measure every live marker with its channel hidden from the input.
        save_reconstructions: markers drawn, spread evenly from best to worst.
        resamples: of the bootstrap over blocks (or regions, slides, patients).
        seed: of the bootstrap.
        precision: in which the model computes.
        folder: where evaluation.json and reconstructions/ go; None writes nothing.
        weights: which weights these are, stated in the result.
        split: which split `held_out_set` is, stated in the result.
        shown: names of markers to draw, e.g. those that another run shows.
        progress: called with (done, total) steps.

    Raises:
        DataError: for fewer than two tiles, or when no marker is live.
        PellucidError: when a reconstruction is not finite.
    """
    indices = choose_held_out(
        len(held_out_set), max_samples, split, noun="tiles", further="; or a smaller data.block"
    )
    reconstruct = Reconstructor(autoencoder, precision)
    judge = Judge(held_out_set.chain, cofactor)
    steps = Steps(progress, len(indices) + 1)

    numbers = reconstruct.numbers(latent_shape(reconstruct, held_out_set))
    elements = held_out_set[0]["x"].numel()
    references = fit_references(
        training_tiles(train_set, min(reference_samples, affordable(elements))),
        judge,
        numbers=pca,
        own=numbers,
        stride=autoencoder.stride,
    )
    steps.advance(1)
    measured = sweep_tiles(
        reconstruct, judge, held_out_set, indices, references, batch_size=batch_size, steps=steps
    )
    live = live_markers(references.nonzero_C, measured.nonzero_C(), names)
    hidden = {}
    if masked:
        tiles = hidden_batches(reconstruct, held_out_set, indices, judge, batch_size)
        hidden = hidden_marker_r2(tiles, live)

    draws = {"resamples": resamples, "seed": seed}
    result = StackEvaluation(
        split=split,
        weights=weights,
        precision=resolve_precision(reconstruct.device, precision),
        judged=judge.words,
        metrics=all_metrics(measured, live, hidden, draws),
        markers=by_marker(names, measured, references.nonzero_C, live, hidden, draws),
        references=scores_of_references(measured, references.told, live, draws),
        differences=gains_over_references(measured, live, draws),
        latent=measured.latent.to_json(numbers, **draws),
        codes=measured.latent.codes_json(),
        remarks=remarks(
            names,
            live,
            f"references are fitted on {references.tiles} training tiles, augmented as in training",
        ),
        samples=measured.samples(held_out_set, indices, live, references.std_C),
    )

    def show(folder: RunFolder) -> None:
        save_markers(
            folder, reconstruct, held_out_set, indices, judge, references, result,
            save_reconstructions, shown,
        )  # fmt: skip

    publish(folder, result, show if save_reconstructions > 0 else None)
    steps.finish()
    return result
