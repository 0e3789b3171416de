"""How long a diagnosis takes, on how many samples, and which rows no longer fit.

Two image VAEs, a small one (32×32) and one of ten million parameters (64×64, 512 samples), both
untrained: time does not depend on what the weights are. Black box is encode and decode alone; white
box adds modules, losses and an optimiser.

    python benchmarks/diagnosis_speed.py [--threads 2] [--profile] [--write]
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import time

import torch
from torch import Tensor, nn

from pellucid.diagnosis import Diagnosis, Subject, diagnose
from results import write_section

TARGETS = {"small": (15.0, 30.0), "10 M": (60.0, 120.0)}
"""Seconds for the black box and for the white box."""


def block(before: int, after: int) -> nn.Sequential:
    """Return one convolution with its norm and activation."""
    return nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.GroupNorm(8, after), nn.SiLU())


class VAE(nn.Module):
    """A convolutional VAE of stride 8.

    Args:
        width: channels at the finest resolution; twice and four times as many below it.
        latent: latent channels.
    """

    def __init__(self, width: int, latent: int = 8) -> None:
        super().__init__()
        a, b, c = width, 2 * width, 4 * width
        self.encoder = nn.Sequential(
            nn.Conv2d(3, a, 4, 2, 1),
            nn.SiLU(),
            nn.Conv2d(a, b, 4, 2, 1),
            nn.SiLU(),
            nn.Conv2d(b, c, 4, 2, 1),
            block(c, c),
            nn.Conv2d(c, 2 * latent, 1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(latent, c, 3, padding=1),
            block(c, c),
            block(c, c),
            nn.ConvTranspose2d(c, b, 4, 2, 1),
            nn.SiLU(),
            nn.ConvTranspose2d(b, a, 4, 2, 1),
            nn.SiLU(),
            nn.ConvTranspose2d(a, 3, 4, 2, 1),
        )

    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.encoder(x).chunk(2, 1)

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)


def images(count: int, size: int, seed: int) -> Tensor:
    """Return smooth random images (N, 3, size, size) in [0, 1]."""
    coarse = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(coarse, size=size, mode="bilinear")


def subject_of(model: VAE, *, white: bool) -> Subject:
    """Describe the model with or without its insides."""
    if not white:
        return Subject(model.encode, model.decode)

    def loss_terms(x: Tensor) -> dict[str, Tensor]:
        mean, logvar = model.encode(x)
        x_hat = model.decode(mean + torch.randn_like(mean) * (0.5 * logvar).exp())
        kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).flatten(1).sum(1).mean()
        return {"recon": (x_hat - x).square().mean(), "kl": 1e-5 * kl}

    return Subject(
        model.encode,
        model.decode,
        modules={"encoder": model.encoder, "decoder": model.decoder},
        loss_terms=loss_terms,
        optimizers=[torch.optim.Adam(model.parameters(), lr=1e-4)],
    )


def timed(name: str, *, white: bool) -> tuple[float, Diagnosis]:
    """Diagnose one of the two models; return seconds and answer."""
    torch.manual_seed(0)
    size, model = (32, VAE(16)) if name == "small" else (64, VAE(112))
    data = images(512, size, 0), images(512, size, 1)
    start = time.perf_counter()
    answer = diagnose(subject_of(model, white=white), *data, budget_seconds=TARGETS[name][white])
    return time.perf_counter() - start, answer


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--profile", action="store_true", help="print where the time goes")
    parser.add_argument("--write", action="store_true", help="write benchmarks/RESULTS.md")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    lines = [
        f"Budget given and time taken, {arguments.threads} threads, torch {torch.__version__}.",
        "",
        "| model | access | budget | taken | samples | rows tested | left out for time |",
        "|---|---|---:|---:|---:|---:|---|",
    ]
    for name in TARGETS:
        for white in (False, True):
            profile = cProfile.Profile()
            if arguments.profile:
                profile.enable()
            seconds, answer = timed(name, white=white)
            profile.disable()
            late = [n.id for n in answer.not_tested if n.needs == "time budget"]
            lines.append(
                f"| {name} | {'white' if white else 'black'} box | {TARGETS[name][white]:.0f} s "
                f"| {seconds:.1f} s | {answer.samples} | {len(answer.tested)} "
                f"| {', '.join(late) or 'none'} |"
            )
            print(lines[-1], flush=True)
            if arguments.profile:
                pstats.Stats(profile).sort_stats("cumulative").print_stats("pellucid", 40)
    if arguments.write:
        write_section("diagnosis-speed", "## Speed of a diagnosis\n\n" + "\n".join(lines))


if __name__ == "__main__":
    main()
