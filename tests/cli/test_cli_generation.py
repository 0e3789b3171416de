"""`pellucid prior` and `generate` on a tiny labelled run, as a user types them."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from tiny_run import TINY

TINY_PRIOR = ["width=16", "layers=1", "heads=2", "batch_size=8", "steps=4", "validate_every=2"]
SMALL = ["data.size=16", "training.steps=2", "bottleneck.codes=16", "training.batch_size=8"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A barely trained VQ tokenizer of dark and bright blobs, 4×4 tokens of 16 codes."""
    from pellucid.workflows.train import train

    folder = tmp_path_factory.mktemp("generation")
    rng = np.random.default_rng(0)
    for name, level in (("dark-ones", 40), ("bright", 200)):
        (folder / "blobs" / name).mkdir(parents=True)
        for number in range(60):
            pixels = rng.normal(level, 20, (16, 16, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "blobs" / name / f"{number}.png")
    data = [f"data.path={folder / 'blobs'}", "data.name=null", "data.train_crops=1",
            "data.crops_per_image=1"]  # fmt: skip
    overrides = [*TINY, *data, *SMALL]
    train("photos-vq", overrides=overrides, out=folder / "run", evaluate=False, progress=False)
    return folder / "run"


@pytest.fixture(scope="module")
def with_prior(run):
    """The run and its prior, told classes and prompts."""
    from pellucid.workflows.prior import train_prior

    train_prior(run, name="told", width=16, layers=1, heads=2, batch_size=8, steps=4,
                progress=False)  # fmt: skip
    return run


def test_a_prior_is_trained_and_measured_beside_counting(pellucid, run):
    code, out, err = pellucid("prior", run, *TINY_PRIOR, "text=null", "--json", "-q")
    assert code == 0, err
    answer = json.loads(out)
    held_out = answer["results"]["held_out"]
    assert held_out["uniform"] == 4  # bits of 16 codes
    assert {"conditional", "unconditional", "unigram", "bigram"} <= set(held_out)
    assert answer["classes"] == ["bright", "dark-ones"]
    assert sorted(path.name for path in (run / "priors" / "own").iterdir()) == [
        "model.safetensors",
        "prior.json",
    ]
    code, _, err = pellucid("prior", run, *TINY_PRIOR, "-q")
    assert code == 1
    assert "finished already" in err
    code, _, err = pellucid("generate", run, "a bright one", "-q")  # this prior knows no prompts
    assert code == 1
    assert "without prompts" in err
    code, out, err = pellucid("prior", run, *TINY_PRIOR, "-q", "--overwrite")
    assert code == 0, err
    assert "bigram counts" in out
    shutil.rmtree(run / "priors" / "own")


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["step=4"], "did you mean 'steps'"),
        (["width=10", "heads=3", "batch_size=8"], "heads that divide"),
        (["steps=0"], "whole number"),
        (["model.width=3"], "one name"),
        (["captions=none.json"], "cannot read the captions"),
        (["class_names=[a]"], "2 names"),
        (["--codebook", "kmeans"], "no codebook"),
        (["batch_size=8", "--resume"], "nothing to resume"),
    ],
)
def test_refused_priors_are_explained(pellucid, run, words, part):
    code, _, err = pellucid("prior", run, "--name", "refused", *words, "-q")
    assert code == 1
    assert part in err
    assert "Traceback" not in err


def test_prompts_and_classes_are_drawn_and_written(pellucid, with_prior, tmp_path):
    words = ["-n", 5, "-o", tmp_path, "--json", "-q", "--guidance", 2, "--top-p", 0.9]
    code, out, err = pellucid("generate", with_prior, "a photo of a bright", *words)
    assert code == 0, err
    answer = json.loads(out)
    assert [sample["seed"] for sample in answer["samples"]] == [0, 1, 2, 3, 4]
    assert np.array(answer["samples"][0]["codes"]).shape == (4, 4)
    first = np.asarray(Image.open(tmp_path / "0000.png"))
    assert first.shape == (16, 16, 3)
    assert Image.open(tmp_path / "grid.png").size == (2 * 18 - 2, 3 * 18 - 2)
    code, out, err = pellucid("generate", with_prior, "a photo of a bright", *words, "-n", 2)
    assert code == 0, err
    assert not (tmp_path / "0004.png").exists()  # no picture of an older index is left
    assert np.array_equal(np.asarray(Image.open(tmp_path / "0000.png")), first)
    code, out, err = pellucid("generate", with_prior, "--class", "dark ones", *words)
    assert json.loads(out)["samples"][0]["class"] == "dark-ones"
    for prompt in ("", "ఏడు 七 🙂"):
        assert pellucid("generate", with_prior, prompt, *words)[0] == 0


def test_samples_are_judged(pellucid, with_prior, tmp_path):
    words = ["--judge", "-n", 24, "-o", tmp_path, "--json", "-q"]
    code, out, err = pellucid("generate", with_prior, *words)
    assert code == 0, err
    judgement = json.loads(out)["judgement"]
    stored = json.loads((tmp_path / "judgement.json").read_text())
    assert {k: v for k, v in stored.items() if k != "version"} == judgement
    assert {"kernel_samples", "kernel_real", "precision", "recall", "conditional_accuracy",
            "accuracy_real", "copies"} <= set(judgement["metrics"])  # fmt: skip
    assert "frechet" in judgement["refused"]
    assert "real training images of this run" in judgement["network"]
    assert (tmp_path / "neighbours.png").is_file()
    weights = with_prior / "judge" / "classifier.safetensors"
    before = weights.stat().st_mtime_ns
    assert pellucid("generate", with_prior, *words)[0] == 0
    assert weights.stat().st_mtime_ns == before  # trained once
    assert pellucid("generate", with_prior, "-n", 2, "-o", tmp_path, "-q")[0] == 0
    assert not (tmp_path / "judgement.json").exists()  # it was of other samples


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--class", "brite"], "did you mean 'bright'"),
        (["a prompt", "--class", "bright"], "not both"),
        (["--prior", "tol"], "did you mean 'told'"),
        (["--temperature", "-1"], "temperature"),
        (["x" * 300], "too long"),
        (["-n", "0"], "nothing to draw"),
        (["--judge", "-n", "20", "--features", "none.npz"], "no such feature network"),
    ],
)
def test_refused_samples_are_explained(pellucid, with_prior, tmp_path, words, part):
    code, _, err = pellucid("generate", with_prior, *words, "-q", "-o", tmp_path)
    assert code == 1
    assert part in err
    assert "Traceback" not in err


def test_a_prior_of_other_codes_is_refused(pellucid, with_prior, tmp_path):
    copy = shutil.copytree(with_prior, tmp_path / "copy")
    from safetensors.torch import load_file, save_file

    weights = load_file(copy / "model.safetensors")
    weights["bottleneck.codebook.vectors"] = weights["bottleneck.codebook.vectors"] + 1
    save_file(weights, copy / "model.safetensors")
    code, _, err = pellucid("generate", copy, "-q")
    assert code == 1
    assert "models other codes" in err
