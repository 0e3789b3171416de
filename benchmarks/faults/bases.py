"""Everything the bench holds, over all families, and healthy specimens of its bases."""

from __future__ import annotations

import functools
import importlib
import os
import zlib
from collections.abc import Sequence
from typing import Any

from benchmarks.faults.cache import trained
from benchmarks.faults.contract import Base, Control, Mutant, Specimen, Trained
from benchmarks.faults.measure import held_out_mse
from torch import nn

from pellucid.diagnosis import Subject

FAMILIES = ("images", "waveforms", "stacks")


def families() -> tuple[str, ...]:
    """Return the families examined: all, or those named in the variable FAULTS_FAMILIES."""
    chosen = os.environ.get("FAULTS_FAMILIES")
    return tuple(f for f in FAMILIES if chosen is None or f in chosen.split(","))


@functools.cache
def bases() -> dict[str, Base]:
    """Return every base by name."""
    return {b.name: b for b in _listed("BASES")}


@functools.cache
def mutants() -> dict[str, Mutant]:
    """Return every mutant by name, double faults among them (they name what they plant)."""
    return {m.name: m for m in (*_listed("MUTANTS"), *_listed("DOUBLES"))}


@functools.cache
def controls() -> dict[str, Control]:
    """Return every healthy control by name."""
    return {c.name: c for c in _listed("CONTROLS")}


def _listed(what: str) -> list[Any]:
    """Concatenate one list of all families, refusing a name that is used twice."""
    packages = [importlib.import_module(f"{__package__}.{family}") for family in families()]
    entries = [entry for package in packages for entry in getattr(package, what)]
    names = [entry.name for entry in entries]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ValueError(f"names used twice among {what}: {', '.join(twice)}")
    return entries


def seed_for(name: str, seeds: Sequence[int], repeat: int = 0) -> int:
    """Return the seed a base or control uses: fixed by its name, so each base is trained once."""
    return seeds[(zlib.crc32(name.encode()) + repeat) % len(seeds)]


@functools.lru_cache(maxsize=4)
def healthy(name: str, seed: int) -> Trained:
    """Return a trained base; mutants copy its model before they change it."""
    return trained(bases()[name], seed)


def healthy_specimen(base: Trained) -> Specimen:
    """Return what the base's user would hand over, to compare a mutant with."""
    model = base.model
    modules: dict[str, nn.Module] = dict(model.named_children())
    subject = Subject(
        model.encode, model.decode, modules=modules, loss_terms=model.loss_terms, **base.facts
    )
    return Specimen(
        subject, base.train, base.validation, held_out_mse(subject, base.validation), model=model
    )
