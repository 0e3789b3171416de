"""Story 1: 170 nats called posterior collapse."""

from __future__ import annotations

import torch
from torch import nn

import pellucid
from pellucid.references.linear import LinearVAEReference, PCAReference
from stories.material import PHOTOS, photos
from stories.nets import VAE, fit, image_convs, image_deconvs, kl_terms, psnr, roundtrip, subject
from stories.telling import Settings, Story, Table, answer, interval, mean

WEIGHTS = (1e-4, 1e-5)
SIZE, HALVINGS, DIM, WIDTH, STEPS, BATCH = 32, 3, 32, 16, 300, 24


def tell(settings: Settings) -> Story:
    """Train one VAE at two KL weights and compare KL, PSNR and active units with theory."""
    train, held = photos(SIZE, 2, 1200)
    numbers = DIM * (SIZE // 2**HALVINGS) ** 2
    pca = PCAReference.fit(train, numbers, stride=2**HALVINGS)
    rows, measured, answers = [], {}, []
    for weight in WEIGHTS:
        runs = [_run(train, held, weight, seed, settings) for seed in settings.seeds]
        theory = LinearVAEReference.fit(pca, kl_weight=weight)
        predicted = float(theory.kl(held).mean())
        linear = psnr(theory.reconstruct(held), held)
        measured[weight] = {"kl": [r[0] for r in runs], "psnr": [r[1] for r in runs]}
        measured[weight] |= {"kl*": [predicted], "linear": [linear]}
        rows.append(
            (
                f"{weight:.0e}",
                f"{predicted:.0f}",
                interval([r[0] for r in runs], 0),
                f"{linear:.2f}",
                interval([r[1] for r in runs]),
                interval([r[2] for r in runs], 0) + f" of {numbers}",
            )
        )
        found = pellucid.diagnose(
            runs[0][3], train, held, confirm=True, budget_seconds=settings.budget_seconds
        )
        starved = weight == WEIGHTS[0]
        expected = ("rate-starvation",) if starved else ("rate-starvation", "under-training")
        answers.append(
            answer(f"weight {weight:.0e}", found, *expected, forbidden=("posterior-collapse",))
        )
    high, low = (measured[w] for w in WEIGHTS)
    return Story(
        name="ear",
        title="Ear VAE: is 170 nats posterior collapse?",
        claim="A KL of 160–180 nats (0.33 per dimension) was called posterior collapse, and a KL "
        "of 0.5–2 nats called healthy.",
        theory="Collapse is KL → 0. A used latent whose KL is small because its weight is high is "
        "starved: in the linear VAE, KL* = Σ ½·ln(λ/θ)₊ with θ = w·D/2, so KL *rises* as the "
        f"weight falls. On these data it predicts {high['kl*'][0]:.0f} nats at {WEIGHTS[0]:.0e} "
        f"and {low['kl*'][0]:.0f} at {WEIGHTS[1]:.0e}.",
        setting=f"{SIZE}×{SIZE} colour crops of {PHOTOS}, at half their size; convolutional VAE, "
        f"{numbers} latents, {settings.steps(STEPS)} steps, {len(settings.seeds)} seeds.",
        tables=(
            Table(
                (
                    "KL weight",
                    "KL* (linear), nats",
                    "KL measured, nats",
                    "PSNR of the linear VAE, dB",
                    "PSNR measured, dB",
                    "active units",
                ),
                tuple(rows),
            ),
        ),
        reading=f"With a tenth of the weight the KL went from {mean(high['kl']):.0f} to "
        f"{mean(low['kl']):.0f} nats and PSNR by {mean(low['psnr']) - mean(high['psnr']):+.2f} dB.",
        answers=tuple(answers),
    )


def _run(train, held, weight: float, seed: int, settings: Settings):
    """Return (KL, PSNR, active units, subject) of one trained model."""
    torch.manual_seed(seed)
    model = VAE(
        image_convs(HALVINGS, WIDTH, 3, 2 * DIM),
        image_deconvs(HALVINGS, WIDTH, 3, DIM),
        nn.Identity(),
    )

    def terms(x):
        return model.terms(x, weight)

    optimizer = fit(model, terms, train, steps=settings.steps(STEPS), seed=seed, batch=BATCH)
    with torch.no_grad():
        latent = model.encode(held)
        kl = float(kl_terms(latent).flatten(1).sum(1).mean())
        active = int((latent.mean.flatten(1).var(0) > 0.01).sum())
    return kl, psnr(roundtrip(model, held), held), active, subject(model, terms, optimizer)
