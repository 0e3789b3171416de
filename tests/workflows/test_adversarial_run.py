"""A recipe with an adversary trains, resumes, and hands its second player to the diagnosis."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from pellucid.diagnosis import diagnose
from pellucid.workflows.diagnose import subject_of
from pellucid.workflows.run import Run
from pellucid.workflows.train import estimate, resume, train

SECTIONS = {
    "data": {"size": 32, "resize": None},
    "encoder": {"width": 8, "channels": 16},
    "decoder": {"hidden": 16},
    "bottleneck": {"codes": 32, "dim": 4},
    "training": {
        "steps": 10,
        "batch_size": 8,
        "warmup_steps": 2,
        "validate_every": 5,
        "checkpoint_every": 5,
    },
    "balancer": {"decay": 0.9},
    "adversary": {
        "discriminators": {"patch": {"width": 4, "layers": 2}},
        "start_step": 4,
        "updates": 2,
        "period": 3,
        "freeze_encoder": True,
    },
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    import numpy as np
    from PIL import Image

    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for index in range(24):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 7, 3), dtype=np.uint8))
        coarse.resize((48, 40), Image.Resampling.BICUBIC).save(folder / f"{index}.png")
    return folder


def trained(photos: Path, out: Path, **changes) -> Run:
    sections = SECTIONS | {"data": {**SECTIONS["data"], "path": str(photos)}} | changes
    return train("patch-vq", out=out, evaluate=False, progress=False, **sections)


@pytest.fixture(scope="module")
def run(photos, tmp_path_factory) -> Run:
    return trained(photos, tmp_path_factory.mktemp("runs") / "sharp")


def test_the_recipe_says_what_was_played_and_the_best_is_of_the_second_stage(run):
    assert run.recipe.adversary is not None
    assert run.recipe.adversary["start_step"] == 4
    assert run.status()["selected_step"] > 4
    names = {name for line in run.folder.read_metrics() for name in line["values"]}
    assert {"terms.adversarial.value", "terms.features.weighted", "adversary.loss"} <= names


def test_the_subject_has_the_second_player(run):
    subject = subject_of(run)
    assert subject.discriminator is not None
    assert subject.training_step is not None
    assert len(subject.optimizers) == 2
    assert subject.frozen == ("encoder", "bottleneck")
    x = torch.stack([run.data().train[i, 0]["x"] for i in range(4)])
    assert subject.loss_terms is not None
    terms = subject.loss_terms(x)
    assert {"adversarial", "features"} <= set(terms)
    stored = run.folder.checkpoints / "last" / "tensors.safetensors"
    from safetensors.torch import load_file

    state = load_file(stored)
    for name, value in subject.discriminator.state_dict().items():
        assert torch.equal(value, state[f"adversary/discriminator/{name}"])
    before = {name: p.clone() for name, p in subject.discriminator.named_parameters()}
    decoder = {name: p.clone() for name, p in subject.modules["decoder"].named_parameters()}
    encoder = {name: p.clone() for name, p in subject.modules["encoder"].named_parameters()}
    subject.training_step(x)
    after = dict(subject.discriminator.named_parameters())
    assert any(not torch.equal(before[name], after[name]) for name in before)
    live = dict(subject.modules["decoder"].named_parameters())
    assert any(not torch.equal(decoder[name], live[name]) for name in decoder)
    held = dict(subject.modules["encoder"].named_parameters())
    assert all(torch.equal(encoder[name], held[name]) for name in encoder)


@pytest.mark.slow
def test_the_rows_about_adversaries_open_and_find_no_leak(run):
    data = run.data()
    found = diagnose(subject_of(run), data.train, budget_seconds=25)
    assert {"discriminator-dominates", "gan-gradient-leak"} <= set(found.tested)
    assert not any(f.id == "gan-gradient-leak" and f.confidence > 0.1 for f in found.findings)


def test_a_run_without_an_adversary_hands_over_none(photos, tmp_path):
    subject = subject_of(trained(photos, tmp_path / "alone", adversary=None, balancer=None))
    assert subject.discriminator is None
    assert subject.training_step is None
    assert len(subject.optimizers) == 1


def test_a_resumed_run_plays_on(run, tmp_path):
    copied = shutil.copytree(run.path, tmp_path / "longer")
    longer = resume(copied, overrides=["training.steps=12"], evaluate=False, progress=False)
    lines = [line for line in longer.folder.read_metrics() if line["split"] == "train"]
    assert lines[-1]["step"] == 12
    assert "adversary.loss" in lines[-1]["values"]


def test_an_estimate_takes_the_adversary_into_account(photos):
    overrides = [f"data.path={photos}", "data.size=32", "training.batch_size=4"]
    played = [*overrides, "adversary.discriminators.patch.width=8", "adversary.start_step=0"]
    alone, both = (estimate("patch-vq", overrides=some) for some in (overrides, played))
    assert both["weight_bytes"] > alone["weight_bytes"]
    assert both["parameters"] == alone["parameters"]
