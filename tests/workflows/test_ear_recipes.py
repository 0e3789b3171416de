"""`ear-vae` and `ear-vae-dino` from a file of boxes to a loaded model, made tiny."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid.workflows.run import Run
from pellucid.workflows.train import train

TINY = [
    "data.size=32",
    "training.steps=6",
    "training.batch_size=4",
    "training.validate_every=2",
    "training.checkpoint_every=3",
    "training.gradient_shares_every=2",
    "training.warmup_steps=1",
    "evaluation.codecs=[]",
    "evaluation.resamples=50",
    "evaluation.save_reconstructions=0",
]


@pytest.fixture(scope="module")
def boxes(tmp_path_factory) -> Path:
    """Twelve smooth photographs with a box in each, the last ones grey."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    rows = ["image,xmin,ymin,xmax,ymax"]
    for number in range(16):
        coarse = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        if number >= 8:
            coarse = np.repeat(coarse[..., :1], 3, axis=2)
        image = Image.fromarray(coarse).resize((60, 50), Image.Resampling.BICUBIC)
        image.save(folder / f"{number}.png")
        rows.append(f"{number}.png,5,5,45,{40 + number % 3}")
    path = folder / "boxes.csv"
    path.write_text("\n".join(rows))
    return path


def test_ear_vae_trains_from_boxes_and_is_evaluated_in_full(boxes, tmp_path):
    shares = ["data.validation=0.25", "data.test=0.3", "encoder.width=8", "decoder.width=8"]
    run = train(
        "ear-vae",
        overrides=[f"data.path={boxes}", *TINY, *shares, "training.learning_rate=1e-5"],
        out=tmp_path / "run",
        progress=False,
    )
    evaluation = run.evaluation()
    assert evaluation is not None
    metrics = evaluation["metrics"]
    assert metrics["psnr"]["value"] > evaluation["ladder"]["R1"]["psnr"]
    assert 0 < metrics["perceptual"]["value"] < 1
    assert 0 < metrics["detail"]["value"] < 1.5
    assert evaluation["latent"]["numbers"] == 16 * 4
    assert "By label" not in (tmp_path / "run" / "report.html").read_text()


def test_ear_vae_dino_thaws_and_opens_without_its_pretrained_weights(boxes, tmp_path):
    run = train(
        "ear-vae-dino",
        overrides=[
            f"data.path={boxes}",
            *TINY,
            "encoder.name=test_vit",
            "encoder.pretrained=false",
            "encoder.unfreeze_at=3",
            "decoder.width=8",
            "decoder.blocks=1",
        ],
        out=tmp_path / "run",
        progress=False,
        evaluate=False,
    )
    assert run.status()["state"] == "finished"
    recipe = run.folder.recipe
    recipe.write_text(recipe.read_text().replace("pretrained: false", "pretrained: true"))
    model = Run.open(run.path).load()
    x = torch.zeros(1, 3, 32, 32)
    assert model(x).x_hat.shape == x.shape
    lines = run.folder.read_metrics()
    assert any("terms.perceptual.value" in line["values"] for line in lines)
