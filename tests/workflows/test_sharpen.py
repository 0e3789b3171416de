"""A filter behind the decoder: fitted on held-out pairs, seen by decoding, not by training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pellucid.diagnosis.evidence import Finding
from pellucid.errors import PellucidError, RecipeError, RunError
from pellucid.evaluation.postfilter import fit_postfilter
from pellucid.functional.postfilter import identity_kernel
from pellucid.models.weights import read_tensors
from pellucid.nn.postfilter import Postfilter
from pellucid.workflows.diagnose import subject_of
from pellucid.workflows.postfilter import filtered_twin
from pellucid.workflows.release import release
from pellucid.workflows.run import Run
from pellucid.workflows.sharpen import sharpen
from pellucid.workflows.train import resume, train
from pellucid.workflows.treatments import propose
from pellucid.workflows.treatments.change import changes
from pellucid.workflows.treatments.continuation import how_to_start

KERNEL = "postfilter.kernel_CCKK"
SMALL = {
    "encoder": {"width": 8, "channels": 16},
    "decoder": {"width": 8},
    "bottleneck": {"kind": "fsq", "levels": [5, 5, 5]},
    "training": {"steps": 30, "batch_size": 8, "validate_every": 30, "checkpoint_every": 15},
    "evaluation": {"codecs": [], "resamples": 20},
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty 32×32 crops of a photograph bundled with scikit-image."""
    from skimage.data import astronaut

    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for index in range(60):
        top, left = rng.integers(0, 480, size=2)
        Image.fromarray(astronaut()[top : top + 32, left : left + 32]).save(folder / f"{index}.png")
    return folder


def short(photos: Path, out: Path, **keywords) -> Run:
    data = {"path": str(photos), "size": 32, "resize": None}
    keywords = {"evaluate": False, **SMALL, **keywords}
    return train("photos-vq", data=data, out=out, progress=False, **keywords)


@pytest.fixture(scope="module")
def source(photos, tmp_path_factory) -> Run:
    return short(photos, tmp_path_factory.mktemp("runs") / "source")


@pytest.fixture(scope="module")
def sharpened(source, tmp_path_factory):
    return sharpen(source, strength=0.7, out=tmp_path_factory.mktemp("new") / "run", progress=False)


def test_the_old_run_is_untouched_and_the_new_one_has_its_weights(source, sharpened) -> None:
    before, after = (read_tensors(run.folder.model) for run in (source, sharpened.after))
    assert set(after) - set(before) == {KERNEL}
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert not torch.equal(after[KERNEL], identity_kernel(3, 17))
    assert source.recipe.postfilter is None
    assert sharpened.after.recipe.postfilter == {"strength": 0.7, "taps": 9}
    assert sharpened.after.digest() != source.digest()
    assert not source.folder.postfilter.exists()


def test_power_comes_back_without_a_loss_of_coherence(sharpened) -> None:
    by_strength = {point["strength"]: point for point in sharpened.fitted["points"]}
    assert list(by_strength) == [0.0, 0.25, 0.5, 0.7, 0.75, 1.0]
    before = sharpened.fitted["before"]
    assert by_strength[0.0]["psnr"] >= before["psnr"]
    rising = [point["sharpness"] for point in by_strength.values()]
    assert rising == sorted(rising)
    assert rising[-1] > 1.2 * rising[0]
    falling = [point["psnr"] for point in by_strength.values()]
    assert falling == sorted(falling, reverse=True)
    assert all(p["coherence"] > before["coherence"] - 0.02 for p in by_strength.values())


def test_what_is_evaluated_and_decoded_is_filtered(source, sharpened) -> None:
    x = source.data().test.batch(range(2))["x"]
    plain, filtered = source.load(), sharpened.after.load()
    latent = filtered.encode(x)
    assert torch.equal(latent.mean, plain.encode(x).mean)
    assert filtered.postfilter is not None
    expected = filtered.postfilter(plain.decode(plain.encode(x)))
    assert torch.allclose(filtered.decode(latent), expected, atol=1e-6)
    assert not torch.allclose(filtered.decode(latent), plain.decode(latent), atol=1e-3)
    # what training sees goes without: a decoder would learn to undo the filter
    assert torch.allclose(filtered(x).x_hat, plain(x).x_hat)
    difference = next(d for d in sharpened.comparison["differences"] if d["metric"] == "sharpness")
    assert difference["value"] > 0
    assert "Postfilter" in sharpened.page.read_text()
    assert "strength 0.7, this run" in sharpened.after.folder.report.read_text()


def test_training_fits_it_at_its_end_and_a_resumed_run_again(photos, source, tmp_path) -> None:
    run = short(photos, tmp_path / "run", postfilter={"strength": 0.7})
    trained, plain = read_tensors(run.folder.model), read_tensors(source.folder.model)
    assert all(torch.equal(trained[name], value) for name, value in plain.items())
    first = run.folder.read_json(run.folder.postfilter)
    assert first["strength"] == 0.7
    with pytest.raises(RunError, match="cannot change 'postfilter'"):
        resume(run, overrides=["postfilter.strength=0.1"], progress=False)
    longer = resume(run, overrides=["training.steps=40"], evaluate=False, progress=False)
    again = longer.folder.read_json(longer.folder.postfilter)
    assert again["before"] != first["before"]
    assert not torch.equal(read_tensors(longer.folder.model)[KERNEL], trained[KERNEL])


def test_either_kind_of_run_starts_the_other(photos, source, sharpened, tmp_path) -> None:
    still = {"steps": 1, "learning_rate": 1e-30, "ema_decay": None, "monitor": None}
    training = {**SMALL["training"], **still, "validate_every": 1, "checkpoint_every": 1}
    options = {"training": training}
    plain = short(photos, tmp_path / "plain", start_from=sharpened.after, **options)
    assert KERNEL not in read_tensors(plain.folder.model)
    other = short(photos, tmp_path / "other", start_from=source, postfilter={}, **options)
    assert KERNEL in read_tensors(other.folder.model)


def test_a_diagnosis_sees_one_model_whichever_way_it_looks(source, sharpened) -> None:
    x = source.data().test.batch(range(2))["x"]
    subject = subject_of(sharpened.after)
    assert subject.forward is not None
    assert torch.allclose(subject.forward(x), subject.decode(subject.encode(x)), atol=1e-6)


def test_a_released_model_keeps_its_filter(sharpened, tmp_path) -> None:
    released = release(sharpened.after, tmp_path / "model", progress=False)
    x = sharpened.after.data().test.batch(range(1))["x"]
    before, after = sharpened.after.load(), released.load()
    assert after.postfilter is not None
    assert before.postfilter is not None
    assert torch.allclose(
        after.postfilter(x), before.postfilter(x), atol=0.01
    )  # rounded to float16
    assert "postfilter" in (released.path / "README.md").read_text()


def test_an_output_that_is_low_passed_is_treated_by_the_filter(source, tmp_path) -> None:
    suggests = {"branch": "loss or output filter"}
    finding = Finding("blur", 0.9, 2.0, "dB", "soft", (), "", (), suggests=suggests)
    patch = propose(source.recipe, finding)
    assert patch == {"postfilter.strength": 0.0}
    assert how_to_start(changes(source.recipe, patch)) == "filtered"
    audio = source.recipe.model_copy(update={"data": {"kind": "audio"}})
    assert not propose(audio, finding)


@pytest.mark.parametrize(
    ("keywords", "part"),
    [
        ({"strength": 1.5}, "a number from 0 to 1"),
        ({"strength": float("nan")}, "a number from 0 to 1"),
        ({"taps": 8}, "an odd number from 3 to 31"),
        ({"taps": 33}, "an odd number from 3 to 31"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_written(source, tmp_path, keywords, part):
    with pytest.raises(RecipeError, match=part):
        sharpen(source, out=tmp_path / "new", progress=False, **keywords)
    assert not (tmp_path / "new").exists()


def test_no_validation_images_are_found_before_training(photos, tmp_path) -> None:
    data = {"path": str(photos), "size": 32, "resize": None, "validation": 0.0}
    with pytest.raises(RecipeError, match="fitted on validation images"):
        train("photos-vq", data=data, postfilter={}, out=tmp_path / "run", progress=False, **SMALL)
    assert not (tmp_path / "run").exists()


def test_a_decoder_of_nans_is_named(source) -> None:
    autoencoder = source.load()
    autoencoder.postfilter = Postfilter(3)
    with torch.no_grad():
        next(autoencoder.decoder.parameters()).fill_(float("nan"))
    with pytest.raises(PellucidError, match="NaN or infinity"):
        fit_postfilter(autoencoder, source.data().validation, source.value_range)


def test_a_taken_folder_and_a_model_without_filter_are_refused(source, tmp_path) -> None:
    (tmp_path / "file.txt").write_text("mine")
    with pytest.raises(RunError, match="not empty"):
        sharpen(source, out=tmp_path, progress=False)
    with pytest.raises(PellucidError, match="no postfilter"):
        fit_postfilter(source.load(), source.data().validation, source.value_range)


def test_waveforms_and_stacks_have_no_postfilter(source, tmp_path) -> None:
    from pellucid.build.assemble import build_autoencoder
    from pellucid.recipe import apply_overrides, load_recipe

    for name in ("speech-codec-tiny", "tissue-cells"):
        recipe = apply_overrides(load_recipe(name), sections={"postfilter": {}})
        if recipe.data["kind"] != "audio":
            recipe = apply_overrides(recipe, sections={"data": {"channels": ["a", "b"]}})
        with pytest.raises(RecipeError, match="a postfilter is for pictures"):
            build_autoencoder(recipe)


def test_an_interrupted_fit_leaves_no_half_run(source, tmp_path, monkeypatch) -> None:
    import pellucid.evaluation.postfilter as fitting
    from pellucid.recipe import apply_overrides
    from pellucid.run_folder import RunFolder

    def fail(*args, **keywords):
        raise KeyboardInterrupt

    monkeypatch.setattr(fitting, "fit_postfilter", fail)
    recipe = apply_overrides(source.recipe, sections={"postfilter": {"taps": 5}})
    with pytest.raises(KeyboardInterrupt):
        filtered_twin(source, recipe, RunFolder(tmp_path / "new"), progress=False)
    assert not (tmp_path / "new").exists()
    assert source.load().postfilter is None
