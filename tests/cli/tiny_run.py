"""Overrides that shrink `photos-vq` until it trains in seconds."""

TINY = [
    "data.size=32",
    "data.resize=null",
    "encoder.width=8",
    "encoder.channels=16",
    "decoder.width=8",
    "bottleneck.codes=32",
    "bottleneck.dim=4",
    "training.steps=12",
    "training.batch_size=8",
    "training.validate_every=6",
    "training.checkpoint_every=6",
    "training.log_every=3",
    "training.gradient_shares_every=6",
    "evaluation.resamples=100",
    "evaluation.save_reconstructions=3",
]
