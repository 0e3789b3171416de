"""Story 2: the KL scale raised together with free bits, and an activation after the posterior."""

from __future__ import annotations

import math

import torch
from torch import nn

import pellucid
from stories.material import PHOTOS, photos
from stories.nets import VAE, fit, image_convs, image_deconvs, kl_terms, psnr, roundtrip, subject
from stories.telling import Settings, Story, Table, answer, interval, mean

DIM, WIDTH, STEPS = 8, 24, 350
WEIGHT, FLOOR = 1e-4, 0.5
SILU_FLOOR = -0.27846
"""min of x·sigmoid(x): below it no log-variance can fall."""

ARMS: dict[str, tuple[float, float, bool]] = {
    "as it should be": (WEIGHT, 0.0, False),
    "KL scale × 10, free bits 0.5": (10 * WEIGHT, FLOOR, False),
    "KL scale × 100, free bits 0.5": (100 * WEIGHT, FLOOR, False),
    "SiLU after the posterior layer": (WEIGHT, 0.0, True),
}
EXPECTED: dict[str, tuple[str, ...]] = {
    "as it should be": (),
    "KL scale × 10, free bits 0.5": ("free-bits-floor", "rate-starvation"),
    "KL scale × 100, free bits 0.5": ("free-bits-floor", "rate-starvation"),
    "SiLU after the posterior layer": ("posterior-variance-floor",),
}


def tell(settings: Settings) -> Story:
    """Train the four arms; count the KL that the clamp itself contributes, and the smallest σ."""
    train, held = photos(16, 2, 1600)
    rows, answers, found = [], [], {}
    for name, (weight, floor, silu) in ARMS.items():
        runs = [_run(train, held, weight, floor, silu, seed, settings) for seed in settings.seeds]
        found[name] = {key: [r[0][key] for r in runs] for key in runs[0][0]}
        one = found[name]
        rows.append(
            (
                name,
                interval(one["kl"], 1),
                f"{mean(one['counted']):.1f}",
                f"{100 * mean(one['at_floor']):.0f} %",
                interval(one["sigma"], 3),
                interval(one["psnr"]),
            )
        )
        diagnosis = pellucid.diagnose(
            runs[0][1], train, held, budget_seconds=settings.budget_seconds
        )
        answers.append(answer(name, diagnosis, *EXPECTED[name], forbidden=("posterior-collapse",)))
    names = list(ARMS)
    healthy, worst, silu_arm = (found[names[i]] for i in (0, 2, 3))
    latents = DIM * 16
    return Story(
        name="tissue",
        title="Tissue VAE: free bits, KL scale and a floor under σ",
        claim="Against collapse the KL scale was raised tenfold together with free bits, and "
        "“KLD > 100” was reported as the cure; blur remained.",
        theory="A higher KL weight lowers the KL. Free bits put a clamp under it: "
        f"{latents} dimensions × {FLOOR} nats = {latents * FLOOR:.0f} nats are *counted* however "
        "little is said. SiLU after the posterior layer bounds ln σ² at "
        f"{SILU_FLOOR:.3f}, so σ ≥ {math.exp(SILU_FLOOR / 2):.2f}.",
        setting=f"16×16 colour crops of {PHOTOS}; convolutional VAE, {latents} latents, "
        f"{settings.steps(STEPS)} steps, {len(settings.seeds)} seeds. (Tissue maps come with no "
        "package; the faults do not depend on them.)",
        tables=(
            Table(
                (
                    "model",
                    "raw KL, nats",
                    "KL as the clamp counts it",
                    "dimensions within 10 % of the floor",
                    "smallest σ",
                    "PSNR, dB",
                ),
                tuple(rows),
            ),
        ),
        reading=f"Weight and floor together end at {mean(worst['kl']):.0f} nats against "
        f"{mean(healthy['kl']):.0f}, and PSNR moves by "
        f"{mean(worst['psnr']) - mean(healthy['psnr']):+.2f} dB. With SiLU the smallest σ is "
        f"{min(silu_arm['sigma']):.3f}, and PSNR moves by "
        f"{mean(silu_arm['psnr']) - mean(healthy['psnr']):+.2f} dB.",
        answers=tuple(answers),
    )


def _run(train, held, weight: float, floor: float, silu: bool, seed: int, settings: Settings):
    """Return (measured numbers, subject) of one trained model."""
    torch.manual_seed(seed)
    model = VAE(
        image_convs(2, WIDTH, 3, 2 * DIM),
        image_deconvs(2, WIDTH, 3, DIM),
        nn.SiLU() if silu else nn.Identity(),
    )

    def terms(x):
        return model.terms(x, weight, floor)

    optimizer = fit(model, terms, train, steps=settings.steps(STEPS), seed=seed)
    with torch.no_grad():
        latent = model.encode(held)
    assert latent.logvar is not None
    kl_d = kl_terms(latent).flatten(1).mean(0)
    numbers = {
        "kl": float(kl_d.sum()),
        "counted": float(kl_d.clamp_min(floor).sum()),
        "at_floor": float((kl_d.sub(FLOOR).abs() < 0.1 * FLOOR).float().mean()),
        "sigma": float((0.5 * latent.logvar).exp().min()),
        "psnr": psnr(roundtrip(model, held), held),
    }
    recipe = {"free_bits": floor} if floor else None
    return numbers, subject(model, terms, optimizer, kl_weight=weight, recipe=recipe)
