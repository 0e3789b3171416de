"""One codebook: search, look-up, initialisation, learning and dead-code restart.

VQ holds one, residual VQ one per level. A codebook has exactly one owner: with update="ema" its
vectors are a buffer that only this file changes, with "gradient" a parameter that the optimiser
changes (and a restart re-places).

Shape letters: N vectors, D dimensions, K codes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.bottlenecks.checks import check_arguments
from pellucid.bottlenecks.collective import draw_rows, total_rows, total_sums
from pellucid.functional.code_statistics import CodeSums, code_sums
from pellucid.functional.kmeans import kmeans
from pellucid.functional.nearest_code import nearest_code
from pellucid.functional.straight_through import known_gradient

Update = Literal["ema", "gradient"]
Init = Literal["kmeans", "normal"]

# A code is dead when it holds less than this share of an even split N/K of the batch. In streams
# of drifting mixtures (N/K from 1 to 32) a quarter gave the lowest held-out error or near it, a
# tenth restarts too little, and one half starts to churn.
_DEAD_SHARE = 0.25
# A restarted code begins this far above the threshold: it has a few batches to win vectors, and
# leaves soon when it wins none.
_HEAD_START = 1.2
# Laplace smoothing of the EMA counts, as van den Oord et al. 2017 and their successors have it.
_COUNT_EPSILON = 1e-5


class Codebook(nn.Module):
    """K vectors of D numbers, with the statistics that keep them alive.

    Args:
        codes: K ≥ 2.
        dim: D.
        cosine: search by direction.
        unit: keep vectors on the unit sphere (the caller normalises what it searches).
        update: "ema" (van den Oord et al. 2017, appendix A.1) or "gradient".
        decay: of the EMA counts and sums.
        init: "kmeans" on the first training batch, or "normal" N(0, 1) numbers.
        kmeans_iterations: Lloyd iterations of that start.
        restart_threshold: a code whose EMA count (vectors per batch) is below this is moved, with
            its count and sum, onto a vector of the batch; 0 switches it off. None, and the most
            that a number may mean, is a quarter of an even split N/K: with few vectors per code a
            low count is ordinary.

    Raises:
        RecipeError: when an argument is out of range.
    """

    vectors: Tensor
    ema_counts: Tensor
    ema_sums: Tensor
    initialised: Tensor
    steps: Tensor

    def __init__(
        self,
        codes: int,
        dim: int,
        *,
        cosine: bool = False,
        unit: bool = False,
        update: Update = "ema",
        decay: float = 0.9,
        init: Init = "kmeans",
        kmeans_iterations: int = 10,
        restart_threshold: float | None = None,
    ) -> None:
        super().__init__()
        rules = {
            "codes": (codes >= 2, "an integer ≥ 2", codes),
            "dim": (dim >= 1, "an integer ≥ 1", dim),
            "update": (update in get_args(Update), "'ema' or 'gradient'", update),
            "decay": (0 < decay < 1, "between 0 and 1", decay),
            "init": (init in get_args(Init), "'kmeans' or 'normal'", init),
            "kmeans_iterations": (kmeans_iterations >= 1, "an integer ≥ 1", kmeans_iterations),
            "restart_threshold": (
                restart_threshold is None or restart_threshold >= 0,
                "≥ 0 EMA counts (0 = off), or null for a quarter of an even split",
                restart_threshold,
            ),
        }
        check_arguments("Codebook", rules)
        self.codes, self.dim = codes, dim
        self.cosine, self.unit = cosine, unit
        self.update, self.decay = update, decay
        self.kmeans_iterations = kmeans_iterations
        self.restart_threshold = restart_threshold

        vectors_KD = torch.randn(codes, dim)
        if unit:
            vectors_KD = F.normalize(vectors_KD, dim=1)
        if update == "gradient":
            self.vectors = nn.Parameter(vectors_KD)
        else:
            self.register_buffer("vectors", vectors_KD)
            self.register_buffer("ema_sums", vectors_KD.clone())
        self.register_buffer("ema_counts", torch.ones(codes))
        self.register_buffer("initialised", torch.tensor(init == "normal"))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.derived = ("ema_sums",) if update == "ema" else ()
        # A Python copy of the flag: reading the buffer would wait for a GPU at every step.
        self._ready = init == "normal"
        self.register_load_state_dict_post_hook(_reread_flag)

    def derive(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the EMA sums that vectors and counts stand for; {} where either is missing.

        One product per number, so that it rounds alike on every machine: files of codes are bound
        to every tensor of the model.
        """
        if not {"vectors", "ema_counts"} <= state.keys():
            return {}
        return {"ema_sums": state["vectors"].float() * state["ema_counts"].float()[:, None]}

    def table(self) -> Tensor:
        """Return the (K, D) vectors that the codes stand for."""
        return F.normalize(self.vectors, dim=1) if self.unit else self.vectors

    def search(self, z_ND: Tensor) -> Tensor:
        """Return the (N,) nearest codes of float32 vectors."""
        return nearest_code(z_ND, self.table(), cosine=self.cosine)

    def lookup(self, codes: Tensor) -> Tensor:
        """Return (..., D) the vectors of codes (...)."""
        return F.embedding(codes, self.table())

    @torch.no_grad()
    def prepare(self, z_ND: Tensor) -> None:
        """Start from k-means on the first training batch. Called before its search."""
        if not self._ready:
            # Disabled here and not by a decorator, which would import the compiler with this file.
            eager: Any = torch.compiler.disable(self._initialise)
            eager(z_ND)
        self.steps += 1

    @torch.no_grad()
    def observe(self, z_ND: Tensor, codes_N: Tensor) -> CodeSums:
        """Update the EMA statistics (all processes') and return this process's sums.

        Dead codes restart here, after the search: a code that moved before it would code the very
        vector it was moved onto without error. Where a batch has few vectors per code that is a
        large part of them, level after level, and the decoder learns from codes that no other
        batch will see.
        """
        here = code_sums(z_ND, codes_N, self.codes)
        everywhere = total_sums(here)
        self.ema_counts.lerp_(everywhere.counts, 1 - self.decay)
        if self.update == "ema":
            self.ema_sums.lerp_(everywhere.sums, 1 - self.decay)
            self._vectors_from_ema()
        if self.restart_threshold == 0:
            return here
        moved_K1 = self._restart(z_ND)[:, None]
        if self.update == "ema":
            return here
        # What chose a code at its old place must not pull it from the new one.
        still_KD = here.counts[:, None] * self.table()
        return dataclasses.replace(here, sums=torch.where(moved_K1, still_KD, here.sums))

    def loss(self, sums: CodeSums, error: Tensor) -> Tensor:
        """Return mean ‖sg(z) − c‖² per element, whose gradient reaches the codebook only.

        Its gradient is 2(n_k·c_k − s_k)/elements, so the graph holds K vectors and not N.

        Args:
            sums: counts n_k and sums s_k of the vectors z that chose each code.
            error: scalar, the value of the loss.
        """
        table_KD = self.table()
        elements = sums.counts.sum() * self.dim
        gradient_KD = (sums.counts[:, None] * table_KD.detach() - sums.sums) * (2 / elements)
        return known_gradient(table_KD, error, gradient_KD)

    def _initialise(self, z_ND: Tensor) -> None:
        fitted = kmeans(
            z_ND,
            self.codes,
            iterations=self.kmeans_iterations,
            cosine=self.cosine,
            unit=self.unit,
            draw=draw_rows,
            total=total_sums,
        )
        self.vectors.data.copy_(fitted.vectors)
        self.ema_counts.copy_(fitted.counts)
        if self.update == "ema":
            self.ema_sums.copy_(fitted.vectors * fitted.counts[:, None])
        self.initialised.fill_(True)
        self._ready = True

    def _restart(self, z_ND: Tensor) -> Tensor:
        """Move dead codes onto vectors of the batch and return (K,) which those were.

        No branch on their number: no GPU wait.
        """
        share = total_rows(z_ND) * (_DEAD_SHARE / self.codes)
        threshold = torch.as_tensor(share, dtype=torch.float32, device=z_ND.device)
        if self.restart_threshold is not None:
            threshold = threshold.clamp(max=self.restart_threshold)
        dead_K = self.ema_counts < threshold
        drawn_KD = draw_rows(z_ND, self.codes, self.steps)
        # .data: the optimiser's parameter is re-placed without invalidating an earlier graph.
        self.vectors.data.copy_(torch.where(dead_K[:, None], drawn_KD, self.vectors))
        start = _HEAD_START * threshold
        self.ema_counts.copy_(torch.where(dead_K, start, self.ema_counts))
        if self.update == "ema":
            restarted_KD = drawn_KD * start
            self.ema_sums.copy_(torch.where(dead_K[:, None], restarted_KD, self.ema_sums))
        return dead_K

    def _vectors_from_ema(self) -> None:
        total = self.ema_counts.sum()
        smooth_K = (self.ema_counts + _COUNT_EPSILON) / (total + self.codes * _COUNT_EPSILON)
        vectors_KD = self.ema_sums / (smooth_K * total)[:, None]
        self.vectors.copy_(F.normalize(vectors_KD, dim=1) if self.unit else vectors_KD)

    def extra_repr(self) -> str:
        """Describe the codebook in a printed model."""
        return f"codes={self.codes}, dim={self.dim}, update={self.update}, cosine={self.cosine}"


def _reread_flag(codebook: nn.Module, _: object) -> None:
    codebook._ready = bool(codebook.initialised)  # type: ignore[assignment]
