"""References anything must beat: another sample, the mean sample, PCA, a linear VAE.

Shape letters: N samples, C channels, S spatial axes, K numbers (per sample or per patch).
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from pellucid.errors import DataError
from pellucid.functional.linear_vae import LinearVAE, linear_vae, posterior_gain, weight_at_rate
from pellucid.references.patches import from_patches, patch_count, to_patches
from pellucid.references.principal import PrincipalAxes, principal_axes
from pellucid.references.samples import spaced

SAMPLES_PER_NUMBER = 4
"""A global PCA with d numbers is trusted from N ≥ 4·d training samples on."""

MAX_PATCHES = 32768
"""Patches that enter a patch-PCA; more change the axes of a few hundred elements very little."""


def random_sample(x_NCS: Tensor, *, seed: int = 0) -> Tensor:
    """Answer each sample with a random *other* one (R0, error about twice the variance).

    Args:
        x_NCS: (N, C, S...), N ≥ 2.
        seed: of the pairing; the global random state is not touched.

    Raises:
        DataError: when there is no other sample.
    """
    if len(x_NCS) < 2:
        raise DataError("no other sample to compare with", expected="at least 2", found=len(x_NCS))
    order = torch.randperm(len(x_NCS), generator=torch.Generator().manual_seed(seed))
    answer = torch.empty_like(order)
    answer[order] = order.roll(1)
    return x_NCS[answer.to(x_NCS.device)]


@dataclasses.dataclass(frozen=True)
class MeanSample:
    """Answer every sample with the mean of the training samples (R1)."""

    mean: Tensor

    @classmethod
    def fit(cls, train_NCS: Tensor) -> MeanSample:
        """Average the training samples (N, C, S...)."""
        return cls(train_NCS.mean(0))

    def reconstruct(self, x_NCS: Tensor) -> Tensor:
        """Return (N, C, S...), the mean repeated."""
        return self.mean.expand_as(x_NCS)


@dataclasses.dataclass(frozen=True)
class PCAReference:
    """Reconstruct with as many numbers per sample as a latent has (R2).

    Args:
        principal: axes of samples, or of patches.
        shape: (C, S...) of one sample.
        patch: side of the patches, or None for a global PCA.
        numbers: numbers per sample that were really used.
        note: which PCA, fitted on what, and why.
    """

    principal: PrincipalAxes
    shape: tuple[int, ...]
    patch: int | None
    numbers: int
    note: str

    @classmethod
    def fit(cls, train_NCS: Tensor, numbers: int, *, stride: int | None = None) -> PCAReference:
        """Fit a global PCA when N ≥ 4·numbers, else patch-PCA at the model's stride.

        Args:
            train_NCS: (N, C, S...).
            numbers: numbers per sample, the size of the latent.
            stride: the model's stride in elements; None (no stride, or unknown) always gives a
                global PCA, limited to N − 1 numbers.

        Raises:
            DataError: when there are fewer than two samples, or `numbers` is not positive.
        """
        if len(train_NCS) < 2 or numbers < 1:
            raise DataError(
                "PCA needs at least two training samples and one number",
                found=f"{len(train_NCS)} samples, {numbers} numbers",
            )
        enough = len(train_NCS) >= SAMPLES_PER_NUMBER * numbers
        spatial = tuple(train_NCS.shape[2:])
        patch = None
        if not enough and stride is not None and spatial:
            patch = _patch_side(spatial, stride, numbers)
        if patch is None or patch_count(spatial, patch) == 1:
            return cls._fit_global(train_NCS, numbers, enough)
        return cls._fit_patches(train_NCS, numbers, patch)

    @classmethod
    def _fit_global(cls, train_NCS: Tensor, numbers: int, enough: bool) -> PCAReference:
        axes = principal_axes(train_NCS.flatten(1), numbers)
        used = len(axes.axes)
        note = f"global PCA with {used} numbers, fitted on {len(train_NCS)} training samples"
        if not enough:
            note += (
                f" (fewer than {SAMPLES_PER_NUMBER} × {numbers}, the size of the latent: "
                "expect it to do worse on held-out samples than the latent's size suggests)"
            )
        return cls(axes, tuple(train_NCS.shape[1:]), None, used, note)

    @classmethod
    def _fit_patches(cls, train_NCS: Tensor, numbers: int, patch: int) -> PCAReference:
        shape = tuple(train_NCS.shape[1:])
        count = patch_count(shape[1:], patch)
        # Whole samples are left out rather than patches, so no more than needed is ever cut.
        chosen = spaced(len(train_NCS), max(2, MAX_PATCHES // count))
        patches_NE = to_patches(train_NCS[chosen], patch).flatten(0, 1)
        axes = principal_axes(patches_NE[spaced(len(patches_NE), MAX_PATCHES)], numbers // count)
        used = len(axes.axes) * count
        side = "×".join([str(patch)] * (len(shape) - 1))
        note = (
            f"patch-PCA: {side} patches with {len(axes.axes)} numbers each, {used} per sample "
            f"(the latent has {numbers}), fitted on {axes.rows} training patches, because "
            f"{len(train_NCS)} samples are fewer than {SAMPLES_PER_NUMBER} × {numbers}"
        )
        return cls(axes, shape, patch, used, note)

    @property
    def copies(self) -> int:
        """Patches per sample (1 for a global PCA)."""
        return 1 if self.patch is None else patch_count(self.shape[1:], self.patch)

    def rows(self, x_NCS: Tensor) -> Tensor:
        """Return (N·copies, E): the flattened samples, or their patches."""
        if self.patch is None:
            return x_NCS.flatten(1)
        return to_patches(x_NCS, self.patch).flatten(0, 1)

    def reconstruct(self, x_NCS: Tensor, gain_K: Tensor | None = None) -> Tensor:
        """Return (N, C, S...): projected on the axes, each coordinate times its gain (or 1)."""
        return self.from_rows(self.principal.reconstruct(self.rows(x_NCS), gain_K))

    def from_rows(self, rows_RE: Tensor) -> Tensor:
        """Return (N, C, S...) for rows as `rows` gives them."""
        if self.patch is None:
            return rows_RE.view(-1, *self.shape)
        return from_patches(rows_RE.unflatten(0, (-1, self.copies)), self.shape, self.patch)

    @property
    def exact(self) -> bool:
        """Whether it keeps as many numbers as a sample has elements, and so loses nothing."""
        return self.numbers >= math.prod(self.shape)


@dataclasses.dataclass(frozen=True)
class LinearVAEReference:
    """Apply the optimal linear VAE at a KL weight to any samples (R3).

    Args:
        pca: the axes it codes along.
        prediction: its closed form on the data the axes were fitted on.
    """

    pca: PCAReference
    prediction: LinearVAE

    @classmethod
    def fit(cls, pca: PCAReference, *, kl_weight: float) -> LinearVAEReference:
        """Solve for the weight w of ΣKL (sum over dimensions) beside a mean-reduced error."""
        prediction = linear_vae(
            pca.principal.eigenvalues,
            kl_weight=kl_weight,
            elements=math.prod(pca.shape),
            latent_size=len(pca.principal.axes),
            copies=pca.copies,
        )
        return cls(pca, prediction)

    @classmethod
    def at_bits(cls, pca: PCAReference, bits: float) -> LinearVAEReference:
        """Solve for the weight at which `bits` per sample are spent on the training samples.

        Raises:
            PellucidError: when the data does not vary or there are no bits.
        """
        weight = weight_at_rate(
            pca.principal.eigenvalues,
            nats=bits * math.log(2),
            elements=math.prod(pca.shape),
            latent_size=len(pca.principal.axes),
            copies=pca.copies,
        )
        return cls.fit(pca, kl_weight=weight)

    def reconstruct(self, x_NCS: Tensor) -> Tensor:
        """Return (N, C, S...) decoded from the posterior mean."""
        gain_K = posterior_gain(self._coded(), self.prediction.threshold)
        return self.pca.reconstruct(x_NCS, gain_K)

    def sample(self, x_NCS: Tensor, *, seed: int = 0) -> Tensor:
        """Return (N, C, S...) decoded from a posterior sample: what the rate pays for.

        The mean plus, on each axis, noise of variance (λ − θ)₊·θ/λ.
        """
        lam, theta = self._coded(), self.prediction.threshold
        std_K = (posterior_gain(lam, theta) * theta).sqrt().to(x_NCS)
        rows = len(x_NCS) * self.pca.copies
        noise_RK = torch.randn(
            rows, len(std_K), generator=torch.Generator().manual_seed(seed), dtype=x_NCS.dtype
        )
        noise_RE = (noise_RK.to(x_NCS.device) * std_K) @ self.pca.principal.axes.to(x_NCS)
        return self.reconstruct(x_NCS) + self.pca.from_rows(noise_RE)

    def sampling_error(self) -> float:
        """Return the mean squared error per element that sampling z adds: Σ (λ − θ)₊·θ/λ / D."""
        lam, theta = self._coded(), self.prediction.threshold
        added = lam * posterior_gain(lam, theta) * (theta / lam.clamp_min(1e-300))
        return self.pca.copies * float(added.sum()) / math.prod(self.pca.shape)

    def kl(self, x_NCS: Tensor) -> Tensor:
        """Return (N,) the KL of each sample in nats, summed over dimensions."""
        lam, theta = self._coded(), self.prediction.threshold
        gain_K = posterior_gain(lam, theta)
        active = gain_K > 0
        coordinates = self.pca.principal.coordinates(self.pca.rows(x_NCS)).double()[:, active]
        lam, gain_K = lam[active], gain_K[active]
        # Posterior mean √(λ−θ)/λ·c, so its square is gain·c²/λ; posterior variance θ/λ = 1 − gain.
        kl = 0.5 * (gain_K * coordinates**2 / lam - gain_K + (lam / theta).log())
        return kl.sum(1).view(len(x_NCS), -1).sum(1)

    def _coded(self) -> Tensor:
        return self.pca.principal.eigenvalues[: len(self.pca.principal.axes)]


def _patch_side(spatial: tuple[int, ...], stride: int, numbers: int) -> int:
    """Return the smallest stride·2ᵏ whose patches get at least one number each."""
    side = stride
    while patch_count(spatial, side) > numbers:
        side *= 2
    return side
