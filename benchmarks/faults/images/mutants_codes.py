"""Faults of codebooks: dead codes, too few, drifting encoders, codebooks fitted afterwards."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from benchmarks.faults.contract import Mutant, Specimen, Trained
from benchmarks.faults.images.networks import Quantizer, kmeans, nearest
from benchmarks.faults.images.training import fine_tune, specimen, twin
from benchmarks.faults.measure import both, decibels, loses
from torch import Tensor

from pellucid.records import Latent


def bad_start(healthy: Trained, seed: int) -> Specimen:
    """Codes drawn far from the latents, all but a few of them never chosen."""
    model = twin(healthy)
    torch.manual_seed(seed)
    books = model.quantizer.books
    with torch.no_grad():
        books[:, 6:] = 40 + 5 * torch.randn_like(books[:, 6:])
    optimizer = fine_tune(model, model.loss_terms, healthy.train, learning_rate=1e-3, seconds=10)
    return specimen(model, healthy, optimizer=optimizer)


class NoRestart(Quantizer):
    """Averages without restart of starved codes."""

    def _average(self, level: int, residual: Tensor, index: Tensor) -> None:
        before = self.books[level].clone()
        super()._average(level, residual, index)
        used = torch.bincount(index.flatten(), minlength=self.books.shape[1]) > 0
        self.books[level] = torch.where(used[:, None], self.books[level], before)


def averages_without_restart(healthy: Trained, seed: int) -> Specimen:
    """Averaged codebooks that started in one small ball, and starved codes stay dead."""
    model = twin(healthy)
    torch.manual_seed(seed)
    quantizer = model.quantizer
    quantizer.__class__ = NoRestart
    far = quantizer.books.abs().max() * 30
    quantizer.books[:, 8:] = far + torch.randn_like(quantizer.books[:, 8:])
    quantizer.sums.copy_(quantizer.books)
    quantizer.counts.fill_(1.0)
    optimizer = fine_tune(model, model.loss_terms, healthy.train, learning_rate=1e-3, seconds=10)
    return specimen(model, healthy, optimizer=optimizer)


def dead_codes(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
    """Count the codes that are used at all, in both models."""
    used = []
    for it in (healthy, mutant):
        assert it.validation is not None
        with torch.no_grad():
            codes = it.subject.encode(it.validation).codes
        size = it.model.quantizer.books.shape[1]  # type: ignore[union-attr]
        levels = codes if codes.ndim == 4 else codes[..., None]
        shares = [len(levels[..., i].unique()) / size for i in range(levels.shape[-1])]
        used.append(sum(shares) / len(shares))
    return used[1] < 0.3 < 0.6 < used[0], f"{used[1]:.0%} of codes used, {used[0]:.0%} healthy"


def few_codes(codes: int):
    """A tokenizer retrained with so few codes, well started and all used."""

    def make(healthy: Trained, seed: int) -> Specimen:
        model = twin(healthy)
        torch.manual_seed(seed)
        old = model.quantizer
        model.quantizer = Quantizer(codes, old.books.shape[-1], averaged=True)
        with torch.no_grad():
            model.quantizer.start_at(model.encoder(healthy.train[:512]))
        optimizer = fine_tune(model, model.loss_terms, healthy.train, learning_rate=1e-3)
        bits = 64 * torch.tensor(float(codes)).log2().item()
        return specimen(model, healthy, optimizer=optimizer, bits_per_sample=bits)

    return make


def more_codes_help(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
    """K-means with four times the codes on the same latents: its error against the codebook's."""
    model, x = mutant.model, mutant.train[:400]
    assert model is not None
    with torch.no_grad():
        h = model.encoder(x)
        flat = h.movedim(1, -1).reshape(-1, h.shape[1])
        book = model.quantizer.books[0]
        larger = kmeans(flat, 4 * len(book), seed=0)
        errors = [
            float((flat - F.embedding(nearest(flat, b), b)).square().mean()) for b in (book, larger)
        ]
        used = len(nearest(flat, book).unique()) / len(book)
    win = decibels(errors[0] / errors[1])
    return win > 1.5 and used > 0.8, f"four times the codes win {win:.1f} dB, {used:.0%} are used"


def no_commitment(healthy: Trained, seed: int) -> Specimen:
    """Commitment 0 and a slow codebook: the encoder walks away from its codes."""
    model = twin(healthy)
    model.quantizer.commitment = 0.0
    slow = [model.quantizer.books]
    quick = [p for n, p in model.named_parameters() if not n.startswith("quantizer")]
    optimizer = torch.optim.Adam([{"params": quick}, {"params": slow, "lr": 1e-6}], lr=3e-3)
    ratios = []
    model.train()
    for index in range(400):
        x = healthy.train[torch.randint(len(healthy.train), (32,))]
        q, _, penalty = model.quantizer(model.encoder(x))
        # The encoder is drawn outwards, as by a decoder that wants more contrast than codes have.
        loss = F.mse_loss(model.decode(q), x) + 0.25 * penalty
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if index % 40 == 0:
            ratios.append(float(_distance(model, healthy.train[:64])))
    model.eval()
    return specimen(model, healthy, optimizer=optimizer, history={"commitment": ratios})


def drifting_scale(healthy: Trained, seed: int) -> Specimen:
    """The encoder's last layer has grown threefold, codes are nowhere near it."""
    model = twin(healthy)
    model.quantizer.commitment = 0.0
    model.quantizer.decay = 0.9999
    last = model.encoder.out
    with torch.no_grad():
        last.weight.mul_(4)
        last.bias.mul_(4)
    quick = [p for n, p in model.named_parameters() if not n.startswith("quantizer")]
    optimizer = fine_tune(
        model, model.loss_terms, healthy.train, learning_rate=1e-3, parameters=quick, seconds=8
    )
    return specimen(model, healthy, optimizer=optimizer)


def _distance(model, x: Tensor) -> Tensor:
    """Return E‖z − q(z)‖²/Var(z)."""
    with torch.no_grad():
        h = model.encoder(x)
        q = model.quantizer(h)[0]
    return (h - q).square().mean() / (h - h.mean((0, 2, 3), keepdim=True)).square().mean()


def far_from_codes(healthy: Specimen, mutant: Specimen) -> tuple[bool, str]:
    """E‖z − q(z)‖²/Var(z) in both models."""
    assert mutant.validation is not None
    before, after = (float(_distance(it.model, mutant.validation)) for it in (healthy, mutant))
    return after > max(2 * before, 0.4), f"‖z − q(z)‖²/Var(z) = {after:.2f}, healthy {before:.2f}"


def post_hoc_codes(codes: int):
    """A k-means codebook fitted to a finished autoencoder, its decoder never told."""

    def make(healthy: Trained, seed: int) -> Specimen:
        model = twin(healthy)
        with torch.no_grad():
            answer = model.encode(healthy.train[:600])
        z = answer[0] if isinstance(answer, tuple) else answer
        book = kmeans(z.movedim(1, -1).reshape(-1, z.shape[1]), codes, seed=seed)

        def encode(x: Tensor) -> Latent:
            answer = model.encode(x)
            h = answer[0] if isinstance(answer, tuple) else answer
            index = nearest(h.movedim(1, -1), book)
            return Latent(mean=h, codes=index, quantized=F.embedding(index, book).movedim(-1, 1))

        return specimen(
            model, healthy, encode=encode, codebook=book, loss_terms=None, optimizers=()
        )

    return make


# fmt: off
MUTANTS = [
    Mutant("cifar-vq/bad-start", "cifar-vq", ("codebook-collapse",), bad_start, dead_codes,
           quick=True),
    Mutant("photo-rvq/no-restart", "photo-rvq", ("codebook-collapse",), averages_without_restart,
           dead_codes),
    Mutant("patch-vq/eight-codes", "patch-vq", ("codebook-too-small",), few_codes(8),
           both(loses(0.5), more_codes_help)),
    Mutant("cifar-vq/twelve-codes", "cifar-vq", ("codebook-too-small",), few_codes(12),
           both(loses(0.5), more_codes_help), black_box=True),
    Mutant("cifar-vq/no-commitment", "cifar-vq", ("commitment-drift",), no_commitment,
           far_from_codes),
    Mutant("patch-vq/grown-encoder", "patch-vq", ("commitment-drift",), drifting_scale,
           far_from_codes),
    Mutant("cifar-vae/post-hoc-codes", "cifar-vae", ("post-hoc-gap",), post_hoc_codes(64),
           loses(1)),
    Mutant("cifar-batchnorm/post-hoc-codes", "cifar-batchnorm", ("post-hoc-gap",),
           post_hoc_codes(128), loses(1), black_box=True),
]
