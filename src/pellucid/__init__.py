"""Train, diagnose and ship reconstruction models: autoencoders, VQ tokenizers, neural codecs.

import pellucid

run = pellucid.train("patch-vq", data={"path": "photos/"})
pellucid.evaluate(run)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from pellucid.errors import PellucidError

if TYPE_CHECKING:
    from pellucid.diagnosis import Subject
    from pellucid.doctor import Doctor
    from pellucid.records import Latent
    from pellucid.workflows.codebook import codebook
    from pellucid.workflows.codec import decode, encode
    from pellucid.workflows.compare import compare
    from pellucid.workflows.demo import demo
    from pellucid.workflows.diagnose import diagnose
    from pellucid.workflows.evaluate import evaluate
    from pellucid.workflows.features import features, load_features
    from pellucid.workflows.features_estimator import Features
    from pellucid.workflows.generate import generate
    from pellucid.workflows.inspect import inspect
    from pellucid.workflows.landmarks import landmarks
    from pellucid.workflows.latent_space import latent_space
    from pellucid.workflows.latents import latents
    from pellucid.workflows.pipeline import pipeline
    from pellucid.workflows.prior import train_prior
    from pellucid.workflows.reconstruct import reconstruct
    from pellucid.workflows.report import report
    from pellucid.workflows.run import Run
    from pellucid.workflows.sharpen import sharpen
    from pellucid.workflows.train import estimate, resume, train
    from pellucid.workflows.treat import treat
    from pellucid.workflows.tune_decoder import tune_decoder

__all__ = [
    "Doctor",
    "Features",
    "Latent",
    "PellucidError",
    "Run",
    "Subject",
    "codebook",
    "compare",
    "decode",
    "demo",
    "diagnose",
    "encode",
    "estimate",
    "evaluate",
    "features",
    "generate",
    "inspect",
    "landmarks",
    "latent_space",
    "latents",
    "load_features",
    "pipeline",
    "reconstruct",
    "report",
    "resume",
    "sharpen",
    "train",
    "train_prior",
    "treat",
    "tune_decoder",
]

# Everything is imported when it is first named: workflows bring Lightning, Pillow and more, and
# even torch would make `pellucid --help` wait.
_HOMES = {
    "Doctor": "pellucid.doctor",
    "Features": "pellucid.workflows.features_estimator",
    "Latent": "pellucid.records",
    "Run": "pellucid.workflows.run",
    "Subject": "pellucid.diagnosis",
    "codebook": "pellucid.workflows.codebook",
    "compare": "pellucid.workflows.compare",
    "decode": "pellucid.workflows.codec",
    "demo": "pellucid.workflows.demo",
    "diagnose": "pellucid.workflows.diagnose",
    "encode": "pellucid.workflows.codec",
    "estimate": "pellucid.workflows.train",
    "evaluate": "pellucid.workflows.evaluate",
    "features": "pellucid.workflows.features",
    "generate": "pellucid.workflows.generate",
    "inspect": "pellucid.workflows.inspect",
    "landmarks": "pellucid.workflows.landmarks",
    "latent_space": "pellucid.workflows.latent_space",
    "latents": "pellucid.workflows.latents",
    "load_features": "pellucid.workflows.features",
    "pipeline": "pellucid.workflows.pipeline",
    "reconstruct": "pellucid.workflows.reconstruct",
    "report": "pellucid.workflows.report",
    "resume": "pellucid.workflows.train",
    "sharpen": "pellucid.workflows.sharpen",
    "train": "pellucid.workflows.train",
    "train_prior": "pellucid.workflows.prior",
    "treat": "pellucid.workflows.treat",
    "tune_decoder": "pellucid.workflows.tune_decoder",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pellucid' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
