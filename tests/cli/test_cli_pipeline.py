"""`pellucid pipeline` from images to a page, skipping what is up to date, on a tiny VAE and VQ."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tiny_run import TINY

from pellucid.report.pipeline import render_pipeline
from pellucid.run_folder import RunFolder

SMALL = [
    *(text for text in TINY if not text.startswith("bottleneck.")),
    "data.size=16",
    "data.flip=false",
    "encoder.stride=8",
    "decoder.stride=8",
    "encoder.multipliers=[1, 1]",
    "decoder.multipliers=[1, 1]",
    "bottleneck.dim=3",
    "training.steps=2",
    "training.validate_every=2",
    "codebooks.size=8",
    "codebooks.methods=[kmeans]",
    "tuning.steps=2",
    "tuning.batch_size=8",
    "prior.steps=2",
    "prior.batch_size=8",
    "prior.width=16",
    "prior.layers=1",
    "prior.heads=2",
    "samples.n=16",
]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Blobs in two classes."""
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 2
    coarse = rng.integers(0, 255, (120, 4, 4, 3)) // (1 + labels[:, None, None, None])
    path = tmp_path_factory.mktemp("blobs") / "images.npz"
    pixels = np.repeat(np.repeat(coarse, 4, 1), 4, 2).astype(np.uint8)
    np.savez(path, images=pixels, labels=labels)
    return path


def test_one_command_leads_from_images_to_a_page(pellucid, images, tmp_path):
    words = ["pipeline", "posthoc-geodesic", f"data.path={images}", *SMALL, "-q", "--json"]
    code, out, err = pellucid(*words, "-o", tmp_path / "run")
    assert code == 0, err
    first = json.loads(out)
    names = [stage["name"] for stage in first["stages"]]
    assert names == ["train", "latents", "codebook kmeans-8", "tune kmeans-8", "prior", "samples",
                     "page"]  # fmt: skip
    assert {stage["state"] for stage in first["stages"]} == {"done"}
    page = (tmp_path / "run" / "pipeline.html").read_text()
    for part in ("kmeans-8", "after tuning", "bigram", "kernel distance", "nearest training image"):
        assert part in page
    code, out, err = pellucid(*words, "-o", tmp_path / "run")
    assert {stage["state"] for stage in json.loads(out)["stages"]} == {"up to date"}

    # what changes runs again, and what depends on it; the rest does not
    code, out, err = pellucid(*words, "prior.steps=3", "-o", tmp_path / "run")
    assert code == 0, err
    states = {stage["name"]: stage["state"] for stage in json.loads(out)["stages"]}
    assert [name for name in names if states[name] == "done"] == ["prior", "samples", "page"]

    # samples that could not be judged still have their page
    run = RunFolder(tmp_path / "run")
    (run.generated / "judgement.json").unlink()
    render_pipeline(run, [], prior=run.prior("kmeans-8") / "prior.json")
    assert "How good they are" not in run.pipeline_page.read_text()

    code, _, err = pellucid(*words, "encoder.width=16", "-o", tmp_path / "run")
    assert code == 1
    assert "another 'encoder'" in err


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["prior.step=3"], "did you mean 'steps'"),
        (["codebooks.methods=[kmean]"], "did you mean 'kmeans'"),
        (["samples.judge=false"], "follows from"),
        (["tuning.a.b=1"], "tuning.KEY=VALUE"),
        (["sample.n=3"], "did you mean"),
        (["data.kind=audio"], "leads to pictures"),
    ],
)
def test_a_wrong_key_is_refused_before_anything_is_written(pellucid, images, tmp_path, words, part):
    run = tmp_path / "run"
    code, _, err = pellucid(
        "pipeline", "posthoc-geodesic", f"data.path={images}", *words, "-o", run
    )
    assert code == 1
    assert part in err
    assert not run.exists()
