"""Evaluate an autoencoder on held-out samples: numbers with intervals, beside references."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pellucid.evaluation.beside import MeasuredReference, measure_references, reference_images
from pellucid.evaluation.gallery import save_gallery, spread_by_psnr
from pellucid.evaluation.image_pass import Pass, sweep
from pellucid.evaluation.passes import Reconstructor, batches
from pellucid.evaluation.protocol import Progress, Protocol, Steps, choose_held_out, publish
from pellucid.evaluation.rate import bits_per_sample
from pellucid.evaluation.record import Evaluation
from pellucid.evaluation.summary import all_metrics, by_colour, by_label
from pellucid.functional.value_range import ValueRange
from pellucid.models.autoencoder import Autoencoder
from pellucid.models.precision import Precision, resolve_precision
from pellucid.references.codecs import Codec
from pellucid.references.ladder import ladder
from pellucid.references.linear import PCAReference
from pellucid.references.samples import affordable, collect, entry, items, spaced
from pellucid.run_folder import RunFolder

_SPREAD = "evenly spread by PSNR from best to worst"


def evaluate(
    autoencoder: Autoencoder,
    train_set: Any,
    held_out_set: Any,
    *,
    value_range: ValueRange,
    kl_weight: float | None = None,
    batch_size: int = 64,
    max_samples: int = 10_000,
    reference_samples: int = 2048,
    codecs: tuple[Codec, ...] = ("jpeg", "webp"),
    save_reconstructions: int = 8,
    resamples: int = 1000,
    seed: int = 0,
    precision: Precision = "float32",
    folder: RunFolder | None = None,
    weights: str = "as given",
    split: str = "test",
    shown: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure a model on the very crops it is fed, and references on the same ones.

    The model runs in evaluation mode without gradients and is left as it was found; the global
    random state is not touched.

    Args:
        autoencoder: on any device.
        train_set: map-style dataset of {"x", "target", ...}; references are fitted on its targets.
        held_out_set: map-style dataset of {"x", "target", "group"[, "label"]}.
        value_range: of the samples.
        kl_weight: w of ΣKL beside a mean-reduced squared error, for R3; None where there is none.
        batch_size: samples at once.
        max_samples: at most so many held-out samples, evenly spaced over the set.
        reference_samples: references are fitted on, and measured on, at most so many samples.
        codecs: file formats to compare with at the model's own bits.
        save_reconstructions: samples written as PNGs, spread evenly from best to worst.
        resamples: of the bootstrap over groups.
        seed: of the bootstrap and of R0's pairing.
        precision: in which the model computes; "auto" takes bf16 where it helps.
        folder: where evaluation.json and reconstructions/ go; None writes nothing.
        weights: which weights these are, stated in the result.
        split: which split `held_out_set` is, stated in the result.
        shown: digests of the samples to write as PNGs, e.g. those that another run shows; None
            spreads them from this model's best to its worst.
        progress: called with (done, total) steps.

    Raises:
        DataError: for fewer than two held-out samples, or samples of different shapes.
        PellucidError: when a reconstruction is not finite.
        RunError: when a file cannot be written.
    """
    indices = choose_held_out(len(held_out_set), max_samples, split)
    elements = entry(items(held_out_set, indices[:1])[0]).numel()
    count = min(reference_samples, affordable(elements))
    chosen = spaced(len(indices), count)
    protocol = Protocol(value_range, batch_size, resamples, seed)
    steps = Steps(progress, len(indices) + (2 + len(codecs)) * len(chosen))
    reconstruct = Reconstructor(autoencoder, precision)

    measured = sweep(reconstruct, held_out_set, indices, protocol, steps)
    bits = bits_per_sample(measured, reconstruct, held_out_set, indices, protocol)

    train_NCHW = collect(train_set, count)
    x_NCHW = _targets(held_out_set, [indices[i] for i in chosen], protocol)
    numbers = reconstruct.numbers(measured.latent.shape)
    pca = PCAReference.fit(train_NCHW, numbers, stride=autoencoder.stride)
    rungs = ladder(
        train_NCHW,
        x_NCHW,
        numbers,
        autoencoder.stride,
        kl_weight=kl_weight,
        bits=bits.value,
        peak=value_range.width,
        samples=count,
        seed=seed,
        pca=pca,
    )
    coded = autoencoder.bottleneck.bits_per_position is not None
    beside = measure_references(
        reference_images(train_NCHW, x_NCHW, pca, codecs, bits.value, value_range, coded=coded),
        x_NCHW,
        measured,
        chosen,
        protocol,
        steps,
    )
    steps.finish()

    result = Evaluation(
        split=split,
        weights=weights,
        precision=resolve_precision(reconstruct.device, precision),
        metrics=all_metrics(measured, bits, protocol, pixels=x_NCHW[0, 0].numel()),
        ladder=rungs,
        references={name: found.reference for name, found in beside.items()},
        differences={name: found.differences for name, found in beside.items()},
        codes=measured.latent.codes_json(),
        latent=measured.latent.to_json(numbers, resamples=resamples, seed=seed),
        spectrum=measured.paired.spectrum_json(),
        labels=by_label(measured),
        colour=by_colour(measured, protocol),
        samples=measured.samples,
    )

    def show(folder: RunFolder) -> None:
        rows = _shown(measured, chosen, save_reconstructions, shown)
        how = "the ones another run shows" if shown else _SPREAD
        _save(folder, reconstruct, held_out_set, measured, chosen, beside, rows, how)

    publish(folder, result, show if save_reconstructions > 0 else None)
    return result


def _targets(dataset: Any, indices: Sequence[int], protocol: Protocol) -> Tensor:
    parts = batches(dataset, indices, protocol.batch_size)
    return torch.cat([part.target for part in parts]).float()


def _shown(
    measured: Pass, chosen: Sequence[int], count: int, digests: Sequence[str] | None
) -> list[int]:
    """Return which of the chosen samples to write: those named if all are there, else a spread."""
    places = {measured.samples["digest"][i]: row for row, i in enumerate(chosen)}
    if digests and all(digest in places for digest in digests):
        return [places[digest] for digest in digests]
    return spread_by_psnr(measured.paired.per_image["psnr"][list(chosen)], count)


def _save(
    folder: RunFolder,
    reconstruct: Reconstructor,
    dataset: Any,
    measured: Pass,
    chosen: list[int],
    beside: dict[str, MeasuredReference],
    rows: list[int],
    how: str,
) -> None:
    """Write the pictures of some of the chosen samples."""
    per_image = measured.paired.per_image
    indices = [measured.samples["index"][chosen[row]] for row in rows]
    value_range = measured.value_range
    batch = next(batches(dataset, indices, len(indices)))
    own = [chosen[row] for row in rows]
    shown = {name: found for name, found in beside.items() if name != "mean"}  # always the same
    save_gallery(
        folder,
        [measured.samples["name"][i] for i in own],
        [measured.samples["digest"][i] for i in own],
        {
            "original": value_range.to_uint8(batch.target),
            "reconstruction": value_range.to_uint8(reconstruct(batch.x)[0]),
            **{name: found.images.images[rows] for name, found in shown.items()},
        },
        {
            metric: {
                "reconstruction": per_image[metric][own],
                **{name: found.per_image[metric][rows] for name, found in shown.items()},
            }
            for metric in ("psnr", "ssim")
        },
        selection=f"{len(rows)} of {len(chosen)} samples, {how}",
    )
