"""Healthy models on which nothing may be asserted, however unusual they look.

Shapes: x (B, C, H, W), codes (B, h, w[, L]).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from benchmarks.faults import data
from benchmarks.faults.bases import healthy, seed_for
from benchmarks.faults.contract import CALIBRATION_SEEDS, TEST_SEEDS, Control, Specimen, Trained
from benchmarks.faults.examine import black_box as stripped
from benchmarks.faults.images.adversary import Alternate
from benchmarks.faults.images.mutants_adversary import handed_over
from benchmarks.faults.images.mutants_training import young
from benchmarks.faults.images.networks import PlainAE, PlainVAE, conv_decoder, conv_encoder, dense
from benchmarks.faults.images.training import fine_tune, specimen, twin
from torch import Tensor, nn

from pellucid.records import Latent

SECONDS = 45.0
"""A control trained from nothing takes at most this long."""


def as_trained(base: str, **facts) -> Callable[[int], Specimen]:
    """A base as it is, with everything handed over."""

    def make(seed: int) -> Specimen:
        trained = _base(base, seed)
        return specimen(twin(trained), trained, **facts)

    return make


def _base(name: str, seed: int) -> Trained:
    """Return a cached base trained with the seed that its mutants use, so it is trained once."""
    seeds = TEST_SEEDS if seed in TEST_SEEDS else CALIBRATION_SEEDS
    return healthy(name, seed_for(name, seeds))


def learned(model: Any, images: tuple[Tensor, Tensor], steps: int, **facts) -> Specimen:
    """Train a model of this control's own and hand it over."""
    trained = Trained(model, *images, 2e-3, facts={"value_range": (0, 1)})
    optimizer = fine_tune(
        model, model.loss_terms, images[0], learning_rate=2e-3, steps=steps, seconds=SECONDS
    )
    return specimen(model, trained, optimizer=optimizer, **facts)


def switched_off(seed: int) -> Specimen:
    """Forty latent numbers where twelve pay: β_eff ≤ 1, the others are meant to be off."""
    torch.manual_seed(seed)
    weight = 4e-4
    model = PlainVAE(dense((64, 192, 80)), dense((40, 192, 64), (1, 8, 8)), kl_weight=weight)
    return learned(model, data.digits(), 4000, kl_weight=weight)


def overcomplete(seed: int) -> Specimen:
    """A latent as large as the image: nearly the identity, and nothing wrong with that."""
    torch.manual_seed(seed)
    encoder = nn.Conv2d(3, 48, 4, 4)
    model = PlainAE(encoder, nn.ConvTranspose2d(48, 3, 4, 4))
    return learned(model, data.small_images(), 2000)


def absolute_error(seed: int) -> Specimen:
    """Trained on an absolute error."""
    torch.manual_seed(seed)
    model = PlainAE(conv_encoder(3, 32, 10), conv_decoder(10, 32, 3), error=F.l1_loss)
    return learned(model, data.photo_crops(), 1200)


def signed_without_head(seed: int) -> Specimen:
    """Images in [−1, 1], and no activation at the end."""
    torch.manual_seed(seed)
    train, held = data.small_images()
    model = PlainAE(conv_encoder(3, 32, 10), conv_decoder(10, 32, 3))
    return learned(model, (train * 2 - 1, held * 2 - 1), 1200, value_range=(-1, 1))


class Library(nn.Module):
    """A quantiser of vector-quantize-pytorch between plain convolutions."""

    def __init__(self, quantizer: nn.Module, dim: int, books: Callable[[nn.Module], Any]) -> None:
        super().__init__()
        self.encoder, self.decoder = conv_encoder(3, 32, dim), conv_decoder(dim, 32, 3)
        self.quantizer, self.books = quantizer, books

    def quantize(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return (quantised, codes, commitment loss): the library's tokens are (B, n, d)."""
        q, codes, *rest = self.quantizer(h.flatten(2).transpose(1, 2))
        codes = codes.reshape(len(h), *h.shape[2:], *codes.shape[2:])
        penalty = rest[0].sum() if rest else h.new_zeros(())
        return q.transpose(1, 2).reshape(h.shape), codes, penalty

    def encode(self, x: Tensor) -> Latent:
        h = self.encoder(x)
        q, codes, _ = self.quantize(h)
        return Latent(mean=h, codes=codes, quantized=q)

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)

    def loss_terms(self, x: Tensor) -> dict[str, Tensor]:
        q, _, penalty = self.quantize(self.encoder(x))
        terms = {"recon": F.mse_loss(self.decode(q), x)}
        return {**terms, "commit": 0.1 * penalty} if penalty.requires_grad else terms


def library_vq(seed: int) -> Specimen:
    """vector-quantize-pytorch's VectorQuantize, as its README has it."""
    from vector_quantize_pytorch import VectorQuantize

    torch.manual_seed(seed)
    quantizer = VectorQuantize(
        dim=8, codebook_size=64, kmeans_init=True, decay=0.9, threshold_ema_dead_code=2
    )
    return _library(Library(quantizer, 8, lambda q: q.codebook))


def library_rvq(seed: int) -> Specimen:
    """vector-quantize-pytorch's ResidualVQ with the rotation trick it defaults to."""
    from vector_quantize_pytorch import ResidualVQ

    torch.manual_seed(seed)
    quantizer = ResidualVQ(
        dim=8, codebook_size=64, num_quantizers=1, kmeans_init=True, decay=0.9,
        threshold_ema_dead_code=2, rotation_trick=True,
    )  # fmt: skip
    return _library(Library(quantizer, 8, lambda q: list(q.codebooks)))


def library_fsq(seed: int) -> Specimen:
    """vector-quantize-pytorch's FSQ: no codebook to be owned by anybody."""
    from vector_quantize_pytorch import FSQ

    torch.manual_seed(seed)
    return _library(Library(FSQ(levels=[5, 5, 5, 5]), 4, lambda q: None))


def _library(model: Library) -> Specimen:
    images = data.photo_crops()
    trained = Trained(model, *images, 2e-3, facts={"value_range": (0, 1)})
    optimizer = fine_tune(
        model, model.loss_terms, images[0], learning_rate=2e-3, steps=1200, seconds=SECONDS
    )
    return specimen(model, trained, optimizer=optimizer, codebook=model.books(model.quantizer))


def fine_adversary(seed: int) -> Specimen:
    """An adversarially trained autoencoder whose discriminator is no trouble."""
    trained = _base("cifar-adversarial", seed)
    model = twin(trained)
    rate = trained.learning_rate / 50
    return handed_over(model, trained, Alternate(model, rate, rate))


def young_model(seed: int) -> Specimen:
    """A model in its first minute: it says so, and nothing else."""
    return young(100)(_base("cifar-batchnorm", seed), seed)


def black_box(make: Callable[[int], Specimen]) -> Callable[[int], Specimen]:
    """The same from encode, decode and data alone."""

    def made(seed: int) -> Specimen:
        whole = make(seed)
        return dataclasses.replace(whole, subject=stripped(whole.subject))

    return made


# fmt: off
CONTROLS = [
    Control("digits-vae/as-trained", "images", as_trained("digits-vae"), quick=True),
    Control("cifar-vae/as-trained", "images", as_trained("cifar-vae")),
    Control("cifar-vae/black-box", "images", black_box(as_trained("cifar-vae"))),
    Control("mlp-vae/black-box", "images", black_box(as_trained("mlp-vae"))),
    Control("cifar-batchnorm/as-trained", "images", as_trained("cifar-batchnorm"), quick=True),
    Control("photo-rvq/as-trained", "images", as_trained("photo-rvq")),
    Control("cifar-vq/black-box", "images", black_box(as_trained("cifar-vq"))),
    Control("own-vq/as-trained", "images", as_trained("own-vq")),
    Control("digits/many-units-switched-off", "images", switched_off, ("under-training",)),
    Control("cifar/overcomplete", "images", overcomplete, ("under-training",)),
    Control("photos/absolute-error", "images", absolute_error, ("under-training",)),
    Control("cifar/signed-without-head", "images", signed_without_head, ("under-training",)),
    Control("photos/library-vq", "images", library_vq, ("under-training",)),
    Control("photos/library-rvq-rotation", "images", library_rvq, ("under-training",)),
    Control("photos/library-fsq", "images", library_fsq, ("under-training",)),
    Control("cifar-adversarial/as-trained", "images", fine_adversary),
    Control("cifar-batchnorm/young-and-fine", "images", young_model,
            must_assert=("under-training",)),
]
