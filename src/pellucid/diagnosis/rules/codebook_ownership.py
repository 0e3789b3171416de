"""codebook-ownership: the codebook must have exactly one owner, averaging or the optimiser."""

from __future__ import annotations

import torch
from torch import Tensor

from pellucid.diagnosis.case import Case
from pellucid.diagnosis.evidence import Evidence, Finding
from pellucid.diagnosis.probes.training import own_step


def missing(case: Case) -> str | None:
    """A live codebook and a training step."""
    if not case.measure(live_codebooks):
        return "Subject.codebook as the live tensor (parameter or buffer) of a module"
    subject = case.subject
    if subject.training_step is None and not (subject.loss_terms and subject.optimizers):
        return "Subject.training_step, or loss_terms and optimizers"
    return None


def examine(case: Case) -> Finding | None:
    """Assert two owners or none."""
    averaged, stepped = case.measure(owners)
    if averaged != stepped:
        return None
    both = averaged
    return Finding(
        id="codebook-ownership",
        confidence=0.9 if both else 0.85,
        severity=2.0 if both else 0.0,
        severity_unit="owners",
        summary="both moving averages and the optimiser move the codebook"
        if both
        else "nothing moves the codebook: neither averages nor the optimiser",
        evidence=(
            Evidence(
                "moves when the loss is computed in training mode (averaging)",
                float(averaged),
                "1",
                "one of the two",
            ),
            Evidence("moves in the optimiser's step", float(stepped), "1", "one of the two"),
        ),
        treatment="let one own it: register the codebook as a buffer under averaging, or switch "
        "averaging off and keep the codebook loss"
        if both
        else "switch averaging on, or hand the codebook to the optimiser with a codebook loss that "
        "detaches the encoder's side only (declare it in Subject.frozen when it is meant fixed)",
        expects=("exactly one of the two moves it",),
    )


def live_codebooks(case: Case) -> list[Tensor]:
    """Return the tensors of modules that hold the codebook's content, found by storage or value."""
    books = list(case.subject.codebooks)
    if any("codebook" in name or "quantizer" in name for name in case.subject.frozen):
        return []
    tensors = [
        t
        for m in case.reachable.modules
        for t in (*m._parameters.values(), *m._buffers.values())
        if isinstance(t, Tensor)
    ]
    live = []
    for book in books:
        for tensor in tensors:
            if _holds(tensor, book):
                if not any(tensor is known for known in live):
                    live.append(tensor)
                break
    return live


def _holds(tensor: Tensor, book_Kd: Tensor) -> bool:
    """Say whether a tensor is the codebook, or all levels of it stacked as (L, K, d)."""
    if tensor.numel() == book_Kd.numel():
        flat = tensor.detach().reshape(book_Kd.shape).to(book_Kd)
        return tensor.data_ptr() == book_Kd.data_ptr() or torch.equal(flat, book_Kd)
    if tensor.ndim != 3 or tensor.shape[1:] != book_Kd.shape:
        return False
    return any(torch.equal(level.to(book_Kd), book_Kd) for level in tensor.detach())


def owners(case: Case) -> tuple[bool, bool]:
    """Return (moves by averaging, moves by the optimiser)."""
    books = case.measure(live_codebooks)
    losses = case.subject.loss_terms
    averaged = False
    if losses is not None:
        with case.training_mode():
            before = [b.detach().clone() for b in books]
            losses(case.batch_of(case.fit))
            averaged = _moved(before, books)
    step = own_step(case)
    assert step is not None
    owned = {id(p) for o in case.subject.optimizers for g in o.param_groups for p in g["params"]}
    with case.training_mode():
        step(case.batch_of(case.fit))
        by_gradient = any(
            id(b) in owned and b.grad is not None and float(b.grad.abs().max()) > 0 for b in books
        )
    return averaged, by_gradient


def _moved(before: list[Tensor], after: list[Tensor]) -> bool:
    return any(not torch.equal(b, a.detach()) for b, a in zip(before, after, strict=True))
