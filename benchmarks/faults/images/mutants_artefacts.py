"""Faults that are seen: blur, checkerboards, seams, colour casts, shifted images."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from benchmarks.faults.contract import Mutant, Specimen, Trained
from benchmarks.faults.images.training import fine_tune, specimen, twin
from benchmarks.faults.measure import both, decibels, loses, reconstruct
from torch import Tensor, nn


def blurred_targets(healthy: Trained, seed: int) -> Specimen:
    """The augmentation that blurs the input blurred the target as well."""
    model = twin(healthy)

    def loss(x: Tensor) -> dict[str, Tensor]:
        target = smooth(x, 2.0)
        return {"recon": F.mse_loss(model.decode(model.encode(x)), target)}

    optimizer = fine_tune(model, loss, healthy.train, learning_rate=1e-3, seconds=12)
    return specimen(model, healthy, optimizer=optimizer, loss_terms=loss)


def low_pass_target_and_latent(healthy: Trained, seed: int) -> Specimen:
    """Thumbnails were upsampled to make the training targets."""
    model = twin(healthy)

    def loss(x: Tensor) -> dict[str, Tensor]:
        small = F.interpolate(F.avg_pool2d(x, 2), scale_factor=2.0, mode="bilinear")
        q, _, penalty = model.quantizer(model.encoder(x))
        return {"recon": F.mse_loss(model.decode(q), small), "vq": 0.25 * penalty}

    optimizer = fine_tune(model, loss, healthy.train, learning_rate=1e-3, seconds=12)
    return specimen(model, healthy, optimizer=optimizer, loss_terms=loss)


def smooth(x: Tensor, sigma: float) -> Tensor:
    """Blur by a Gaussian, separably, borders reflected."""
    t = torch.arange(-4, 5).float()
    kernel = torch.exp(-t.square() / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1).repeat(x.shape[1], 1, 1, 1)
    x = F.conv2d(F.pad(x, (4, 4, 0, 0), mode="reflect"), kernel, groups=x.shape[1])
    x = F.pad(x, (0, 0, 4, 4), mode="reflect")
    return F.conv2d(x, kernel.transpose(2, 3), groups=x.shape[1])


def high_frequencies_gone(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
    """Energy above half the Nyquist frequency, output over input, in both models."""
    x = mutant.validation
    assert x is not None

    def high(t: Tensor) -> float:
        spectrum = torch.fft.fft2(t).abs().square().mean((0, 1))
        f = torch.fft.fftfreq(t.shape[-1]).abs()
        return float(spectrum[torch.maximum(f[:, None], f[None]) > 0.15].sum())

    shares = [high(reconstruct(it.subject, x)) / high(x) for it in (healthy, mutant)]
    return shares[1] < 0.5 * shares[0], (
        f"{shares[1]:.0%} of the high frequencies left, {shares[0]:.0%} healthy"
    )


def uneven_kernel(healthy: Trained, seed: int) -> Specimen:
    """A transposed convolution whose kernel is no multiple of its stride: uneven overlap."""
    model = twin(healthy)
    _tilt(model.decoder[-1], 0.12)
    return specimen(model, healthy)


def uneven_patches(healthy: Trained, seed: int) -> Specimen:
    """Pixel shuffle whose sub-pixels were quantised unevenly after training."""
    model = twin(healthy)
    last = model.decoder.out
    with torch.no_grad():
        last.bias[::16] += 0.1
        last.bias[5::16] -= 0.1
    return specimen(model, healthy)


def _tilt(last: nn.ConvTranspose2d, by: float) -> None:
    """Weigh the taps of even and odd output pixels differently."""
    with torch.no_grad():
        last.weight[:, :, 1::2, :] *= 1 + by
        last.weight[:, :, 0::2, :] *= 1 - by


def periodic_error(period: int):
    """Variance over phases of the mean error's pattern at the stride, over the mean error power."""

    def proof(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
        shares = []
        for it in (healthy, mutant):
            assert it.validation is not None
            error = reconstruct(it.subject, it.validation) - it.validation
            n, c, h, w = error.shape
            inner = error.view(n, c, h // period, period, w // period, period)
            pattern = inner.mean((2, 4))
            pattern = pattern - pattern.mean((2, 3), keepdim=True)
            shares.append(float(pattern.square().mean() / error.square().mean()))
        chance = 1 / (error.shape[-1] // period) ** 2
        return shares[1] > max(3 * shares[0], 5 * chance, 0.05), (
            f"{shares[1]:.1%} of the error repeats every {period} pixels, {shares[0]:.1%} healthy"
        )

    return proof


def tiled_decoding(healthy: Trained, seed: int) -> Specimen:
    """Latents are decoded in four tiles without overlap, to save memory."""
    model = twin(healthy)

    def decode(z: Tensor) -> Tensor:
        rows = [torch.cat([model.decode(t) for t in r.chunk(2, 3)], 3) for r in z.chunk(2, 2)]
        return torch.cat(rows, 2)

    return specimen(model, healthy, decode=decode)


def seams_at_the_middle(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
    """Error in the four middle rows and columns against the rest, in both models."""
    ratios = []
    for it in (healthy, mutant):
        assert it.validation is not None
        error = (reconstruct(it.subject, it.validation) - it.validation).square().mean((0, 1))
        middle = torch.zeros_like(error, dtype=torch.bool)
        at = error.shape[-1] // 2
        middle[at - 2 : at + 2] = middle[:, at - 2 : at + 2] = True
        ratios.append(decibels(float(error[middle].mean() / error[~middle].mean())))
    return ratios[1] - ratios[0] > 1, (
        f"the tiles' border is {ratios[1]:.1f} dB worse than the rest ({ratios[0]:.1f} healthy)"
    )


def colour_cast(healthy: Trained, seed: int) -> Specimen:
    """Targets were white-balanced, inputs were not."""
    model = twin(healthy)
    cast = torch.tensor([0.12, 0.0, -0.12]).view(1, 3, 1, 1)

    def loss(x: Tensor) -> dict[str, Tensor]:
        mean, _ = model.encode(x)
        return {"recon": F.mse_loss(model.decode(mean), x + cast)}

    optimizer = fine_tune(model, loss, healthy.train, learning_rate=1e-3, seconds=8)
    return specimen(model, healthy, optimizer=optimizer, loss_terms=loss, kl_weight=None)


def biased_channel(healthy: Trained, seed: int) -> Specimen:
    """The mean of another data set is added to the channels after decoding."""
    model = twin(healthy)
    offset = torch.tensor([0.0, -0.06, 0.1]).view(1, 3, 1, 1)
    return specimen(model, healthy, decode=lambda z: model.decode(z) + offset)


def channels_are_biased(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
    """The largest mean error of a channel, in both models."""
    largest = []
    for it in (healthy, mutant):
        assert it.validation is not None
        bias = (reconstruct(it.subject, it.validation) - it.validation).mean((0, 2, 3))
        largest.append(float((bias - bias.mean()).abs().max()))
    return largest[1] > 0.04, f"a channel is off by {largest[1]:.3f}, healthy {largest[0]:.3f}"


def padded_on_one_side(healthy: Trained, seed: int) -> Specimen:
    """Padding on one side only moved the output by two pixels."""
    model = twin(healthy)

    def decode(z: Tensor) -> Tensor:
        return F.pad(model.decode(z), (2, 0, 2, 0), mode="replicate")[..., :-2, :-2]

    return specimen(model, healthy, decode=decode)


def loud_second_term(healthy: Trained, seed: int) -> Specimen:
    """An edge term whose weight was meant for a mean, and is summed over pixels."""
    model = twin(healthy)

    def loss(x: Tensor) -> dict[str, Tensor]:
        x_hat = model.decode(model.encode(x))
        edges = (x_hat - x).diff(dim=-1).abs().flatten(1).sum(1).mean()
        return {"recon": F.mse_loss(x_hat, x), "edges": 0.1 * edges}

    optimizer = fine_tune(model, loss, healthy.train, learning_rate=1e-3, seconds=10)
    return specimen(model, healthy, optimizer=optimizer, loss_terms=loss)


def shares_of_gradient(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
    """Norm of each term's gradient at the decoder's parameters, by hand."""
    loss, modules = mutant.subject.loss_terms, mutant.subject.modules
    assert loss is not None
    norms = {}
    for name, term in loss(mutant.train[:32]).items():
        found = torch.autograd.grad(term, list(modules["decoder"].parameters()), retain_graph=True)
        norms[name] = float(torch.stack([g.norm() for g in found]).norm())
    share = norms["recon"] / sum(norms.values())
    return share < 0.1, f"{share:.1%} of the gradient is the reconstruction's"


# fmt: off
MUTANTS = [
    Mutant("cifar-batchnorm/blurred-targets", "cifar-batchnorm", ("blur",), blurred_targets,
           both(loses(1), high_frequencies_gone), black_box=True),
    Mutant("photo-rvq/thumbnail-targets", "photo-rvq", ("blur",), low_pass_target_and_latent,
           both(loses(0.5), high_frequencies_gone)),
    Mutant("cifar-vae/uneven-kernel", "cifar-vae", ("checkerboard",), uneven_kernel,
           periodic_error(2), black_box=True),
    Mutant("patch-vq/uneven-patches", "patch-vq", ("checkerboard",), uneven_patches,
           periodic_error(4), black_box=True, quick=True),
    Mutant("own-vq/tiled-decoding", "own-vq", ("tile-seams",), tiled_decoding, seams_at_the_middle),
    Mutant("cifar-vae/tiled-decoding", "cifar-vae", ("tile-seams",), tiled_decoding,
           seams_at_the_middle, black_box=True),
    Mutant("cifar-vae/colour-cast", "cifar-vae", ("colour-drift",), colour_cast,
           channels_are_biased),
    Mutant("own-vq/biased-channel", "own-vq", ("colour-drift",), biased_channel,
           channels_are_biased, black_box=True, quick=True),
    Mutant("cifar-batchnorm/padded-on-one-side", "cifar-batchnorm", ("misalignment",),
           padded_on_one_side, loses(2), black_box=True, quick=True),
    Mutant("cifar-sigmoid/edges-outweigh", "cifar-sigmoid", ("loss-imbalance",), loud_second_term,
           both(loses(0.3), shares_of_gradient)),
]
