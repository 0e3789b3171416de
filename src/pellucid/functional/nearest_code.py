"""Find the nearest code of every vector: exact, in float32, in chunks that stay in cache.

Shape letters: N vectors, D dimensions, K codes.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

# Scores of one chunk: 8 MiB on a CPU stay in the outer cache, so they are read back while warm;
# a GPU wants few large launches and only a bound on memory.
_SCORES_PER_CHUNK = {"cpu": 2**21}
_SCORES_PER_CHUNK_ELSEWHERE = 2**26


def nearest_code(z_ND: Tensor, vectors_KD: Tensor, *, cosine: bool = False) -> Tensor:
    """Return for every vector the index of its nearest code.

    Euclidean: argmin_k ‖z − c_k‖² = argmax_k ⟨z, c_k⟩ − ½‖c_k‖².  Cosine: argmax_k ⟨z, c_k⟩/‖c_k‖.
    Always computed in float32, whatever autocast or the matmul precision setting say; carries
    no gradient.

    Args:
        z_ND: (N, D) vectors.
        vectors_KD: (K, D) codebook.
        cosine: compare directions instead of positions.

    Returns:
        (N,) int64 codes in [0, K).
    """
    return torch.ops.pellucid.nearest_code(z_ND.detach(), vectors_KD.detach(), cosine)


# An opaque operator: torch.compile calls it as it is, so compiled and eager codes are equal.
@torch.library.custom_op("pellucid::nearest_code", mutates_args=())
def _nearest_code(z_ND: Tensor, vectors_KD: Tensor, cosine: bool) -> Tensor:
    with full_precision(z_ND.device.type):
        return CodeTable.of(vectors_KD, cosine=cosine).search(z_ND.float())


@_nearest_code.register_fake
def _(z_ND: Tensor, vectors_KD: Tensor, cosine: bool) -> Tensor:
    return z_ND.new_empty(z_ND.shape[0], dtype=torch.int64)


@dataclasses.dataclass(frozen=True)
class CodeTable:
    """A codebook as the search reads it; of the vectors that it was made from, for as long.

    Args:
        origin_D: (D,) what is taken from every vector first.
        queries_KE: (K, D + 1) centred codes, or directions, with the bias as one more dimension.
    """

    origin_D: Tensor
    queries_KE: Tensor

    @classmethod
    def of(cls, vectors_KD: Tensor, *, cosine: bool = False) -> CodeTable:
        """Prepare a (K, D) codebook for many searches."""
        vectors_KD = vectors_KD.detach().float()
        # The bias −½‖c‖² rides along as one more dimension, which is cheaper than adding it to
        # the scores; taking the mean from both sides keeps ‖c‖² small beside the differences.
        if cosine:
            origin_D = vectors_KD.new_zeros(vectors_KD.shape[1])
            return cls(origin_D, F.pad(F.normalize(vectors_KD, dim=1), (0, 1)))
        origin_D = vectors_KD.mean(dim=0)
        centred_KD = vectors_KD - origin_D
        bias_K1 = centred_KD.square().sum(dim=1, keepdim=True).mul_(-0.5)
        return cls(origin_D, torch.cat([centred_KD, bias_K1], dim=1))

    def search(self, z_ND: Tensor) -> Tensor:
        """Return the (N,) nearest codes of float32 vectors, as `nearest_code` finds them.

        The caller sees to it that products are done in full precision.
        """
        n, d = z_ND.shape
        k = self.queries_KE.shape[0]
        chunk = _SCORES_PER_CHUNK.get(z_ND.device.type, _SCORES_PER_CHUNK_ELSEWHERE) // k
        chunk = max(1, chunk)
        if n <= chunk:  # a live codec asks for one vector at a time: as few steps as there can be
            keys_NE = F.pad(z_ND - self.origin_D, (0, 1), value=1.0)
            return torch.mm(keys_NE, self.queries_KE.t()).max(dim=1).indices
        keys_nE = z_ND.new_ones(chunk, d + 1)
        scores_nK = z_ND.new_empty(chunk, k)
        codes_N = torch.empty(n, dtype=torch.int64, device=z_ND.device)
        for start in range(0, n, chunk):
            stop = min(start + chunk, n)
            keys, scores = keys_nE[: stop - start], scores_nK[: stop - start]
            torch.sub(z_ND[start:stop], self.origin_D, out=keys[:, :d])
            torch.mm(keys, self.queries_KE.t(), out=scores)
            # max with indices is vectorised on the CPU, argmax is not: four times faster.
            codes_N[start:stop] = scores.max(dim=1).indices
        return codes_N


@contextlib.contextmanager
def full_precision(device_type: str) -> Iterator[None]:
    """Switch off autocast and reduced-precision float32 products (TF32, bf16) inside."""
    backends = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)  # type: ignore[attr-defined]
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        with torch.autocast(device_type, enabled=False):
            yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision
