"""A prior on disk: weights as safetensors, the rest as JSON, bound to the codes it models."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pellucid.errors import RunError
from pellucid.models.weights import load_weights, save_weights
from pellucid.priors.layout import Layout
from pellucid.priors.transformer import CodeTransformer
from pellucid.run_folder import RunFolder

WEIGHTS, RECORD, CHECKPOINT = "model.safetensors", "prior.json", "checkpoint"


@dataclasses.dataclass(frozen=True)
class PriorRecord:
    """What must be known of a prior to use it.

    Args:
        layout: shape of the codes.
        model: keywords of `CodeTransformer` besides the layout.
        tokens: fingerprint of the tokenizer whose codes it models.
        codebook: name of the post-hoc codebook, or None for the run's own codes.
        classes: class names in the order of labels; empty without.
        text: "bytes", "clip" or None.
        text_model: name or folder of the frozen text model, for "clip".
        training: keywords of the schedule.
        results: what was measured on held-out codes.
    """

    layout: Layout
    model: Mapping[str, Any]
    tokens: str
    codebook: str | None
    classes: tuple[str, ...]
    text: str | None
    text_model: str | None
    training: Mapping[str, Any]
    results: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return the plain dictionary written to prior.json."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, node: Mapping[str, Any], *, where: Path) -> PriorRecord:
        """Read what `to_json` wrote.

        Raises:
            RunError: when it is of another form.
        """
        try:
            known = {field.name: node[field.name] for field in dataclasses.fields(cls)}
            layout = known["layout"]
            known["layout"] = Layout(layout["codes"], tuple(layout["grid"]), layout["levels"])
            known["classes"] = tuple(known["classes"])
        except (KeyError, TypeError) as error:
            raise RunError("this record of a prior is damaged", where=where, found=error) from error
        return cls(**known)


def save_prior(model: CodeTransformer, record: PriorRecord, folder: Path) -> None:
    """Write weights, then the record: a folder without a record is not a prior.

    Raises:
        RunError: when it cannot be written.
    """
    save_weights(model, folder / WEIGHTS)
    RunFolder(folder).write_json(folder / RECORD, record.to_json())


def load_prior(folder: Path) -> tuple[CodeTransformer, PriorRecord]:
    """Return the prior in eval mode and its record.

    Raises:
        RunError: when it is missing, unfinished or damaged.
    """
    if not (folder / RECORD).is_file():
        unfinished = (folder / CHECKPOINT).is_dir()
        raise RunError(
            "this prior is not finished" if unfinished else "there is no such prior",
            where=folder,
            hint="pellucid prior RUN --resume" if unfinished else "pellucid prior RUN",
        )
    node = RunFolder(folder).read_json(folder / RECORD)
    record = PriorRecord.from_json(node, where=folder / RECORD)
    model = CodeTransformer(record.layout, **record.model)
    load_weights(model, folder / WEIGHTS)
    return model.eval(), record


def require_same_tokens(record: PriorRecord, tokens: str, *, where: Path) -> None:
    """Refuse to decode codes with another tokenizer than the one that wrote them.

    Raises:
        RunError: when the prior models other codes.
    """
    if record.tokens != tokens:
        raise RunError(
            "this prior models other codes",
            where=where,
            expected=f"codes of {record.tokens}",
            found=f"a tokenizer with fingerprint {tokens}",
            hint="the run was trained on, or the codebook made anew: train the prior again",
        )
