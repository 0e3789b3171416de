"""From a trained continuous VAE to compared codebooks and a tuned decoder, as a user types it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pellucid import Run
from pellucid.codebooks import Codebook, open_latents, read_codes
from pellucid.errors import PellucidError

SMALL = [
    "data.size=16",
    "encoder.width=8",
    "encoder.channels=16",
    "decoder.width=8",
    "bottleneck.dim=3",
    "training.steps=8",
    "training.batch_size=8",
    "training.warmup_steps=2",
    "training.validate_every=8",
    "training.checkpoint_every=8",
    "training.gradient_shares_every=100",
]


@pytest.fixture(scope="module")
def vae(tmp_path_factory) -> Path:
    """A tiny run of `posthoc-geodesic` on blobs in two classes."""
    from pellucid.workflows.train import train

    folder = tmp_path_factory.mktemp("vae")
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    coarse = rng.integers(0, 255, (60, 4, 4, 3)) // (1 + labels[:, None, None, None])
    images = np.repeat(np.repeat(coarse, 4, 1), 4, 2).astype(np.uint8)
    np.savez(folder / "images.npz", images=images, labels=labels)
    overrides = [f"data.path={folder / 'images.npz'}", "data.test=0.2", *SMALL]
    out = folder / "run"
    train("posthoc-geodesic", overrides=overrides, out=out, evaluate=False, progress=False)
    return out


def run(pellucid, *words) -> dict:
    code, out, err = pellucid(*words, "--json")
    assert code == 0, err
    return json.loads(out)


def test_the_whole_way_from_latents_to_a_tuned_decoder(pellucid, vae):
    found = run(pellucid, "latents", vae, "-q")
    assert found["splits"]["test"] == [12, 3, 2, 2]
    for method in ("kmeans", "geodesic"):
        words = ["--method", method, "--size", "6", "--neighbours", "5", "-q"]
        record = run(pellucid, "codebook", vae, *words)
        assert record["name"] == f"{method}-6"
        assert record["preflight"]["log2_size"] == pytest.approx(np.log2(6))
        assert set(record["scores"]) >= {"psnr", "psnr_gap", "path_length", "nmi", "code_usage"}
    stored = read_codes(Run.open(vae).folder, "geodesic-6", "train")
    assert stored.codes.shape[1:] == (2, 2)
    assert stored.codes.max() < 6
    assert stored.labels is not None

    words = ["--codebook", "kmeans-6", "--steps", "6", "--threads", "1", "-q"]
    tuned = run(pellucid, "tune-decoder", vae, *words)
    assert {"psnr_mean", "psnr_before", "psnr_after"} <= set(tuned["scores"])
    opened = Run.open(vae)
    book = Codebook.open(opened.folder, "kmeans-6", opened.load())
    assert book.decoder is not None
    assert not (opened.folder.codebook("kmeans-6") / "tuning").exists()

    comparison = run(pellucid, "compare", vae)
    assert set(comparison["codebooks"]) == {"kmeans-6", "geodesic-6"}
    assert comparison["codebooks"]["kmeans-6"]["tuning"]["psnr_after"]["unit"] == "dB"
    (pair,) = comparison["differences"]
    scores = {name: node["scores"] for name, node in comparison["codebooks"].items()}
    expected = scores["kmeans-6"]["psnr"]["value"] - scores["geodesic-6"]["psnr"]["value"]
    assert pair["value"] == pytest.approx(expected, abs=1e-3)
    page = Path(comparison["page"]).read_text()
    assert page.count("<img src=") >= 5
    code, out, _ = pellucid("compare", f"{vae}:kmeans-6", f"{vae}:geodesic-6")
    assert code == 0
    assert "kmeans-6 − geodesic-6" in out or "geodesic-6 − kmeans-6" in out


def test_bad_input_is_one_message(pellucid, vae, trained, tmp_path):
    def fails(*words):
        code, _, err = pellucid(*words)
        assert code == 1
        assert "Traceback" not in err
        return err

    assert "more codes than there are points" in fails("codebook", vae, "--size", "9999", "-q")
    assert "name of its folder" in fails("codebook", vae, "--name", "../x", "--size", "4", "-q")
    assert "no variance to sample" in fails(
        "codebook", trained, "--source", "sample", "--size", "4", "-q"
    )
    assert "this run has no codebook" in fails("tune-decoder", trained, "-q")
    assert "there is no codebook to compare" in fails("compare", trained)
    run(pellucid, "codebook", vae, "--size", "4", "--name", "first", "-q")
    assert "did you mean 'first'" in fails("tune-decoder", vae, "--codebook", "frist", "-q")


def test_a_codebook_of_another_run_is_refused(pellucid, vae, tmp_path):
    run(pellucid, "codebook", vae, "--size", "4", "--name", "own", "-q")
    other = tmp_path / "other"
    shutil.copytree(vae, other)
    weights = (other / "model.safetensors").read_bytes()
    (other / "model.safetensors").write_bytes(weights[:-4] + b"\x00\x00\x80\x3f")
    opened = Run.open(other)
    with pytest.raises(PellucidError, match="belongs to another model"):
        Codebook.open(opened.folder, "own", opened.load())
    found = run(pellucid, "latents", other, "-q")  # exported anew: these weights are others
    assert found["model"] != open_latents(Run.open(vae).folder).model
