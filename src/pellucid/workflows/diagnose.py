"""Say why reconstructions are bad: of a run, or of anybody's model."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor, nn

from pellucid.errors import PellucidError, unknown_name
from pellucid.workflows.run import Run
from pellucid.workflows.subject_adversary import load_opponent, observed, real_step
from pellucid.workflows.subject_cells import cell_facts, padded_sets
from pellucid.workflows.subject_data import held_out, subject_data
from pellucid.workflows.subject_symmetry import canonical, symmetry_facts

if TYPE_CHECKING:
    from pellucid.diagnosis import Diagnosis, Subject
    from pellucid.objectives.objective import Objective
    from pellucid.recipe import Recipe


def diagnose(
    subject: Any,
    train: Any = None,
    validation: Any = None,
    confirm: bool = False,
    budget_seconds: float = 60,
    goal: str | None = None,
) -> Diagnosis:
    """Say why reconstructions are bad, with the numbers, and leave the model as it was.

    Args:
        subject: a run (or its folder), a `Subject`, or an nn.Module with `encode` and `decode`.
        train: the training samples; a run brings its own. See `pellucid.diagnosis.diagnose`.
        validation: held-out samples; a run brings its own.
        confirm: run interventions on what was found.
        budget_seconds: time to keep to.
        goal: e.g. "psnr>40" or "snr>30".

    Raises:
        PellucidError: when the subject cannot be run on the data, or the data cannot be used.
    """
    from pellucid.diagnosis import diagnose as examine

    if isinstance(subject, str | Path | Run):
        run = Run.open(subject)
        found = examine_run(run, confirm=confirm, budget_seconds=budget_seconds, goal=goal)
        run.folder.write_json(run.folder.diagnosis, found.to_dict())
        return found
    if train is None:
        raise PellucidError(
            "a model is diagnosed on data", where="train", expected="a tensor, Dataset or loader"
        )
    return examine(subject, train, validation, confirm, budget_seconds, goal)


def diagnose_factory(
    spec: str,
    data: str | Path,
    *,
    size: int | None = None,
    channels: Literal[1, 3] = 3,
    length: int | None = None,
    sample_rate: float | None = None,
    confirm: bool = False,
    budget_seconds: float = 60,
    goal: str | None = None,
) -> Diagnosis:
    """Diagnose what `package.module:factory` returns, on images, waveforms or channel stacks.

    Args:
        spec: a module and a function in it that takes nothing and returns a `Subject` or an
            nn.Module with `encode` and `decode`; the current directory is searched first.
        data: a folder or a file, see `subject_data`.
        size: side of the crops of images and stacks; None takes 64.
        channels: 1 or 3, of images.
        length: samples of a waveform's crop; None takes 16384.
        sample_rate: in hertz; None takes the subject's, else the files'.
        confirm: see `diagnose`.
        budget_seconds: see `diagnose`.
        goal: see `diagnose`.

    Raises:
        PellucidError: when the factory cannot be found or called.
        DataError: when there is nothing to read.
    """
    from pellucid.diagnosis import as_subject
    from pellucid.diagnosis import diagnose as examine

    subject = as_subject(_call_factory(spec))
    train, validation = subject_data(
        data,
        value_range=subject.value_range,
        size=size,
        channels=channels,
        length=length,
        sample_rate=sample_rate or subject.sample_rate,
    )
    return examine(subject, train, validation, confirm, budget_seconds, goal)


def subject_of(run: Run) -> Subject:
    """Describe a run's model with all that the run knows: losses, optimiser, codebooks, history."""
    from pellucid.build.assemble import build_objective, data_facts, squared_error_kl_weight
    from pellucid.diagnosis import Subject
    from pellucid.models.cell_autoencoder import CellAutoencoder
    from pellucid.training.forward import run_forward
    from pellucid.training.freezing import still_modules
    from pellucid.training.optimizer import build_optimizer

    autoencoder = run.load()
    # schedules (annealing, cycles) stand where training left them, not at their start
    taken = int(run.status().get("step", 0))
    autoencoder.at_step(taken)
    objective = build_objective(run.recipe)
    opponent = load_opponent(run, autoencoder, objective)
    rival = None if opponent is None else observed(opponent, taken)
    facts = run.value_range

    def loss_terms(x: Tensor) -> dict[str, Tensor]:
        batch = {"x": x, "target": x}
        forward = run_forward(autoencoder, objective, batch, precision="float32", rival=rival)
        terms = forward.objective.terms
        return {name: term.weighted for name, term in terms.items() if term.weight > 0}

    bottleneck = autoencoder.bottleneck
    totals = [
        line["values"]["total"]
        for line in run.folder.read_metrics()
        if line["split"] == "validation" and "total" in line["values"]
    ]
    bits = bottleneck.bits_per_position
    optimizer = build_optimizer(autoencoder, **_optimizer_keywords(run))
    played: dict[str, Any] = {"frozen": still_modules(autoencoder.encoder, "encoder")}
    if opponent is not None:
        played["discriminator"] = opponent.discriminator
        played["training_step"] = real_step(run, autoencoder, objective, optimizer, opponent, taken)
        if opponent.adversary.freeze_encoder:
            played["frozen"] = ("encoder", "bottleneck")
    if isinstance(autoencoder, CellAutoencoder):
        positions = autoencoder.encoder.tokens
        own = cell_facts(autoencoder, loss_terms, squared_error_kl_weight(run.recipe), run.data())
    else:
        positions, own = _positions(run), symmetry_facts(autoencoder)
    subject = Subject(
        encode=autoencoder.encode,
        decode=autoencoder.decode,
        forward=lambda x: autoencoder.finished(autoencoder(x).x_hat),
        modules=_modules(autoencoder),
        loss_terms=loss_terms,
        optimizers=[optimizer, *([] if opponent is None else [opponent.optimizer])],
        codebook=_codebooks(bottleneck),
        loss_networks=_loss_networks(objective),
        kl_weight=squared_error_kl_weight(run.recipe),
        value_range=(0, 1) if facts is None else (facts.low, facts.high),
        sample_rate=data_facts(run.recipe).sample_rate,
        bits_per_sample=None if bits is None else bits * positions,
        history={"loss": totals} if totals else None,
        recipe=declared(run.recipe),
        **played,
    )
    return replace(subject, **own)


def _loss_networks(objective: Objective) -> dict[str, nn.Module]:
    """Return the networks that terms of positive weight read, by the name of the term."""
    terms = zip(objective.weights.items(), objective.terms, strict=True)
    return {
        name: network
        for (name, weight), term in terms
        if weight > 0 and isinstance(network := getattr(term, "network", None), nn.Module)
    }


def examine_run(
    run: Run, *, confirm: bool = False, budget_seconds: float = 60, goal: str | None = None
) -> Diagnosis:
    """Diagnose a run and put a recipe patch beside every finding that has one; write nothing."""
    from pellucid.diagnosis import diagnose as examine
    from pellucid.models.cell_autoencoder import CellAutoencoder
    from pellucid.workflows.treatments import propose

    data, subject, model = run.data(), subject_of(run), run.load()
    if isinstance(model, CellAutoencoder):
        train, held = padded_sets(model, data, data.train, held_out(data))
    else:
        train, held = (canonical(part, model) for part in (data.train, held_out(data)))
    found = examine(subject, train, held, confirm, budget_seconds, goal)
    patched = (replace(f, patch=propose(run.recipe, f)) for f in found.findings)
    return replace(found, findings=tuple(patched))


def _modules(autoencoder: Any) -> dict[str, nn.Module]:
    """Return the parts that learn by name."""
    parts: dict[str, nn.Module] = {
        "encoder": autoencoder.encoder,
        "bottleneck": autoencoder.bottleneck,
        "decoder": autoencoder.decoder,
    }
    permuter = autoencoder.permuter
    if permuter is not None and any(True for _ in permuter.parameters()):
        parts["permuter"] = permuter
    return parts


def declared(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe with the facts that rules ask for by name."""
    free_nats = recipe.bottleneck.get("free_nats") or None
    return recipe.to_node() | ({} if free_nats is None else {"free_bits": free_nats})


def _optimizer_keywords(run: Run) -> dict[str, Any]:
    """Return what the run's optimiser was built with: its recipe's values, else `fit`'s own."""
    from pellucid.build.construct import check_keywords
    from pellucid.training.fit import fit

    names = ("learning_rate", "betas", "weight_decay")
    defaults = {name: inspect.signature(fit).parameters[name].default for name in names}
    stated = {key: value for key, value in run.recipe.training.items() if key in names}
    given = {name: None for name in inspect.signature(fit).parameters if name not in names}
    return {**defaults, **check_keywords(fit, stated, where="training", given=given)}


def _codebooks(bottleneck: nn.Module) -> list[Tensor] | Tensor | None:
    from pellucid.bottlenecks import RVQ, VQ, SimVQ

    if isinstance(bottleneck, SimVQ):
        return bottleneck.table().detach()
    if isinstance(bottleneck, VQ):
        return bottleneck.codebook.table().detach()
    if isinstance(bottleneck, RVQ):
        books: list[Any] = list(bottleneck.codebooks)
        return [book.table().detach() for book in books]
    return None


def _positions(run: Run) -> int:
    from pellucid.build.assemble import build_autoencoder, data_facts

    facts = data_facts(run.recipe)
    return (facts.size // build_autoencoder(run.recipe, pretrained=False).stride) ** facts.axes


def _call_factory(spec: str) -> Any:
    module_name, _, name = spec.partition(":")
    if not name:
        raise PellucidError(
            "not a run folder, and not a factory",
            where=spec,
            expected="RUN, or package.module:factory",
        )
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise PellucidError(
            "cannot import the factory's module", where=spec, found=error
        ) from error
    functions = [key for key, value in vars(module).items() if callable(value)]
    if name not in functions:
        raise unknown_name("factory", name, [key for key in functions if not key.startswith("_")])
    factory = getattr(module, name)
    needed = [
        parameter.name
        for parameter in inspect.signature(factory).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    if needed:
        raise PellucidError(
            "a factory takes nothing", where=spec, expected="def factory() -> Subject", found=needed
        )
    return factory()
