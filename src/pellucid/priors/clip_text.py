"""Prompts as vectors of a frozen CLIP text model, where its weights are already on this machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from pellucid.errors import RunError, require

DEFAULT = "openai/clip-vit-base-patch32"
_FILES = "config.json, model.safetensors, vocab.json, merges.txt, tokenizer_config.json"


@dataclasses.dataclass(frozen=True)
class ClipText:
    """Embed prompts with a CLIP text model that is never trained.

    Args:
        name: of the model.
        width: size of its vectors.
        encode: prompts → (N, width) unit vectors.
    """

    name: str
    width: int
    encode: Callable[[Sequence[str]], Tensor]

    @classmethod
    def open(cls, model: str | None = None) -> ClipText:
        """Open a model by name from the cache of its library, or from a folder.

        The files are those of transformers; nothing is downloaded.

        Args:
            model: the name or folder; None takes openai/clip-vit-base-patch32.

        Raises:
            MissingExtraError: when the library is not installed.
            RunError: when the weights are not there; says which file to put where.
        """
        return _load(model or DEFAULT)


def _load(name: str) -> ClipText:
    library = require("transformers", extra="text", purpose="CLIP text")
    try:
        # weights as safetensors only: a pickle is never read
        network = library.CLIPTextModelWithProjection.from_pretrained(
            name, local_files_only=True, use_safetensors=True
        ).eval()
        tokenizer = library.CLIPTokenizer.from_pretrained(name, local_files_only=True)
    except (OSError, ValueError) as error:
        from huggingface_hub.constants import HF_HUB_CACHE

        place = Path(name) if Path(name).is_dir() else Path(HF_HUB_CACHE)
        raise RunError(
            f"the CLIP text model '{name}' is not on this machine, and nothing is downloaded",
            where=place,
            expected=f"{_FILES} of {name}",
            found=(str(error).splitlines() or [type(error).__name__])[0],
            hint="put them into a folder and say text_model=FOLDER, or take text=bytes",
        ) from error
    longest = int(network.config.max_position_embeddings)

    @torch.no_grad()
    def encode(prompts: Sequence[str]) -> Tensor:
        parts = []
        for start in range(0, len(prompts), 64):
            batch = list(prompts[start : start + 64])
            tokens = tokenizer(
                batch, padding=True, truncation=True, max_length=longest, return_tensors="pt"
            )
            parts.append(network(**tokens).text_embeds)
        return _unit(torch.cat(parts))

    return ClipText(name, int(network.config.projection_dim), encode)


def _unit(vectors_NE: Tensor) -> Tensor:
    return torch.nn.functional.normalize(vectors_NE.float(), dim=1)
