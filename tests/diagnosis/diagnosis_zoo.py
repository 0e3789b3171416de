"""Small, really trained autoencoders: healthy ones of every family, and ways to make them sick.

Shape letters: B batch, C channels, d latent channels, K codes.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.diagnosis import Subject
from pellucid.records import Latent


@dataclasses.dataclass
class Data:
    """Samples split in two."""

    train: Tensor
    held: Tensor
    value_range: tuple[float, float] = (0, 1)
    sample_rate: float | None = None


def digits(low: float = 0.0, high: float = 1.0) -> Data:
    """1797 real handwritten digits, 1×8×8, shuffled once."""
    from sklearn.datasets import load_digits

    x = torch.tensor(load_digits().images, dtype=torch.float32)[:, None] / 16
    x = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0))]
    x = low + (high - low) * x
    return Data(x[:1400], x[1400:], (low, high))


def photos(size: int = 16, count: int = 1200) -> Data:
    """Crops of bundled photographs, 3×size×size in [0, 1]; held-out from another picture."""
    from skimage import data

    parts = []
    for images, number in (
        ((data.astronaut(), data.coffee()), count),
        ((data.chelsea(),), count // 3),
    ):
        generator = torch.Generator().manual_seed(len(parts))
        crops = []
        for i in range(number):
            image = torch.tensor(images[i % len(images)]).permute(2, 0, 1).float() / 255
            image = F.avg_pool2d(image[None], 2)[0]
            top, left = (
                int(torch.randint(s - size, (1,), generator=generator)) for s in image.shape[1:]
            )
            crops.append(image[:, top : top + size, left : left + size])
        parts.append(torch.stack(crops))
    return Data(parts[0], parts[1])


def waves(length: int = 256, count: int = 1500) -> Data:
    """Voiced-speech-like waveforms (B, 1, T): harmonics under a formant envelope, plus noise."""
    generator = torch.Generator().manual_seed(0)
    t = torch.arange(length) / 8000
    f0 = 90 + 120 * torch.rand(count, 1, generator=generator)
    centre = 400 + 800 * torch.rand(count, 1, generator=generator)
    x = torch.zeros(count, length)
    for k in range(1, 12):
        amplitude = torch.exp(-((k * f0 - centre) ** 2) / (2 * 350**2))
        phase = 2 * math.pi * torch.rand(count, 1, generator=generator)
        x += amplitude * torch.sin(2 * math.pi * k * f0 * t + phase)
    x = 0.1 * x + 0.003 * torch.randn(count, length, generator=generator)
    x = x[:, None]
    return Data(x[: count * 3 // 4], x[count * 3 // 4 :], (-1, 1), 8000.0)


def stacks(channels: int = 12, count: int = 1200, loud: float = 1.0) -> Data:
    """Smooth channel stacks (B, C, 8, 8) of shared factors; a quarter of them `loud` times."""
    generator = torch.Generator().manual_seed(0)
    maps = F.interpolate(
        torch.randn(count, 5, 3, 3, generator=generator),
        size=8,
        mode="bilinear",
        align_corners=True,
    )
    mix = torch.randn(channels, 5, generator=generator)
    x = torch.einsum("cf,bfhw->bchw", mix, maps)
    x = x / x.std((0, 2, 3), keepdim=True)
    x = x + 0.1 * torch.randn(x.shape, generator=generator)
    x[:, : channels // 4] *= loud
    return Data(x[: count * 3 // 4], x[count * 3 // 4 :], (-3, 3))


class Straight(nn.Module):
    """Plain VQ, gradient codebook; `levels` > 1 makes it residual."""

    def __init__(self, codes: int, dim: int, levels: int = 1, path: str = "once") -> None:
        super().__init__()
        self.books = nn.ParameterList(
            nn.Parameter(torch.randn(codes, dim) * 0.3) for _ in range(levels)
        )
        self.path = path

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        flat = z.movedim(1, -1)
        residual, total, codes, loss = flat, torch.zeros_like(flat), [], flat.new_zeros(())
        for book in self.books:
            index = torch.cdist(residual.reshape(-1, flat.shape[-1]), book).argmin(1)
            index = index.view(flat.shape[:-1])
            q = book[index]
            loss = (
                loss
                + (q - residual.detach()).square().mean()
                + 0.25 * (residual - q.detach()).square().mean()
            )
            codes.append(index)
            step = residual + (q - residual).detach() if self.path == "per level" else q
            total = total + step
            residual = residual - q.detach()
        if self.path == "once":
            total = flat + (total - flat).detach()
        elif self.path == "dead":
            total = total.detach()
        codes_ = torch.stack(codes, -1) if len(codes) > 1 else codes[0]
        return total.movedim(-1, 1), codes_, loss


class FSQ(nn.Module):
    """Finite scalar quantisation with five levels per channel."""

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        bounded = 2 * torch.tanh(z)
        q = bounded + (bounded.round() - bounded).detach()
        base = 5 ** torch.arange(z.shape[1]).view(1, -1, *[1] * (z.ndim - 2))
        return q / 2, ((q.detach().round() + 2).long() * base).sum(1), z.new_zeros(())


class Net(nn.Module):
    """Encoder, bottleneck, decoder; kinds ae, vae, vq, rvq, fsq."""

    def __init__(
        self,
        shape: tuple[int, ...],
        kind: str,
        dim: int,
        *,
        head: nn.Module | None = None,
        norm: bool = False,
        codes: int = 64,
        levels: int = 4,
        path: str = "once",
        conv: bool = True,
        width: int = 48,
    ) -> None:
        super().__init__()
        self.kind = kind
        channels, out = shape[0], dim * (2 if kind == "vae" else 1)
        if not conv:
            size = math.prod(shape)
            self.encoder = nn.Sequential(
                nn.Flatten(), nn.Linear(size, 256), nn.GELU(), nn.Linear(256, out)
            )
            self.decoder = nn.Sequential(
                nn.Linear(dim, 256), nn.GELU(), nn.Linear(256, size), nn.Unflatten(1, shape)
            )
        else:
            audio = len(shape) == 2
            C, CT = (nn.Conv1d, nn.ConvTranspose1d) if audio else (nn.Conv2d, nn.ConvTranspose2d)
            BN = nn.BatchNorm1d if audio else nn.BatchNorm2d
            self.encoder = nn.Sequential(
                C(channels, width, 4, 2, 1),
                BN(width) if norm else nn.Identity(),
                nn.GELU(),
                C(width, width, 4, 2, 1),
                BN(width) if norm else nn.Identity(),
                nn.GELU(),
                C(width, out, 1),
            )
            self.decoder = nn.Sequential(
                C(dim, width, 3, 1, 1),
                nn.GELU(),
                CT(width, width, 4, 2, 1),
                BN(width) if norm else nn.Identity(),
                nn.GELU(),
                CT(width, channels, 4, 2, 1),
            )
        self.head = head or nn.Identity()
        self.quantizer = (
            Straight(codes, dim, levels if kind == "rvq" else 1, path)
            if kind in ("vq", "rvq")
            else FSQ()
            if kind == "fsq"
            else None
        )

    def encode(self, x: Tensor) -> Latent:
        h = self.encoder(x)
        if self.kind == "vae":
            return Latent(*h.chunk(2, 1))
        if self.quantizer is not None:
            q, codes, _ = self.quantizer(h)
            return Latent(mean=h, codes=codes, quantized=q)
        return Latent(mean=h)

    def decode(self, z: Tensor) -> Tensor:
        return self.head(self.decoder(z))

    def terms(
        self,
        x: Tensor,
        weight: float,
        target: Callable[[Tensor], Tensor] = lambda x: x,
        power: int = 2,
    ) -> dict[str, Tensor]:
        h = self.encoder(x)
        extra = {}
        if self.kind == "vae":
            mean, logvar = h.chunk(2, 1)
            z = mean + torch.randn_like(mean) * (0.5 * logvar).exp()
            kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar)
            extra["kl"] = weight * kl.flatten(1).sum(1).mean()
        elif self.quantizer is not None:
            z, _, loss = self.quantizer(h)
            extra["vq"] = 0.5 * loss
        else:
            z = h
        error = (self.decode(z) - target(x)).abs().pow(power).mean()
        return {"recon": error, **extra}


@dataclasses.dataclass
class Trained:
    """A model with its data, loss and optimiser."""

    net: Net
    data: Data
    loss: Callable[[Tensor], dict[str, Tensor]]
    optimizer: torch.optim.Optimizer
    weight: float

    def white(self, **more) -> Subject:
        """Everything handed over."""
        net = self.net
        modules: dict[str, nn.Module] = {"encoder": net.encoder, "decoder": net.decoder}
        if net.quantizer is not None:
            modules["quantizer"] = net.quantizer
        arguments = {
            "modules": modules,
            "loss_terms": self.loss,
            "optimizers": [self.optimizer],
            "codebook": self.books,
            "value_range": self.data.value_range,
            "sample_rate": self.data.sample_rate,
            "kl_weight": self.weight if net.kind == "vae" else None,
        }
        return Subject(net.encode, net.decode, **{**arguments, **more})

    def black(self, **more) -> Subject:
        """Only encode and decode."""
        arguments = {"value_range": self.data.value_range, "sample_rate": self.data.sample_rate}
        return Subject(self.net.encode, self.net.decode, **{**arguments, **more})

    @property
    def books(self) -> list[Tensor] | None:
        quantizer = self.net.quantizer
        if not isinstance(quantizer, Straight):
            return None
        return [b.detach() for b in quantizer.books]


def train(
    data: Data,
    kind: str,
    dim: int,
    *,
    steps: int = 600,
    horizon: int | None = None,
    weight: float = 1e-3,
    lr: float = 2e-3,
    power: int = 2,
    target: Callable[[Tensor], Tensor] = lambda x: x,
    seed: int = 0,
    loss: Callable[[Net, Tensor], dict[str, Tensor]] | None = None,
    **options,
) -> Trained:
    """Train a small model of one kind with Adam and a cosine schedule."""
    torch.manual_seed(seed)
    net = Net(tuple(data.train.shape[1:]), kind, dim, **options)
    if isinstance(net.quantizer, Straight):
        _start_codebooks(net, data)
    optimizer = torch.optim.Adam(net.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimizer, horizon or steps, eta_min=lr / 50
    )

    def terms(x: Tensor) -> dict[str, Tensor]:
        return loss(net, x) if loss is not None else net.terms(x, weight, target, power)

    net.train()
    for _ in range(steps):
        x = data.train[torch.randint(len(data.train), (64,))]
        optimizer.zero_grad()
        torch.stack(list(terms(x).values())).sum().backward()
        optimizer.step()
        schedule.step()
    net.eval()
    return Trained(net, data, terms, optimizer, weight)


def _start_codebooks(net: Net, data: Data) -> None:
    """Start codebooks at encoder outputs, level after level."""
    with torch.no_grad():
        residual = net.encoder(data.train[:256]).movedim(1, -1)
        residual = residual.reshape(-1, residual.shape[-1])
        for book in net.quantizer.books:
            book.copy_(residual[torch.randperm(len(residual))[: len(book)]])
            residual = residual - book[torch.cdist(residual, book).argmin(1)]
