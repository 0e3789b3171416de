"""Faults of wiring: what is not connected, not deterministic, not owned, or connected twice."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from benchmarks.faults.contract import Mutant, Specimen, Trained
from benchmarks.faults.images.networks import kl, sample
from benchmarks.faults.images.training import fine_tune, specimen, step, twin
from benchmarks.faults.measure import decibels, reconstruct, snr
from torch import Tensor, nn

from pellucid.diagnosis.latents import as_latent
from pellucid.diagnosis.runner import decoded_latent


def random_output(healthy: Trained, seed: int) -> Specimen:
    """A placeholder decoder that was never replaced."""
    shape = healthy.train.shape[1:]
    return specimen(twin(healthy), healthy, decode=lambda z: torch.rand(len(z), *shape))


def resampled_latent(healthy: Trained, seed: int) -> Specimen:
    """The decoder draws its own latent: left over from generating samples."""
    model = twin(healthy)
    return specimen(model, healthy, decode=lambda z: model.decode(torch.randn_like(z)))


def optimizer_before_decoder(healthy: Trained, seed: int) -> Specimen:
    """The optimiser was built before the decoder's last layer was replaced."""
    model = twin(healthy)
    torch.manual_seed(seed)
    old = [*model.encoder.parameters(), *model.decoder.parameters()]
    model.decoder = copy.deepcopy(model.decoder)
    for layer in model.decoder:
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    optimizer = fine_tune(
        model, model.loss_terms, healthy.train, learning_rate=1e-3, parameters=old, seconds=10
    )
    return specimen(model, healthy, optimizer=optimizer)


def encoder_left_frozen(healthy: Trained, seed: int) -> Specimen:
    """A fresh encoder under requires_grad_(False), left over from a warm-up."""
    model = twin(healthy)
    torch.manual_seed(seed)
    for layer in model.encoder:
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    model.encoder.requires_grad_(False)
    optimizer = fine_tune(model, model.loss_terms, healthy.train, learning_rate=1e-3, seconds=10)
    return specimen(model, healthy, optimizer=optimizer)


def stands_still(name: str):
    """Parameters of a module before and after one step of the user's optimiser."""

    def proof(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
        moved, lost = moved_by_a_step(mutant)[name], snr(healthy) - snr(mutant)
        return moved == 0.0 and lost > 1, f"{name} moved by {moved:g} in a step, {lost:.1f} dB lost"

    return proof


def moved_by_a_step(mutant: Specimen) -> dict[str, float]:
    """Return ‖Δθ‖ per module after one step, and put parameters and optimiser back."""
    subject, model = mutant.subject, mutant.model
    assert model is not None
    assert subject.loss_terms is not None
    before = copy.deepcopy(model.state_dict())
    states = [copy.deepcopy(o.state_dict()) for o in subject.optimizers]
    parameters = {
        n: [p.detach().clone() for p in m.parameters()] for n, m in model.named_children()
    }
    step(subject.loss_terms, subject.optimizers, mutant.train[:64])
    moved = {
        n: sum(
            float((a.detach() - b).norm())
            for a, b in zip(m.parameters(), parameters[n], strict=True)
        )
        for n, m in model.named_children()
    }
    model.load_state_dict(before)
    for optimizer, state in zip(subject.optimizers, states, strict=True):
        optimizer.load_state_dict(state)
        optimizer.zero_grad()
    return moved


def detached_kl(healthy: Trained, seed: int) -> Specimen:
    """The KL is computed under no_grad, for logging, and added to the loss."""
    model = twin(healthy)

    def loss(x: Tensor) -> dict[str, Tensor]:
        mean, logvar = model.encode(x)
        with torch.no_grad():
            nats = kl(mean, logvar).flatten(1).sum(1).mean()
        return {
            "recon": F.mse_loss(model.decode(sample(mean, logvar)), x),
            "kl": model.kl_weight * nats,
        }

    optimizer = fine_tune(model, loss, healthy.train, learning_rate=5e-4, steps=300, seconds=8)
    return specimen(model, healthy, optimizer=optimizer, loss_terms=loss)


def detached_latent(healthy: Trained, seed: int) -> Specimen:
    """z is detached before the decoder: the error never reaches a fresh encoder."""
    model = twin(healthy)
    torch.manual_seed(seed)
    for layer in model.encoder:
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()

    def loss(x: Tensor) -> dict[str, Tensor]:
        z = model.encode(x)
        return {
            "recon": F.mse_loss(model.decode(z.detach()), x),
            "latent": 1e-4 * z.square().mean(),
        }

    optimizer = fine_tune(model, loss, healthy.train, learning_rate=1e-3, seconds=10)
    return specimen(model, healthy, optimizer=optimizer, loss_terms=loss)


def no_gradient(term: str, module: str):
    """The gradient of one term at one module, by hand."""

    def proof(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
        assert mutant.subject.loss_terms is not None
        value = mutant.subject.loss_terms(mutant.train[:16])[term]
        parameters = list(mutant.subject.modules[module].parameters())
        norm = 0.0
        if value.requires_grad:
            found = torch.autograd.grad(value, parameters, allow_unused=True)
            norm = sum(float(g.norm()) for g in found if g is not None)
        return norm == 0.0, f"‖∇{term}‖ at the {module} is {norm:g}"

    return proof


def forward_with_dropout(healthy: Trained, seed: int) -> Specimen:
    """The deployed forward still drops latent channels, encode and decode do not."""
    model = twin(healthy)

    def forward(x: Tensor) -> Tensor:
        return model.decode(F.dropout2d(model.encode(x), 0.3, training=True))

    return specimen(model, healthy, forward=forward)


def codes_off_by_one(healthy: Trained, seed: int) -> Specimen:
    """forward goes by the codes and a padding index shifts them by one."""
    model = twin(healthy)

    def forward(x: Tensor) -> Tensor:
        codes = as_latent(model.encode(x)).codes
        assert codes is not None
        book = model.quantizer.books[0]
        return model.decode(F.embedding((codes + 1) % len(book), book).movedim(-1, 1))

    return specimen(model, healthy, forward=forward)


def forward_differs(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
    """The deployed path's error against that of decode(encode(x))."""
    x = mutant.validation
    assert x is not None
    assert mutant.subject.forward is not None
    with torch.no_grad():
        y = mutant.subject.forward(x)
    lost = decibels(float((y - x).square().mean()) / mutant.mse)
    return lost > 1, f"the deployed path loses {lost:.1f} dB"


class Leaky(nn.Module):
    """A U-Net: the encoder's first features reach the decoder past the latent."""

    def __init__(self, model: Any, channels: int, width: int) -> None:
        super().__init__()
        self.encoder, self.decoder = model.encoder, model.decoder
        self.skip = nn.Conv2d(channels, width, 3, 1, 1)
        self.merge = nn.Conv2d(width + channels, channels, 3, 1, 1)
        self._stored: Tensor | None = None

    def encode(self, x: Tensor) -> Tensor:
        self._stored = self.skip(x)
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        assert self._stored is not None
        stored = self._stored[: len(z)]
        return self.merge(torch.cat([self.decoder(z), stored], 1))

    def loss_terms(self, x: Tensor) -> dict[str, Tensor]:
        return {"recon": F.mse_loss(self.decode(self.encode(x)), x)}


def skip_connection(healthy: Trained, seed: int) -> Specimen:
    """A skip connection left over from a segmentation network."""
    torch.manual_seed(seed)
    model = Leaky(twin(healthy), healthy.train.shape[1], 12)
    optimizer = fine_tune(model, model.loss_terms, healthy.train, learning_rate=2e-3, seconds=10)
    return specimen(model, healthy, optimizer=optimizer)


def latent_unused(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
    """The error with z of other samples, over the data's variance."""
    x = mutant.validation
    assert x is not None
    x = x[:200]
    with torch.no_grad():
        z = decoded_latent(as_latent(mutant.subject.encode(x)))
        y = mutant.subject.decode(z.roll(1, 0))
    share = float((y - x).square().mean() / (x - x.mean(0)).square().mean())
    return share < 0.5, f"with another sample's latent the error is {share:.2f} of the variance"


class Coarse(nn.Module):
    """A renderer that can only draw blobs: whatever it is told comes out four times coarser."""

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, z: Tensor) -> Tensor:
        return F.interpolate(F.avg_pool2d(self.decoder(z), 8), scale_factor=8.0, mode="bilinear")


def coarse_renderer(healthy: Trained, seed: int) -> Specimen:
    """A fixed renderer that cannot draw details, whatever the encoder says."""
    model = twin(healthy)
    model.decoder = Coarse(model.decoder)
    optimizer = fine_tune(model, model.loss_terms, healthy.train, learning_rate=1e-3, seconds=12)
    return specimen(model, healthy, optimizer=optimizer)


def cannot_draw(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
    """The best image the renderer can draw at all: the projection on its 4×4 grid."""
    x = mutant.validation
    assert x is not None
    x = x[:64]
    grid = F.avg_pool2d(x, 8).clone().requires_grad_()
    optimizer = torch.optim.LBFGS([grid], max_iter=60)

    def closure() -> Tensor:
        optimizer.zero_grad()
        error = drawing_error(grid, x)
        error.backward()
        return error

    optimizer.step(closure)
    left = float(drawing_error(grid, x)) / float((x - x.mean(0)).square().mean())
    return left > 0.1, f"the renderer's own best leaves {left:.2f} of the variance"


def drawing_error(grid: Tensor, x: Tensor) -> Tensor:
    """Return the squared error of a drawn grid."""
    return (F.interpolate(grid, scale_factor=8.0, mode="bilinear") - x).square().mean()


def is_random(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
    """Two answers to the same question, against the error."""
    x = mutant.validation
    assert x is not None
    a, b = (reconstruct(mutant.subject, x[:64]) for _ in range(2))
    share = float((a - b).square().mean() / (a - x[:64]).square().mean())
    lost = snr(healthy) - snr(mutant)
    return share > 0.05 and lost > 1, f"{share:.0%} of the error is chance, {lost:.1f} dB lost"


# fmt: off
MUTANTS = [
    Mutant("cifar-batchnorm/random-output", "cifar-batchnorm", ("random-decoder",), random_output,
           is_random, black_box=True, quick=True),
    Mutant("digits-vae/resampled-latent", "digits-vae", ("random-decoder",), resampled_latent,
           is_random, forbidden=("posterior-collapse",)),
    Mutant("cifar-sigmoid/decoder-not-owned", "cifar-sigmoid", ("frozen-module",),
           optimizer_before_decoder, stands_still("decoder"), quick=True),
    Mutant("cifar-batchnorm/encoder-frozen", "cifar-batchnorm", ("frozen-module",),
           encoder_left_frozen, stands_still("encoder")),
    Mutant("digits-vae/kl-without-gradient", "digits-vae", ("inert-loss",), detached_kl,
           no_gradient("kl", "encoder"), quick=True),
    Mutant("cifar-sigmoid/latent-detached", "cifar-sigmoid", ("inert-loss",), detached_latent,
           no_gradient("recon", "encoder")),
    Mutant("cifar-sigmoid/dropout-deployed", "cifar-sigmoid", ("path-mismatch",),
           forward_with_dropout, forward_differs),
    Mutant("patch-vq/codes-off-by-one", "patch-vq", ("path-mismatch",), codes_off_by_one,
           forward_differs),
    Mutant("cifar-sigmoid/skip-connection", "cifar-sigmoid", ("latent-bypass",), skip_connection,
           latent_unused, black_box=True),
    Mutant("cifar-batchnorm/coarse-renderer", "cifar-batchnorm", ("unreachable-target",),
           coarse_renderer, cannot_draw),
]
