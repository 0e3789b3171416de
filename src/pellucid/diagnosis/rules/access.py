"""What rows need before they can be examined, said in words a user can act on."""

from __future__ import annotations

from pellucid.diagnosis.case import Case


def nothing(case: Case) -> str | None:
    """encode, decode and data are enough."""
    return None


def posterior(case: Case) -> str | None:
    """The encoder must state a variance."""
    return None if case.latent.logvar is not None else "a Gaussian posterior (Latent.logvar)"


def codes(case: Case) -> str | None:
    """The encoder must state codes."""
    return None if case.latent.codes is not None else "codes (Latent.codes)"


def loss_terms(case: Case) -> str | None:
    """The loss must be given."""
    return None if case.subject.loss_terms is not None else "Subject.loss_terms"


def modules(case: Case) -> str | None:
    """Named modules must be given."""
    return None if case.subject.modules else "Subject.modules"


def training(case: Case) -> str | None:
    """It must be possible to take a training step."""
    if case.subject.trainable:
        return None
    return "Subject.training_step, or loss_terms with modules or optimizers"


def channels(case: Case) -> str | None:
    """There must be several channels."""
    return None if case.x.shape[1] > 1 else "data with several channels"


def audio(case: Case) -> str | None:
    """Data must be waveforms (B, C, T)."""
    return None if case.is_audio else "waveforms (B, 1, T)"


def images(case: Case) -> str | None:
    """Data must have two spatial axes."""
    return None if case.x.ndim == 4 else "images or stacks (B, C, H, W)"


def held_out(case: Case) -> str | None:
    """Training and validation data must both be given."""
    return None if case.train is not None else "validation data beside training data"
