"""A fitted codebook, alive: latents to codes, codes to vectors, codes to samples.

Shape letters: B batch, D latent channels, P positions (any number of axes), K codes.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pellucid.atomic_files import whole_folder, write_atomically
from pellucid.bottlenecks.checks import check_codes
from pellucid.codebooks.codes import Codes, pack_codes
from pellucid.codebooks.files import SCHEMA, CodebookFiles
from pellucid.codebooks.latents import model_fingerprint
from pellucid.codebooks.rules import Rule, grid_patches, read_rule
from pellucid.errors import PellucidError, RunError
from pellucid.models.autoencoder import Autoencoder
from pellucid.models.weights import load_weights, read_tensors
from pellucid.run_folder import RunFolder


class Codebook:
    """Map latents to codes and codes to samples with a codebook that was fitted afterwards.

    Args:
        name: of its folder.
        vectors_KD: what the codes stand for, in the decoder's space.
        rule: latents → codes.
        autoencoder: the model it was fitted on, in evaluation mode.
        decoder: tuned for its codes; None takes the model's own.
        record: what codebook.json holds.
    """

    def __init__(
        self,
        name: str,
        vectors_KD: Tensor,
        rule: Rule,
        autoencoder: Autoencoder,
        *,
        decoder: nn.Module | None = None,
        record: Mapping[str, Any] | None = None,
    ) -> None:
        self.name, self.vectors, self.rule = name, vectors_KD, rule
        self.autoencoder, self.decoder = autoencoder, decoder
        self.record: Mapping[str, Any] = record or {}

    @classmethod
    def open(
        cls, folder: RunFolder, name: str, autoencoder: Autoencoder, *, tuned: bool = True
    ) -> Codebook:
        """Open RUN/codebooks/NAME/ for the run's own model.

        Args:
            folder: of the run.
            name: of the codebook.
            autoencoder: the run's model, in evaluation mode, on the CPU.
            tuned: decode through the tuned decoder where there is one.

        Raises:
            RunError: when there is none of that name, a file is damaged, or it was fitted on other
                weights than these.
        """
        files = CodebookFiles(folder, name)
        record = files.read_record()
        model = model_fingerprint(autoencoder)
        if record["model"] != model:
            raise RunError(
                "this codebook belongs to another model",
                where=files.path,
                expected=f"weights {model}",
                found=f"weights {record['model']}",
                hint=f"fit it again: pellucid codebook {folder.path} --method {record['method']}",
            )
        tensors = read_tensors(files.tensors)
        patches = grid_patches(torch.no_grad()(autoencoder.decode), autoencoder.stride)
        rule = read_rule(record["rule"], tensors, patches)
        decoder = _tuned_decoder(files, autoencoder) if tuned else None
        vectors = tensors["vectors"]
        return cls(name, vectors, rule, autoencoder, decoder=decoder, record=record)

    @property
    def size(self) -> int:
        """K."""
        return len(self.vectors)

    @torch.no_grad()
    def encode(self, mean_BDP: Tensor) -> Tensor:
        """Return codes (B, P…) int64 of latents (B, D, P…) by the codebook's rule.

        Raises:
            PellucidError: when the latents have other channels than the codebook.
        """
        if mean_BDP.dim() < 2 or mean_BDP.shape[1] != self.vectors.shape[1]:
            raise PellucidError(
                "these latents do not fit the codebook",
                where=f"codebook '{self.name}'",
                expected=f"(B, {self.vectors.shape[1]}, positions…)",
                found=tuple(mean_BDP.shape),
            )
        return self.rule(mean_BDP)

    def lookup(self, codes_BP: Tensor) -> Tensor:
        """Return the vectors (B, D, P…) of codes (B, P…).

        Raises:
            PellucidError: when a code is not an integer in [0, K).
        """
        check_codes(codes_BP, self.size, where=f"codebook '{self.name}'")
        return F.embedding(codes_BP.long(), self.vectors).movedim(-1, 1)

    @torch.no_grad()
    def decode(self, codes_BP: Tensor) -> Tensor:
        """Return the samples that codes stand for, through the tuned decoder when there is one.

        A tuned decoder goes without the model's postfilter, which was fitted to other errors.

        Raises:
            PellucidError: when a code is not an integer in [0, K).
        """
        z_BDP = self.lookup(codes_BP)
        if self.decoder is None:
            return self.autoencoder.decode(z_BDP)
        return self.decoder(z_BDP)


def save_codebook(
    folder: RunFolder, codebook: Codebook, codes: Mapping[str, Codes], record: Mapping[str, Any]
) -> None:
    """Write RUN/codebooks/NAME/ as a whole; an older one of that name is replaced.

    Raises:
        RunError: when it cannot be written.
    """
    tensors = {"vectors": codebook.vectors, **codebook.rule.tensors()}
    tensors = {name: value.contiguous() for name, value in tensors.items()}
    node = {
        "schema": SCHEMA,
        "name": codebook.name,
        "size": codebook.size,
        "dim": codebook.vectors.shape[1],
        "rule": codebook.rule.name,
        "model": model_fingerprint(codebook.autoencoder),
        **record,
    }
    files = CodebookFiles(folder, codebook.name)
    with whole_folder(files.path) as target:
        new = files.inside(target)
        write_atomically(new.tensors, safetensors.torch.save(tensors))
        write_atomically(new.codes, pack_codes(codes))
        folder.write_json(new.record, node)


def save_tuning(
    folder: RunFolder, name: str, decoder: nn.Module, tuning: Mapping[str, Any]
) -> None:
    """Write a codebook's tuned decoder and what it won; the decoder counts only with tuning.json.

    Raises:
        RunError: when it cannot be written.
    """
    files = CodebookFiles(folder, name)
    files.tuning.unlink(missing_ok=True)  # until both are new, the model's own decoder counts
    state = decoder.state_dict()
    tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
    write_atomically(files.decoder, safetensors.torch.save(tensors))
    folder.write_json(files.tuning, tuning)


def _tuned_decoder(files: CodebookFiles, autoencoder: Autoencoder) -> nn.Module | None:
    if files.read_tuning() is None:
        return None
    decoder = copy.deepcopy(autoencoder.decoder)
    load_weights(decoder, files.decoder)
    return decoder.eval().requires_grad_(False)
