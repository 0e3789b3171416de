"""Evaluate a model of stacks on held-out tiles: every marker, beside linear references.

Shape letters: N tiles, C channels, H height, W width.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pellucid.data.stacks.tiles import TileSplit
from pellucid.errors import DataError
from pellucid.evaluation.passes import Reconstructor
from pellucid.evaluation.protocol import Progress, Steps
from pellucid.evaluation.stack_gallery import save_markers
from pellucid.evaluation.stack_record import StackEvaluation, StackReference
from pellucid.evaluation.stack_references import (
    FittedReferences,
    Judge,
    fit_references,
    training_tiles,
)
from pellucid.metrics.codes import CodeUsage
from pellucid.metrics.latent import GaussianRate
from pellucid.metrics.markers import MarkerErrors, MarkerTable, median_gain
from pellucid.models.autoencoder import Autoencoder
from pellucid.models.precision import Precision, resolve_precision
from pellucid.records import Latent, MetricValue
from pellucid.references.samples import affordable, spaced
from pellucid.run_folder import RunFolder

LIVE = 0.01
"""A marker is live when at least this share of its pixels is not zero, in train and held-out."""


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
    if len(held_out_set) < 2:
        raise DataError(
            f"too few {split} tiles to evaluate on",
            expected="at least 2, for an interval",
            found=len(held_out_set),
            hint="hold more out: data.validation, data.test; or a smaller data.block",
        )
    indices = spaced(len(held_out_set), max_samples)
    reconstruct = Reconstructor(autoencoder, precision)
    judge = Judge(held_out_set.chain, cofactor)
    steps = Steps(progress, len(indices) + 1)
    measured = _Pass(reconstruct, judge, len(names))
    own = reconstruct.numbers(measured.probe(held_out_set))
    elements = held_out_set[0]["x"].numel()
    counts = training_tiles(train_set, min(reference_samples, affordable(elements)))
    references = fit_references(counts, judge, numbers=pca, own=own, stride=autoencoder.stride)
    del counts
    steps.advance(1)
    for start in range(0, len(indices), batch_size):
        chosen = indices[start : start + batch_size]
        measured.update(held_out_set, chosen, references)
        steps.advance(len(chosen))
    live = _live(references.nonzero_C, measured.nonzero_C(), names)
    draws = {"resamples": resamples, "seed": seed}
    hidden = (
        masked_errors(reconstruct, held_out_set, indices, judge, live, batch_size) if masked else {}
    )
    result = StackEvaluation(
        split=split,
        weights=weights,
        precision=resolve_precision(reconstruct.device, precision),
        judged=judge.words,
        metrics=_metrics(measured, live, hidden, draws),
        markers=_markers(names, measured, references, live, hidden, draws),
        references={
            name: StackReference(errors.summary(live, **draws), *_told(name, references))
            for name, errors in measured.references.items()
        },
        differences={
            name: median_gain(measured.model, errors, live, **draws)
            for name, errors in measured.references.items()
        },
        latent=_latent(measured, own, draws),
        codes={"levels": measured.usage.per_level()} if measured.usage else {},
        remarks=_remarks(names, live, references.tiles),
        samples=measured.samples(held_out_set, indices, live, references.std_C),
    )
    if folder is not None:
        folder.write_json(folder.evaluation, result.to_json())
        if save_reconstructions > 0:
            save_markers(
                folder, reconstruct, held_out_set, indices, judge, references, result,
                save_reconstructions, shown,
            )  # fmt: skip
    steps.finish()
    return result


class _Pass:
    """Accumulate what one pass over the tiles measures."""

    def __init__(self, reconstruct: Reconstructor, judge: Judge, channels: int) -> None:
        self.reconstruct, self.judge = reconstruct, judge
        self.model = MarkerErrors(cosine=channels > 1)
        self.counts = MarkerErrors(cosine=False)
        self.references: dict[str, MarkerErrors] = {}
        self.rate: GaussianRate | None = None
        self.usage: CodeUsage | None = None
        self.latent_shape: tuple[int, ...] = ()
        self.digests: list[str] = []
        self._nonzero: list[Tensor] = []

    def probe(self, split: TileSplit) -> tuple[int, ...]:
        """Return the shape of one latent."""
        _, latent = self.reconstruct(split.batch([0])["x"])
        self.latent_shape = tuple(latent.mean.shape[1:])
        return self.latent_shape

    def update(self, split: TileSplit, chosen: list[int], references: FittedReferences) -> None:
        """Measure some tiles by the model and by every reference."""
        raw = torch.from_numpy(np.stack([split.raw(index) for index in chosen]))
        x, scale = split.chain.forward(raw)
        groups = [str(split.groups[int(split.places[index, 0])]) for index in chosen]
        y, latent = self.reconstruct(x)
        answered = self.judge.counts(y.cpu(), scale)
        judged = self.judge(raw)
        self.model.update(self.judge(answered), judged, groups)
        self.counts.update(answered, raw, groups)
        for name, answer in references.reconstruct(judged).items():
            found = self.references.setdefault(name, MarkerErrors(cosine=self.model.cosine))
            found.update(answer, judged, groups)
        self._nonzero.append((raw != 0).float().mean((2, 3)))
        self.digests += [hashlib.blake2b(t.numpy().tobytes(), digest_size=8).hexdigest()
                         for t in raw]  # fmt: skip
        self._count(latent, groups)

    def _count(self, latent: Latent, groups: list[str]) -> None:
        bits = self.reconstruct.autoencoder.bottleneck.bits_per_position
        if latent.codes is not None and bits is not None:
            levels = latent.codes.shape[-1] if latent.codes.ndim == latent.mean.ndim else 1
            self.usage = self.usage or CodeUsage(round(2 ** (bits / levels)), levels)
            self.usage.update(latent.codes)
        elif latent.logvar is not None:
            self.rate = self.rate or GaussianRate()
            self.rate.update(latent.mean.float(), latent.logvar.float(), groups)

    def nonzero_C(self) -> np.ndarray:
        """Return the share of held-out pixels that are not zero."""
        return torch.cat(self._nonzero).mean(0).numpy()

    def samples(
        self, split: TileSplit, indices: list[int], live: list[int], std_C: Tensor
    ) -> dict[str, list[Any]]:
        """Return columns over the tiles; fvu is the mean over live markers of error / variance."""
        error_TC = self.model.sums_TCK[:, live, 0]
        fvu = (error_TC / std_C.square().numpy()[live]).mean(1)
        return {
            "index": list(indices),
            "name": [split.name(index) for index in indices],
            "group": list(self.model.groups),
            "digest": self.digests,
            "fvu": np.round(fvu, 6).tolist(),
        }


@torch.no_grad()
def masked_errors(
    reconstruct: Reconstructor,
    split: TileSplit,
    indices: list[int],
    judge: Judge,
    live: list[int],
    batch_size: int,
) -> dict[int, float]:
    """Return R² of every live marker when its channel is 0 in the model's input."""
    found = {channel: [0.0, 0.0, 0.0, 0] for channel in live}
    for start in range(0, len(indices), batch_size):
        chosen = indices[start : start + batch_size]
        raw = torch.from_numpy(np.stack([split.raw(index) for index in chosen]))
        x, scale = split.chain.forward(raw)
        truth = judge(raw)
        for channel in live:
            hidden = x.clone()
            hidden[:, channel] = 0
            answer = judge(judge.counts(reconstruct(hidden)[0].cpu(), scale))
            own = truth[:, channel].double()
            sums = found[channel]
            sums[0] += float((answer[:, channel] - own).square().sum())
            sums[1] += float(own.sum())
            sums[2] += float(own.square().sum())
            sums[3] += own.numel()
    return {
        channel: 1 - error / max(square - total**2 / n, 1e-20)
        for channel, (error, total, square, n) in found.items()
    }


def _live(train_C: np.ndarray, held_C: np.ndarray, names: Sequence[str]) -> list[int]:
    live = np.flatnonzero((train_C >= LIVE) & (held_C >= LIVE)).tolist()
    if not live:
        best = int(np.minimum(train_C, held_C).argmax())
        raise DataError(
            "no marker is live",
            expected=f"at least {LIVE:.0%} of the pixels not zero, in train and held-out",
            found=f"the nearest is {names[best]}: {train_C[best]:.2%} and {held_C[best]:.2%}",
        )
    return live


def _metrics(
    measured: _Pass, live: list[int], hidden: dict[int, float], draws: dict[str, int]
) -> dict[str, MetricValue]:
    metrics = measured.model.summary(live, **draws)
    counts = measured.counts.summary(live, **draws)["r2"]
    metrics["r2_counts"] = MetricValue(
        counts.value, "1", counts.low, counts.high, counts.n, f"{counts.convention}; on counts"
    )
    if hidden:
        value = float(np.median(list(hidden.values())))
        words = f"median over {len(live)} live markers of R² with the marker hidden from the input"
        metrics["masked_r2"] = MetricValue(value, "1", None, None, counts.n, words)
    if measured.rate is not None:
        metrics["kl_bits"] = measured.rate.compute(**draws)["kl_bits"]
    if measured.usage is not None:
        metrics.update(measured.usage.compute())
    return metrics


def _markers(
    names: Sequence[str],
    measured: _Pass,
    references: FittedReferences,
    live: list[int],
    hidden: dict[int, float],
    draws: dict[str, int],
) -> list[dict[str, Any]]:
    table: MarkerTable = measured.model.table(**draws)
    counts = measured.counts.table(resamples=2, seed=0).r2
    beside = {name: e.table(resamples=2, seed=0).r2 for name, e in measured.references.items()}
    held = measured.nonzero_C()
    return [
        {
            "name": name,
            "live": place in live,
            "nonzero_train": float(references.nonzero_C[place]),
            "nonzero_held_out": float(held[place]),
            "r2": float(table.r2[place]),
            "r2_low": float(table.r2_low[place]) if place in live else None,
            "r2_high": float(table.r2_high[place]) if place in live else None,
            "pearson": float(table.pearson[place]),
            "gradient": float(table.gradient[place]),
            "r2_counts": float(counts[place]),
            "masked_r2": hidden.get(place),
            "references": {key: float(r2[place]) for key, r2 in beside.items()},
        }
        for place, name in enumerate(names)
    ]


def _told(name: str, references: FittedReferences) -> tuple[str, int]:
    if name == "mean":
        return f"mean of every marker over {references.tiles} training tiles", 0
    return references.pca[name].note, references.pca[name].numbers


def _latent(measured: _Pass, own: int, draws: dict[str, int]) -> dict[str, Any]:
    node: dict[str, Any] = {"shape": list(measured.latent_shape), "numbers": own}
    if measured.rate is not None:
        found = measured.rate.compute(**draws)
        node.update({name: value.to_json() for name, value in found.items()})
        per_dimension = measured.rate.kl_per_dimension.sort(descending=True).values
        node["kl_sorted_nats"] = [round(v, 5) for v in per_dimension[:1024].tolist()]
    return node


def _remarks(names: Sequence[str], live: list[int], tiles: int) -> tuple[str, ...]:
    sparse = [name for place, name in enumerate(names) if place not in live]
    found = [f"references are fitted on {tiles} training tiles, augmented as in training"]
    if sparse:
        found.append(
            f"{len(sparse)} markers are fed but too sparse to be judged (below {LIVE:.0%} not "
            f"zero): {', '.join(sparse)}"
        )
    return tuple(found)
