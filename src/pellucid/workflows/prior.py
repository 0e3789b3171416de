"""Train a prior over a run's codes and measure it on held-out ones."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from pellucid.errors import DataError, RecipeError, RunError
from pellucid.models.precision import Precision
from pellucid.workflows.progress import progress_bar
from pellucid.workflows.run import Run
from pellucid.workflows.tokens import Encoded, Tokenizer, encode_split

if TYPE_CHECKING:
    from pellucid.priors.conditions import CodeSet
    from pellucid.priors.layout import Layout
    from pellucid.priors.stored import PriorRecord
    from pellucid.priors.transformer import CodeTransformer

OWN = "own"
"""Name of the prior over a run's own codes."""

_SPLITS = ("train", "validation", "test")


def train_prior(
    run: str | Path | Run,
    *,
    codebook: str | None = None,
    name: str | None = None,
    width: int = 256,
    layers: int = 4,
    heads: int = 4,
    hidden: int | None = None,
    dropout: float = 0.1,
    tied: bool = False,
    classes: bool = True,
    class_names: tuple[str, ...] | None = None,
    text: Literal["bytes", "clip"] | None = "bytes",
    text_model: str | None = None,
    captions: str | None = None,
    steps: int = 2000,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.05,
    warmup_steps: int = 100,
    clip_norm: float = 1.0,
    condition_dropout: float = 0.15,
    validate_every: int = 250,
    patience: int | None = 6,
    precision: Precision = "auto",
    seed: int = 0,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Train a transformer over the codes of a run's training split; write `RUN/priors/NAME/`.

    Args:
        run: the run or its folder.
        codebook: a post-hoc codebook of the run; None takes its own codes.
        name: of the prior; by default the codebook's, or "own".
        width: of the transformer.
        layers: number of its blocks.
        heads: attention heads.
        hidden: width of its MLPs; None takes four times the width.
        dropout: on embeddings and branches.
        tied: share the embedding of codes with the output layer.
        classes: condition on the data's classes, where it has some.
        class_names: names for the data's classes, in their order, where the data has numbers only.
        text: how prompts are understood: "bytes" learns to, "clip" asks a frozen text model.
        text_model: name or folder of that model.
        captions: JSON or CSV, file → text; without one, phrases are made from class names.
        steps: optimiser steps.
        batch_size: samples per step.
        learning_rate: its peak.
        weight_decay: AdamW's.
        warmup_steps: of the learning rate.
        clip_norm: largest gradient norm.
        condition_dropout: share of samples that are told nothing, for guidance.
        validate_every: steps between validations and checkpoints.
        patience: validations without improvement before stopping; None never stops early.
        precision: number format of training.
        seed: of weights, order and conditions.
        resume: continue an interrupted training exactly.
        overwrite: replace a finished prior of that name.
        progress: draw progress bars.

    Returns:
        The content of prior.json.

    Raises:
        RunError: when the run has no codes, or a prior of that name stands there already.
        RecipeError: for a value without a meaning.
        DataError: when the data is gone or captions do not fit it.
    """
    from pellucid.priors.schedule import Schedule

    opened = Run.open(run)
    tokenizer = Tokenizer.open(opened, codebook)
    folder = opened.folder.prior(name or codebook or OWN)
    _prepare_folder(folder, resume=resume, overwrite=overwrite)
    schedule = Schedule(
        steps, batch_size, learning_rate, weight_decay, warmup_steps, clip_norm,
        condition_dropout, validate_every, patience, precision, seed,
    )  # fmt: skip
    data: Any = opened.data()
    splits = {}
    for split in _SPLITS:
        with progress_bar(f"encoding {split}", shown=progress) as report:
            splits[split] = encode_split(tokenizer, getattr(data, split), progress=report)
    known = _Known.of(
        splits, data.classes, tokenizer, classes=classes, class_names=class_names, text=text,
        text_model=text_model, captions=captions,
    )  # fmt: skip
    sizes = {"width": width, "layers": layers, "heads": heads, "hidden": hidden,
             "dropout": dropout, "tied": tied}  # fmt: skip
    model, keywords = known.model(sizes, tokenizer, seed)
    record = _train(model, keywords, known, folder, schedule, tokenizer, resume, progress)
    return record.to_json()


def _prepare_folder(folder: Path, *, resume: bool, overwrite: bool) -> None:
    from pellucid.priors.stored import CHECKPOINT, RECORD

    if (folder / RECORD).is_file():
        if not overwrite:
            raise RunError(
                "a prior of this name is finished already",
                where=folder,
                hint="choose another --name, or replace it: --overwrite",
            )
        shutil.rmtree(folder)
    elif (folder / CHECKPOINT).is_dir() and not resume:
        if not overwrite:
            raise RunError(
                "a training of this prior was interrupted",
                where=folder,
                hint="go on with --resume, or begin again with --overwrite",
            )
        shutil.rmtree(folder)


@dataclasses.dataclass(frozen=True)
class _Known:
    """The codes of every split with what is told of them."""

    layout: Layout
    sets: dict[str, CodeSet]
    classes: tuple[str, ...]
    told_classes: bool
    text: str | None
    text_model: str | None
    text_width: int | None

    @classmethod
    def of(
        cls,
        splits: Mapping[str, Encoded],
        data_classes: Any,
        tokenizer: Tokenizer,
        *,
        classes: bool,
        class_names: tuple[str, ...] | None,
        text: str | None,
        text_model: str | None,
        captions: str | None,
    ) -> _Known:
        from pellucid.priors.layout import Layout

        labelled = splits["train"].labels is not None
        names = _class_names(tuple(data_classes), class_names) if labelled else ()
        if not labelled and captions is None:
            text = None  # there is nothing to say about these samples
        layout = Layout.of(splits["train"].codes, size=tokenizer.size, levels=tokenizer.levels)
        embed, text_width = _text_embedder(text, text_model)
        sets = {
            split: _code_set(found, layout, names, captions, embed)
            for split, found in splits.items()
        }
        return cls(layout, sets, names, classes and labelled, text, text_model, text_width)

    def model(
        self, sizes: Mapping[str, Any], tokenizer: Tokenizer, seed: int
    ) -> tuple[CodeTransformer, dict[str, Any]]:
        """Return a fresh model and the keywords that build another."""
        from pellucid.priors.transformer import CodeTransformer

        keywords = dict(sizes)
        keywords["classes"] = len(self.classes) if self.told_classes else 0
        keywords["text"] = self.text if self.text_width is None else self.text_width
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = CodeTransformer(self.layout, **keywords)
            if tokenizer.vectors is not None:
                model.start_from(tokenizer.vectors)
        return model, keywords


def _class_names(found: tuple[str, ...], given: tuple[str, ...] | None) -> tuple[str, ...]:
    if given is None:
        return found
    if len(given) != len(found):
        raise RecipeError(
            "'class_names' does not fit the data",
            expected=f"{len(found)} names, in the order of {', '.join(found)}",
            found=f"{len(given)} names",
        )
    return tuple(given)


def _text_embedder(text: str | None, text_model: str | None) -> tuple[Any, int | None]:
    """Return prompts → tensor, and the width of vectors when a frozen model makes them."""
    from pellucid.priors.text import to_bytes

    if text is None:
        return None, None
    if text == "clip":
        from pellucid.priors.clip_text import ClipText

        clip = ClipText.open(text_model)
        return clip.encode, clip.width
    return to_bytes, None


def _code_set(
    found: Encoded, layout: Layout, names: tuple[str, ...], captions: str | None, embed: Any
) -> CodeSet:
    from pellucid.priors.conditions import CodeSet
    from pellucid.priors.phrases import phrases_from_captions, phrases_from_classes, read_captions

    sequences = layout.to_sequence(found.codes)
    if embed is None:
        return CodeSet(sequences, found.labels)
    if captions is not None:
        phrases = phrases_from_captions(read_captions(captions), found.names)
    else:
        assert found.labels is not None
        phrases = phrases_from_classes(names, found.labels.tolist())
    return CodeSet(sequences, found.labels, embed(phrases.prompts), phrases.choices)


def _train(
    model: CodeTransformer,
    keywords: dict[str, Any],
    known: _Known,
    folder: Path,
    schedule: Any,
    tokenizer: Tokenizer,
    resume: bool,
    progress: bool,
) -> PriorRecord:
    from pellucid.priors.fit import fit_prior
    from pellucid.priors.stored import CHECKPOINT, PriorRecord, save_prior

    sets = {
        split: codes if known.told_classes else dataclasses.replace(codes, labels=None)
        for split, codes in known.sets.items()
    }
    with progress_bar("training the prior", shown=progress) as report:
        fitted = fit_prior(
            model,
            sets["train"],
            sets["validation"],
            folder / CHECKPOINT,
            schedule,
            resume=resume,
            progress=report,
        )
    results = {
        **dataclasses.asdict(fitted),
        "parameters": sum(p.numel() for p in model.parameters()),
        "held_out": _held_out(model, sets, known.layout, schedule.precision),
    }
    record = PriorRecord(
        layout=known.layout,
        model=keywords,
        tokens=tokenizer.identity,
        codebook=tokenizer.codebook,
        classes=known.classes,
        text=known.text,
        text_model=known.text_model,
        training=dataclasses.asdict(schedule),
        results=results,
    )
    save_prior(model, record, folder)
    shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)
    return record


def _held_out(
    model: CodeTransformer, sets: Mapping[str, CodeSet], layout: Layout, precision: Precision
) -> dict[str, Any]:
    """Return bits per code on the test split, beside what counting alone reaches."""
    from pellucid.priors.fit import validate
    from pellucid.priors.ngrams import baselines

    held_out = sets["test"]
    if not len(held_out):
        raise DataError("there are no held-out codes", where="data.test", expected="above 0")
    told, absent = validate(model, held_out, precision=precision)
    counted = baselines(sets["train"].sequences, held_out.sequences, layout)
    conditional = held_out.labels is not None or held_out.prompts is not None
    return {
        "split": "test",
        "unit": "bits per code",
        "n": len(held_out),
        "codes": held_out.sequences.numel(),
        "conditional": told if conditional else None,
        "unconditional": absent,
        "unigram": counted.unigram,
        "bigram": counted.bigram,
        "uniform": counted.uniform,
    }
