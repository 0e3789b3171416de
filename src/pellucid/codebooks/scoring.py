"""Score a codebook on held-out samples: in latent space, along the data, and in decoded images.

Three numbers, because they can disagree: the latent distance ‖μ − q‖ says what a method minimised,
the path along a graph of held-out latents what geodesic methods minimise, the pulled-back length
‖J·(q − μ)‖ what one changed token does to the image to first order, and the decoded error what a
user sees. Only the last is comparable between methods.

Shape letters: n held-out samples, D latent channels, P positions, K codes, m latents.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from typing import Any

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.csgraph import dijkstra
from torch import Tensor

from pellucid.bottlenecks.rows import to_rows
from pellucid.codebooks.codebook import Codebook
from pellucid.codebooks.latents import SplitLatents
from pellucid.errors import DataError
from pellucid.evaluation.passes import batches
from pellucid.functional.bootstrap import bootstrap_interval, paired_difference
from pellucid.functional.gaussian import kl_nats
from pellucid.functional.value_range import ValueRange
from pellucid.geometry.graph import graph_of, knn_edges, straight_lengths
from pellucid.geometry.neighbours import Neighbours, neighbours
from pellucid.geometry.paths import size_of
from pellucid.geometry.pullback import pulled_back_steps
from pellucid.metrics.clusters import normalised_mutual_information, purity
from pellucid.metrics.codes import CodeUsage
from pellucid.metrics.paired import PAIR, PER_IMAGE, eight_bit_psnr
from pellucid.models.autoencoder import Autoencoder
from pellucid.records import MetricValue
from pellucid.references.samples import spaced

_BATCH = 64
_GRAPH_LATENTS = 20_000
_NEIGHBOURS = 20


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """Held-out samples with their latents.

    Args:
        x: (n, …) in the model's value range.
        mean: (n, D, P…).
        labels: (n,) or None.
        groups: (n,) which samples belong together.
        value_range: of x.
    """

    x: Tensor
    mean: Tensor
    labels: Tensor | None
    groups: list[str]
    value_range: ValueRange


def held_out(
    dataset: Any, latents: SplitLatents, value_range: ValueRange, *, most: int = 2048
) -> HeldOut:
    """Take at most `most` held-out samples, evenly spaced, and their latents.

    Raises:
        DataError: when there are fewer than two, or their latents are of another number.
    """
    plain = dataset.unaugmented()
    if len(plain) != len(latents.mean) or len(plain) < 2:
        raise DataError(
            "there are not enough held-out samples, or their latents are of other data",
            expected=f"{len(latents.mean)} samples, two or more",
            found=len(plain),
        )
    chosen = spaced(len(plain), most)
    parts = list(batches(plain, chosen, _BATCH))
    return HeldOut(
        torch.cat([part.x for part in parts]),
        torch.from_numpy(np.array(latents.mean[chosen])),
        None if latents.labels is None else torch.from_numpy(latents.labels[chosen].copy()),
        [group for part in parts for group in part.groups],
        value_range,
    )


def decoded_psnr(x_hat: Tensor, samples: HeldOut) -> np.ndarray:
    """Return the (n,) PSNR of 8-bit pairs."""
    return eight_bit_psnr(x_hat, samples.x, samples.value_range).double().numpy()


@torch.no_grad()
def decode_means(autoencoder: Autoencoder, mean_nDP: Tensor) -> Tensor:
    """Return decode(μ)."""
    return torch.cat([autoencoder.decode(part) for part in mean_nDP.split(_BATCH)])


def decode_codes(codebook: Codebook, codes_nP: Tensor) -> Tensor:
    """Return decode(q(μ)), through the tuned decoder where the codebook has one."""
    return torch.cat([codebook.decode(part) for part in codes_nP.split(_BATCH)])


@dataclasses.dataclass(frozen=True)
class Scores:
    """What a codebook reached on held-out samples.

    Args:
        metrics: by name.
        psnr: (n,) of decode(q(μ)) per sample, so that codebooks can be compared in pairs.
        samples: what they were measured on.
    """

    metrics: dict[str, MetricValue]
    psnr: np.ndarray
    samples: HeldOut

    def per_sample(self) -> dict[str, Any]:
        """Return plain data: PSNR and group of every sample, and a digest of the samples."""
        pixels = self.samples.value_range.to_uint8(self.samples.x).numpy()
        return {
            "digest": hashlib.blake2b(pixels.tobytes(), digest_size=8).hexdigest(),
            "psnr": np.round(self.psnr, 4).tolist(),
            "group": self.samples.groups,
        }


def score(codebook: Codebook, samples: HeldOut, *, pushed: int = 64) -> Scores:
    """Measure a codebook on held-out samples.

    Args:
        codebook: with its own model.
        samples: what to measure on.
        pushed: samples whose pulled-back lengths are measured, evenly spaced.
    """
    codes_nP = codebook.encode(samples.mean)
    q_nDP = codebook.lookup(codes_nP)
    plain = decoded_psnr(decode_means(codebook.autoencoder, samples.mean), samples)
    coded = decoded_psnr(decode_codes(codebook, codes_nP), samples)
    pair = f"{PER_IMAGE}, at most 58.92 dB; {PAIR}"
    groups = samples.groups
    gap = paired_difference(plain, coded, groups)
    found = {
        "psnr": _metric(coded, groups, "dB", f"decode(q(mean)) against x; {pair}"),
        "psnr_mean": _metric(plain, groups, "dB", f"decode(mean) against x; {pair}"),
        "psnr_gap": MetricValue(
            gap.value, "dB", gap.low, gap.high, gap.n, "decode(mean) − decode(q(mean)), paired"
        ),
        "latent_distance": _metric(
            (samples.mean - q_nDP).norm(dim=1).flatten(1).mean(1).double().numpy(),
            groups,
            "latent L2",
            "mean over positions of ‖μ − q(μ)‖",
        ),
        "path_length": _path_length(codebook, samples.mean, codes_nP),
        "pulled_back_length": _pulled_back(codebook, samples, q_nDP, pushed),
    }
    usage = CodeUsage(codebook.size)
    usage.update(codes_nP)
    found |= usage.compute()
    if samples.labels is not None:
        found |= _agreement(codes_nP, samples.labels)
    return Scores(found, coded, samples)


def preflight(latents: SplitLatents, size: int) -> dict[str, float] | None:
    """Return KL bits per token beside log₂K, or None for a posterior without variance.

    Where the KL is far above log₂K, any codebook of this size loses detail that the decoder is used
    to; far below, codes are wasted.
    """
    if latents.logvar is None:
        return None
    chosen = spaced(len(latents.mean), 2048)
    kl_nDP = kl_nats(
        torch.from_numpy(np.array(latents.mean[chosen])),
        torch.from_numpy(np.array(latents.logvar[chosen])),
    )
    bits = float(kl_nDP.sum(1).mean()) / math.log(2)
    return {"kl_bits_per_token": bits, "log2_size": math.log2(size)}


def _metric(values_n: np.ndarray, groups: list[str], unit: str, convention: str) -> MetricValue:
    interval = bootstrap_interval(values_n, groups)
    return MetricValue(interval.value, unit, interval.low, interval.high, interval.n, convention)


def _pulled_back(codebook: Codebook, samples: HeldOut, q_nDP: Tensor, pushed: int) -> MetricValue:
    chosen = spaced(len(samples.mean), pushed)
    start, step = samples.mean[chosen], (q_nDP - samples.mean)[chosen]
    lengths_nP = pulled_back_steps(codebook.autoencoder.decoder, start, step)
    return _metric(
        lengths_nP.mean(1).double().numpy(),
        [samples.groups[i] for i in chosen],
        "output L2",
        "mean over positions of ‖J·(q − μ)‖, J of the model's own decoder in full-grid context",
    )


def _path_length(codebook: Codebook, mean_nDP: Tensor, codes_nP: Tensor) -> MetricValue:
    """Measure the path from each held-out latent to its code along the held-out latents.

    The graph joins every latent to its 20 nearest and every code vector to its 20 nearest latents.
    """
    rows_mD, codes_m = to_rows(mean_nDP).float().numpy(), codes_nP.flatten().numpy()
    chosen = spaced(len(rows_mD), _GRAPH_LATENTS)
    rows_mD, codes_m = np.ascontiguousarray(rows_mD[chosen]), codes_m[chosen]
    k = min(_NEIGHBOURS, len(rows_mD) - 1)
    edges = knn_edges(rows_mD, k)
    latents = graph_of(edges, straight_lengths(rows_mD, edges))
    joined = neighbours(codebook.vectors.numpy(), k, among=rows_mD)
    length_m = _to_codes(latents, joined, codes_m)
    reached = np.isfinite(length_m)
    value = float(length_m[reached].mean()) if reached.any() else math.nan
    convention = (
        f"mean path to the code along held-out latents joined to {k} neighbours; "
        f"{1 - reached.mean():.2%} unreachable and left out"
    )
    return MetricValue(value, "latent L2", None, None, int(reached.sum()), convention)


def _to_codes(graph: sparse.csr_array, joined: Neighbours, codes_m: np.ndarray) -> np.ndarray:
    """Return the path length from every latent to its own code.

    Codes are nodes with edges that lead only outwards, so no path leads through another code.
    """
    m, (K, k) = size_of(graph), joined.index.shape
    rows = np.repeat(np.arange(K), k)
    lengths = np.maximum(joined.distance.ravel(), 1e-30)
    spokes = sparse.csr_array((lengths, (rows, joined.index.ravel())), shape=(K, m))
    wheel = sparse.block_array([[graph, None], [spokes, sparse.csr_array((K, K))]], format="csr")
    length_m = np.empty(m)
    used = np.unique(codes_m)
    for part in np.array_split(used, math.ceil(len(used) / 32)):
        reached = dijkstra(wheel, directed=True, indices=m + part)
        for code, row_m in zip(part, reached, strict=True):
            members = codes_m == code
            length_m[members] = row_m[:m][members]
    return length_m


def _agreement(codes_nP: Tensor, labels_n: Tensor) -> dict[str, MetricValue]:
    codes_m = codes_nP.flatten().numpy()
    labels_m = labels_n.repeat_interleave(codes_nP[0].numel()).numpy()
    said = "codes of single positions against the class of the whole sample"
    values = {
        "purity": purity(codes_m, labels_m),
        "nmi": normalised_mutual_information(codes_m, labels_m),
    }
    return {
        name: MetricValue(value, "1", None, None, len(codes_m), said)
        for name, value in values.items()
    }
