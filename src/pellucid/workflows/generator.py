"""A run's prior with its tokenizer: conditions in, codes and the samples they decode to out.

Shape letters: N samples, D width of a condition, C channels, H, W pixels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pellucid.errors import RunError, unknown_name
from pellucid.workflows.prior import OWN
from pellucid.workflows.progress import progress_bar
from pellucid.workflows.run import Run
from pellucid.workflows.tokens import Tokenizer

if TYPE_CHECKING:
    from pellucid.priors.sampling import Drawing
    from pellucid.priors.stored import PriorRecord
    from pellucid.priors.transformer import CodeTransformer


@dataclasses.dataclass(frozen=True)
class Generator:
    """A prior and the tokenizer whose codes it draws.

    Args:
        tokenizer: codes → samples.
        model: the prior.
        record: what is known of it.
        folder: where it lies.
    """

    tokenizer: Tokenizer
    model: CodeTransformer
    record: PriorRecord
    folder: Path

    @classmethod
    def open(cls, run: str | Path | Run, prior: str | None = None) -> Generator:
        """Open a run's prior and check that it models the run's codes.

        Args:
            run: the run or its folder.
            prior: its name; None takes "own", or the only one there is.

        Raises:
            RunError: when there is no such prior, or the run's codes are no longer those it models.
        """
        from pellucid.priors.stored import load_prior, require_same_tokens

        opened = Run.open(run)
        folder = opened.folder.prior(_choose(opened, prior))
        model, record = load_prior(folder)
        tokenizer = Tokenizer.open(opened, record.codebook)
        require_same_tokens(record, tokenizer.identity, where=folder)
        return cls(tokenizer, model, record, folder)

    def conditions(
        self, count: int, *, prompts: Sequence[str] | None = None, labels: Tensor | None = None
    ) -> Tensor:
        """Return (count, D) condition vectors of prompts, of classes, or of nothing.

        An empty prompt says nothing. A class is told as such where the prior knows classes, else
        in words.

        Raises:
            DataError: when the prior understands no prompts.
        """
        if labels is not None and self.model.class_embed is None:
            prompts, labels = [self.record.classes[label] for label in labels.tolist()], None
        if prompts is None:
            return self.model.condition(count=count, labels=labels)
        said = torch.tensor([bool(prompt.strip()) for prompt in prompts])
        if not said.any():
            return self.model.condition(count=count)
        distinct = list(dict.fromkeys(prompts))
        texts_of = torch.tensor([distinct.index(prompt) for prompt in prompts])
        return self.model.condition(
            count=count, text=self._embed(distinct), texts_of=texts_of, keep_text=said
        )

    @torch.no_grad()
    def draw(
        self,
        condition_ND: Tensor,
        *,
        seed: int,
        drawing: Drawing,
        progress: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """Return codes and the samples (N, C, H, W) uint8 they decode to; sample i has seed + i."""
        from pellucid.priors.sampling import sample

        count = len(condition_ND)
        seeds = range(seed, seed + count)
        with progress_bar("drawing codes", shown=progress) as report:
            codes = sample(self.model, condition_ND, seeds, drawing=drawing, progress=report)
        value_range = self.tokenizer.value_range
        parts = []
        with progress_bar("decoding", shown=progress) as report:
            for start in range(0, count, 64):
                x_hat = self.tokenizer.decode(codes[start : start + 64])
                parts.append(value_range.to_uint8(x_hat))
                report(min(start + 64, count), count)
        return codes, torch.cat(parts)

    def _embed(self, prompts: Sequence[str]) -> Tensor:
        from pellucid.priors.text import to_bytes

        if self.record.text == "clip":
            from pellucid.priors.clip_text import ClipText

            return ClipText.open(self.record.text_model).encode(prompts)
        return to_bytes(prompts)


def _choose(run: Run, prior: str | None) -> str:
    from pellucid.priors.stored import RECORD

    known = sorted(path.parent.name for path in run.folder.priors.glob(f"*/{RECORD}"))
    if prior is not None:
        if known and prior not in known:
            raise unknown_name("prior", prior, known, where=run.folder.priors)
        return prior
    if not known:
        raise RunError("this run has no prior", where=run.path, hint=f"pellucid prior {run.path}")
    if OWN in known or len(known) == 1:
        return OWN if OWN in known else known[0]
    raise RunError(
        "this run has several priors", where=run.folder.priors, found=", ".join(known),
        hint="name one with --prior",
    )  # fmt: skip
