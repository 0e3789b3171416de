"""Story 4: a random decoder, a dead straight-through, a sigmoid that faces [−1, 1]."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import pellucid
from stories.material import PHOTOS, photos
from stories.nets import Quantised, fit, gradient_norm, psnr, roundtrip, subject
from stories.telling import Settings, Story, Table, answer, interval, mean

CODES, DIM, STEPS = 256, 16, 800
ARMS: dict[str, tuple[str, ...]] = {
    "as it should be": (),
    "random decoder": ("random-decoder",),
    "dead straight-through": ("straight-through-gain",),
    "sigmoid on [−1, 1]": ("range-mismatch",),
}


class RandomPixels(nn.Module):
    """A decoder that returns random numbers, as the first version did."""

    def __init__(self, learned: nn.Module) -> None:
        super().__init__()
        self.learned = learned

    def forward(self, z: Tensor) -> Tensor:
        """Answer with noise; z matters only for the batch."""
        return 2 * torch.rand(len(z), 3, 8, 8) - 1 + 0 * self.learned(z)


def tell(settings: Settings) -> Story:
    """Train the tokenizer whole and with each fault; measure PSNR and the encoder's gradient."""
    train, held = (2 * x - 1 for x in photos(8, 2, 6000))
    rows, answers, reached = [], [], {}
    for name, expected in ARMS.items():
        runs = [_run(train, held, name, seed, settings) for seed in settings.seeds]
        reached[name] = [r[0] for r in runs]
        rows.append(
            (name, interval(reached[name]), interval([r[1] for r in runs], 4), f"{runs[0][2]}")
        )
        found = pellucid.diagnose(runs[0][3], train, held, budget_seconds=settings.budget_seconds)
        answers.append(answer(name, found, *expected))
    healthy = mean(reached["as it should be"])
    lost = ", ".join(
        f"{healthy - mean(values):.1f} dB with {name}"
        for name, values in reached.items()
        if name != "as it should be"
    )
    return Story(
        name="patch",
        title="Patch tokenizer: three ways to learn nothing",
        claim="The loss was expected to fall from 0.45 to 0.15 in four epochs; first the decoder "
        "was random numbers, then the codebook's gradient was cut on both sides, and a sigmoid "
        "head faced targets in [−1, 1].",
        theory="A random decoder has no derivative to z. Without a straight-through path the "
        "encoder's reconstruction gradient is exactly 0. A sigmoid reaches [0, 1]: what lies below "
        "0 is out of reach whatever the training.",
        setting=f"8×8 colour patches of {PHOTOS}, in [−1, 1]; one token of {CODES} codes per patch,"
        f" {DIM} dimensions, {settings.steps(STEPS)} steps, {len(settings.seeds)} seeds.",
        tables=(
            Table(
                ("model", "PSNR, dB", "‖∇ reconstruction‖ at the encoder", "codes used (seed 0)"),
                tuple(rows),
            ),
        ),
        reading=f"Lost to the whole model: {lost}.",
        answers=tuple(answers),
    )


def _run(train: Tensor, held: Tensor, name: str, seed: int, settings: Settings):
    """Return (PSNR, encoder gradient, codes used, subject) of one trained model."""
    torch.manual_seed(seed)
    encoder = nn.Sequential(
        nn.Flatten(), nn.Linear(192, 256), nn.GELU(), nn.Linear(256, DIM), nn.Unflatten(1, (DIM, 1))
    )
    decoder: nn.Module = nn.Sequential(
        nn.Flatten(), nn.Linear(DIM, 512), nn.GELU(), nn.Linear(512, 192),
        nn.Sigmoid() if name.startswith("sigmoid") else nn.Identity(), nn.Unflatten(1, (3, 8, 8)),
    )  # fmt: skip
    if name == "random decoder":
        decoder = RandomPixels(decoder)
    path = "dead" if name.startswith("dead") else "once"
    model = Quantised(encoder, decoder, dim=DIM, codes=CODES, path=path)
    model.start(train[:2048])
    optimizer = fit(model, model.terms, train, steps=settings.steps(STEPS), seed=seed)
    norm = gradient_norm(model.terms, train[:48], model.encoder.parameters())
    with torch.no_grad():
        codes = model.encode(held).codes
    assert codes is not None
    quality = psnr(roundtrip(model, held), held, peak=2.0)
    described = subject(model, model.terms, optimizer, value_range=(-1, 1))
    return quality, norm, int(codes.unique().numel()), described
