"""Story 3: straight-through added once per level, and a mel bank of random numbers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import pellucid
from stories.material import voices
from stories.nets import Quantised, fit, gradient_norm, roundtrip, snr, subject
from stories.telling import Settings, Story, Table, answer, interval, mean

LEVELS, CODES, DIM, WIDTH, STEPS, RATE = 8, 32, 8, 32, 500, 8000
BANDS, BINS = 32, 129


def tell(settings: Settings) -> Story:
    """Train a codec with one and with eight straight-through paths; then swap its mel bank."""
    train, held = voices()
    rows, answers, norms = [], [], {}
    for path, name in (("once", "one straight-through"), ("per level", "one per level")):
        runs = [_run(train, held, path, seed, settings) for seed in settings.seeds]
        norms[path] = [r[0] for r in runs]
        ratio = [r[0] / o for r, o in zip(runs, norms["once"], strict=True)]
        rows.append((name, interval(ratio), interval([r[1] for r in runs])))
        # The bank is the user's own claim about a loss: it is handed over, and read as it is.
        for bank, kind in ((mel_bank(), "true mel"), (torch.rand(BANDS, BINS), "random mel")):
            if path == "per level" and kind == "random mel":
                continue
            found = pellucid.diagnose(
                runs[0][2](bank), train, held, budget_seconds=settings.budget_seconds
            )
            expected = {
                ("once", "true mel"): (),
                ("once", "random mel"): ("broken-filterbank",),
                ("per level", "true mel"): ("straight-through-gain",),
            }[path, kind]
            answers.append(answer(f"{name}, {kind}", found, *expected))
    times = mean([b / a for a, b in zip(norms["once"], norms["per level"], strict=True)])
    return Story(
        name="codec",
        title="Speech codec: the straight-through path counted eight times",
        claim="A residual quantiser with eight levels and a mel loss was expected to reach "
        "+15…20 dB SNR; the run was taken to be merely quiet.",
        theory=f"With the estimator added at each of {LEVELS} levels, the residuals' identity "
        f"paths add up: the encoder receives {LEVELS} times the declared gradient (one level's "
        "share each, because the residual is reduced by detached codes). A mel bank has one peak "
        "per band, in rising order; random numbers have neither.",
        setting=f"Waves like voiced speech, {RATE} Hz, 512 samples (harmonics under a formant, "
        f"noise; no speech comes with the packages); {LEVELS} levels × {CODES} codes, "
        f"{settings.steps(STEPS)} steps, {len(settings.seeds)} seeds. The gradient is compared at "
        "equal weights, before training.",
        tables=(Table(("quantiser", "encoder gradient, times one path", "SNR, dB"), tuple(rows)),),
        reading=f"The encoder's reconstruction gradient is {times:.2f} times as large.",
        answers=tuple(answers),
    )


def _run(train: Tensor, held: Tensor, path: str, seed: int, settings: Settings):
    """Return (encoder gradient before training, SNR, bank -> subject)."""
    torch.manual_seed(seed)
    encoder = nn.Sequential(
        nn.Conv1d(1, WIDTH, 8, 4, 2), nn.GELU(), nn.Conv1d(WIDTH, WIDTH, 8, 4, 2), nn.GELU(),
        nn.Conv1d(WIDTH, DIM, 1),
    )  # fmt: skip
    decoder = nn.Sequential(
        nn.Conv1d(DIM, WIDTH, 3, 1, 1), nn.GELU(), nn.ConvTranspose1d(WIDTH, WIDTH, 8, 4, 2),
        nn.GELU(), nn.ConvTranspose1d(WIDTH, 1, 8, 4, 2),
    )  # fmt: skip
    model = Quantised(encoder, decoder, dim=DIM, codes=CODES, levels=LEVELS, path=path)
    model.start(train[:256])
    norm = gradient_norm(model.terms, train[:48], model.encoder.parameters())
    optimizer = fit(model, model.terms, train, steps=settings.steps(STEPS), seed=seed)

    def described(bank: Tensor):
        return subject(
            model,
            model.terms,
            optimizer,
            filterbanks={"mel": bank},
            sample_rate=float(RATE),
            value_range=(-1, 1),
        )

    return norm, snr(roundtrip(model, held), held), described


def mel_bank() -> Tensor:
    """Return (bands, bins) triangles, equally spaced on the HTK mel scale from 0 to Nyquist."""
    frequency = torch.linspace(0, RATE / 2, BINS)
    top = 2595 * torch.log10(torch.tensor(1 + RATE / 2 / 700))
    edges = 700 * (10 ** (torch.linspace(0, float(top), BANDS + 2) / 2595) - 1)
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (frequency - low) / (centre - low), (high - frequency) / (high - centre)
    return torch.minimum(rising, falling).clamp_min(0)
