"""What `Doctor` costs: the same training with and without it, taking turns, on one thread.

A small convolutional VAE is trained on synthetic 32×32 images, once with and once without the
doctor, again and again; the ratio is the median over pairs, in processor time, so that whatever
else the machine does counts for neither. The pre-flight has a budget of its own and is timed
apart. The weights of the two are compared too: they must be the same, bit for bit.

    python benchmarks/doctor_overhead.py [--pairs 3] [--epochs 12] [--write]
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import pellucid
from results import write_section

BATCH = 32


class SmallVAE(lightning.LightningModule):
    """A convolutional VAE as people write it."""

    def __init__(self, width: int = 32, latent: int = 8) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, width, 4, 2, 1),
            nn.SiLU(),
            nn.Conv2d(width, 2 * width, 4, 2, 1),
            nn.SiLU(),
            nn.Conv2d(2 * width, 2 * latent, 3, 1, 1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(latent, 2 * width, 3, 1, 1),
            nn.SiLU(),
            nn.ConvTranspose2d(2 * width, width, 4, 2, 1),
            nn.SiLU(),
            nn.ConvTranspose2d(width, 3, 4, 2, 1),
        )

    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.encoder(x).chunk(2, 1)

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(z)

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        (x,) = batch
        mean, logvar = self.encode(x)
        x_hat = self.decode(mean + torch.randn_like(mean) * (0.5 * logvar).exp())
        recon = (x_hat - x).square().mean()
        kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).flatten(1).sum(1).mean()
        self.log_dict({"recon": recon, "kl": kl})
        return recon + 1e-5 * kl

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        (x,) = batch
        self.log("val", (self.decode(self.encode(x)[0]) - x).square().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def images(count: int, seed: int) -> TensorDataset:
    """Return smooth random images (N, 3, 32, 32) in [0, 1]."""
    coarse = torch.rand(count, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(nn.functional.interpolate(coarse, size=32, mode="bilinear"))


def train(
    folder: Path, epochs: int, doctor: pellucid.Doctor | None
) -> tuple[float, dict[str, Tensor]]:
    """Return the processor time of a training in seconds, and its weights."""
    lightning.seed_everything(0, verbose=False)
    module = SmallVAE()
    trainer = lightning.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        devices=1,
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[doctor] if doctor else [],
    )
    loaders = DataLoader(images(1024, 0), BATCH, shuffle=True), DataLoader(images(256, 1), BATCH)
    start = time.process_time()
    trainer.fit(module, *loaders)
    return time.process_time() - start, module.state_dict()


def measure(pairs: int, epochs: int) -> str:
    """Take turns, and say in Markdown what was measured."""
    ratios, shares, examined = [], [], []
    same = True
    for turn in range(pairs):
        with tempfile.TemporaryDirectory() as name:
            doctor = pellucid.Doctor(preflight=False)
            seconds, weights = {}, {}
            for who in (None, doctor) if turn % 2 else (doctor, None):
                seconds[who], weights[who] = train(Path(name), epochs, who)
            notes = read_notes(Path(name))
        ratios.append(seconds[doctor] / seconds[None])
        shares.append(doctor.account.share)
        examined.append(epochs - sum("not examined" in n for n in notes))
        same &= all(torch.equal(weights[None][k], w) for k, w in weights[doctor].items())
        print(f"pair {turn}: {seconds[None]:.1f} s, with the doctor × {ratios[-1]:.3f}", flush=True)
    return (
        f"A small VAE ({epochs} epochs, {seconds[None]:.0f} s of processor time) with `Doctor` "
        f"against the same without, in turns, {pairs} pairs, one thread, torch "
        f"{torch.__version__}: processor time × **{statistics.median(ratios):.3f}** (median; "
        f"{min(ratios):.3f} … {max(ratios):.3f}). By its own account, in time on the clock, "
        f"examinations took {max(shares):.1%} at most (allowed 3.0%), in "
        f"{statistics.median(examined):.0f} of {epochs} epochs. The pre-flight takes "
        f"{preflight_seconds():.1f} s once, beside that. Weights after training are "
        f"{'the same bit for bit' if same else '**NOT THE SAME**'}."
    )


def read_notes(folder: Path) -> list[str]:
    """Return the notes of diagnosis.json."""
    return json.loads((folder / "diagnosis.json").read_text(encoding="utf-8"))["notes"]


def preflight_seconds() -> float:
    """Return what the pre-flight says it took."""
    with tempfile.TemporaryDirectory() as name:
        train(Path(name), 1, pellucid.Doctor(every_n_epochs=100))
        return next(float(n.split()[1]) for n in read_notes(Path(name)) if " s, apart" in n)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--write", action="store_true", help="write benchmarks/RESULTS.md")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    text = measure(arguments.pairs, arguments.epochs)
    print(text)
    if arguments.write:
        write_section("doctor-overhead", "## What the Doctor costs\n\n" + text)


if __name__ == "__main__":
    main()
