"""The tissue benchmark's words, from numbers that are already there."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest


@pytest.fixture
def tissue(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    sys.modules.pop("tissue", None)
    return importlib.import_module("tissue")


def told(numbers: int) -> dict:
    value = {"value": 0.5, "low": 0.4, "high": 0.6}
    gap = {"r2": {"value": 0.07, "low": 0.01, "high": 0.1}}
    return {
        "overrides": "",
        "status": {"seconds": 60.0, "step": 400},
        "evaluation": {
            "metrics": dict.fromkeys(("r2", "r2_worst_decile", "pearson", "cosine"), value),
            "latent": {"numbers": numbers},
            "references": {f"pca-{numbers}": {"r2": value}},
            "differences": {"pca-64": gap, "pca-256": gap},
        },
        "diagnosis": [
            {"id": "channel-scale-imbalance", "confidence": 0.9, "summary": "scales differ",
             "patch": {"data.normalise": "[…]"}},
        ],
    }  # fmt: skip


def test_the_section_states_every_number_with_its_interval(tissue):
    cost = {"seconds": 9.0, "processor_seconds": 8.0, "mib": 900.0, "tiles": 1024}
    text = tissue.markdown({"mibi-256": told(256)}, cost, 1)
    assert "| `mibi-256` | 256 | 0.500 (0.400 … 0.600)" in text
    assert "+0.070 (+0.010 … +0.100)" in text
    assert "**channel-scale-imbalance**" in text
    assert "900 MiB" in text


def test_every_arm_is_a_recipe_that_builds(tissue):
    from pellucid.build.assemble import build_autoencoder
    from pellucid.build.stacks import settled
    from pellucid.recipe import apply_overrides, load_recipe

    for folder, overrides in tissue.ARMS.values():
        recipe = apply_overrides(load_recipe("tissue-stack"), [f"data.path={folder}", *overrides])
        assert build_autoencoder(settled(recipe, ["CD3", "DNA"])).stride in (4, 8)
    json.dumps(list(tissue.ARMS))
