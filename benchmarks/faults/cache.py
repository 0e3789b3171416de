"""Keep trained bases between runs: weights in safetensors, keyed by source, seed and torch version.

No pickle: an untrained model is built by the base's own code and cached weights are loaded into it.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from pathlib import Path
from types import ModuleType

import torch
from benchmarks.faults.contract import Base, Trained
from safetensors.torch import load_file, save_file

FOLDER = Path(__file__).parents[2] / ".bench" / "faults"


def trained(base: Base, seed: int, folder: Path = FOLDER) -> Trained:
    """Return the base trained with a seed, from the cache where its source is unchanged."""
    if base.build is None:
        return base.train(seed)
    weights = folder / f"{base.name}-{seed}-{key(base)}.safetensors"
    if weights.exists():
        built = base.build(seed)
        built.model.load_state_dict(load_file(weights))
        built.model.eval()
        return built
    started = time.monotonic()
    fresh = base.train(seed)
    fresh.model.eval()
    _store(fresh, weights, time.monotonic() - started)
    return fresh


def _store(fresh: Trained, weights: Path, seconds: float) -> None:
    """Write weights and a readable note; a reader never meets a half-written file."""
    weights.parent.mkdir(parents=True, exist_ok=True)
    state = {k: v.detach().clone().contiguous() for k, v in fresh.model.state_dict().items()}
    half = weights.with_suffix(f".{os.getpid()}.part")
    save_file(state, half)
    half.replace(weights)
    parameters = sum(p.numel() for p in fresh.model.parameters())
    note = {"seconds": round(seconds, 1), "parameters": parameters, "torch": torch.__version__}
    weights.with_suffix(".json").write_text(json.dumps(note) + "\n", encoding="utf-8")


def key(base: Base) -> str:
    """Return a hash of the code a base is made by, and of torch's version."""
    digest = hashlib.sha256(torch.__version__.encode())
    roots = [f.__module__ for f in (base.train, base.build) if f is not None]
    for name in sorted(_sources(roots)):
        digest.update(_text(sys.modules[name]).encode())
    return digest.hexdigest()[:12]


def _sources(roots: list[str]) -> set[str]:
    """Return the bench's modules that these use, directly or through others; no contract."""
    found: set[str] = set()
    queue = list(roots)
    while queue:
        name = queue.pop()
        if name in found or not name.startswith(__package__) or name.endswith(".contract"):
            continue
        found.add(name)
        for value in vars(sys.modules[name]).values():
            origin = value.__name__ if isinstance(value, ModuleType) else None
            queue.append(origin or getattr(value, "__module__", None) or "")
    return found


def _text(module: ModuleType) -> str:
    assert module.__file__ is not None
    return Path(module.__file__).read_text(encoding="utf-8")
