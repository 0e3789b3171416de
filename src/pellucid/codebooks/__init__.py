"""Codebooks fitted after training, on the latents of a model that knew nothing of codes.

What a fitted codebook leaves in RUN/codebooks/NAME/, replaced as a whole or not at all:

codebook.json          schema, name, method, source, size, dim, rule, model (fingerprint of the
                       weights it was fitted on), settings, scores on held-out data, connectivity
codebook.safetensors   "vectors" (K, D), and what its assignment rule needs besides
codes.safetensors      per split "train.codes" (N, P…) int32 and, where there are labels,
                       "train.labels" (N,) int64; likewise "validation.…" and "test.…"
decoder.safetensors    the decoder tuned for these codes, and tuning.json what that won; only after
                       `pellucid tune-decoder`

In Python:

    codebook = Codebook.open(run.folder, "kmeans-512", run.load())
    codes = codebook.encode(latent.mean)       # (B, P…) int64, by the rule it was fitted with
    z = codebook.lookup(codes)                 # (B, D, P…)
    x_hat = codebook.decode(codes)             # through the tuned decoder when there is one
    stored = read_codes(run.folder, "kmeans-512", "train")      # .codes (N, P…), .labels or None

Shape letters: N samples or rows, B batch, D latent channels, P positions (any number of axes),
K codes.
"""

from pellucid.codebooks.codebook import Codebook
from pellucid.codebooks.codes import Codes, read_codes
from pellucid.codebooks.files import codebook_names
from pellucid.codebooks.latents import Latents, export_latents, open_latents

__all__ = [
    "Codebook",
    "Codes",
    "Latents",
    "codebook_names",
    "export_latents",
    "open_latents",
    "read_codes",
]
