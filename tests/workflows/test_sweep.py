"""A sweep: its values, its knee, its curve against the closed form, and going on after a stop."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pellucid.errors import RecipeError, RunError
from pellucid.functional.knee import knee
from pellucid.recipe import load_recipe
from pellucid.recipe.span import Span, parse_span
from pellucid.workflows import sweep as module
from pellucid.workflows.sweep import sweep, warnings_of

TINY = [
    "data.size=16",
    "encoder.width=8",
    "encoder.channels=8",
    "decoder.width=8",
    "bottleneck.anneal_steps=0",
    "training.steps=30",
    "training.warmup_steps=4",
    "training.batch_size=8",
    "training.ema_decay=null",
    "training.validate_every=40",
    "training.checkpoint_every=10",
    "evaluation.codecs=[]",
    "evaluation.resamples=50",
    "evaluation.save_reconstructions=0",
]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("bottleneck.weight=1e-6..1e-2", [1e-6, 1e-4, 1e-2]),
        ("objective.ssim.weight=0.0..1.0", [0.0, 0.5, 1.0]),
        ("bottleneck.dim=2..32", [2.0, 8.0, 32.0]),
        ("bottleneck.dim=2..3", [2.0, 3.0]),
    ],
)
def test_values_are_even_in_the_logarithm_from_a_decade_on(text, values):
    assert parse_span(text).values(3) == pytest.approx(values)


@pytest.mark.parametrize("text", ["a.b=1..1", "a.b=2..1", "a.b=1", "a.b=x..2", "a.b=true..2"])
def test_a_range_rises_from_a_number_to_a_number(text):
    with pytest.raises(RecipeError, match="to a larger one"):
        parse_span(text)


def test_the_knee_is_where_more_rate_stops_paying():
    rate = [0.0, 1.0, 2.0, 4.0, 8.0]
    assert knee(rate, [0.0, 8.0, 10.0, 11.0, 12.0]) == 2
    assert knee(rate[::-1], [12.0, 11.0, 10.0, 8.0, 0.0]) == 2  # order does not matter
    assert knee([k * 1e-6 for k in rate], [v + 100 for v in (0, 8, 10, 11, 12)]) == 2
    assert knee(rate, [0.0, 1.0, 2.0, 4.0, 8.0]) is None  # straight
    assert knee(rate, [5.0, 4.0, 3.0, 2.0, 1.0]) is None  # falls
    assert knee([0.0, 1.0], [0.0, 1.0]) is None


def test_a_rate_that_rises_with_its_weight_is_said():
    points = [
        {"value": v, "kl": {"value": kl}} for v, kl in ((1e-4, 9.0), (1e-3, 12.0), (1.0, 1.0))
    ]
    (found,) = warnings_of(Span("bottleneck.weight", 0, 1, True, False), points)
    assert "9 to 12 nats" in found
    assert warnings_of(Span("training.steps", 0, 1, True, True), points) == []


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Smooth images of one sinusoid each, so that a few numbers say much."""
    rng = np.random.default_rng(0)
    place = np.stack(np.meshgrid(np.arange(16), np.arange(16)), -1) / 16
    waves = np.sin(np.einsum("hwk,nk->nhw", place, rng.uniform(-6, 6, (80, 2))))
    path = tmp_path_factory.mktemp("data") / "images.npz"
    np.savez(path, images=((waves + 1) * 127).astype(np.uint8))
    return path


def test_the_curve_stands_beside_the_closed_form_and_goes_on_after_a_stop(
    images, tmp_path, monkeypatch
):
    keywords = {"overrides": [f"data.path={images}", *TINY], "points": 3, "progress": False}
    keywords |= {"out": tmp_path / "sweep", "diagnose_ends": False}
    span = "bottleneck.weight=1e-5..1e-1"
    real, trained = module._trained, []

    def once(recipe, place, **rest):
        if len(trained) == 2:
            raise KeyboardInterrupt
        trained.append(place.name)
        return real(recipe, place, **rest)

    monkeypatch.setattr(module, "_trained", once)
    with pytest.raises(KeyboardInterrupt):
        sweep("mnist-vae", span, **keywords)
    monkeypatch.setattr(
        module, "_trained", lambda *a, **k: trained.append(a[1].name) or real(*a, **k)
    )
    found = sweep("mnist-vae", span, **keywords)
    assert trained == ["00", "01", "02"]
    assert [point["value"] for point in found.points] == pytest.approx([1e-5, 1e-3, 1e-1])
    node = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    assert node["points"] == found.points
    predicted = [point["linear"]["kl"] for point in found.points]
    assert predicted[0] > predicted[1] > predicted[2]
    measured = [point["kl"]["value"] for point in found.points]
    assert measured[0] > measured[1] > measured[2]
    page = found.page.read_text()
    assert "closed form" in page
    assert all(f"{point['psnr']['value']:.2f}" in page for point in found.points)
    with pytest.raises(RunError, match="another sweep"):
        sweep("mnist-vae", "bottleneck.weight=1e-4..1e-1", **keywords)


def test_a_key_the_recipe_has_not_is_refused_before_anything_is_trained(tmp_path):
    with pytest.raises(RecipeError, match="wieght"):
        sweep("mnist-vae", "bottleneck.wieght=1e-4..1", out=tmp_path / "sweep")
    assert not (tmp_path / "sweep").exists()
    assert load_recipe("mnist-vae").name == "mnist-vae"
