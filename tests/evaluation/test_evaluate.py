"""An autoencoder that is PCA by construction must score what PCA scores, and nothing may leak."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from evaluation_parts import (
    NUMBERS,
    PATCH,
    RANGE,
    PassThrough,
    Pictures,
    Rounding,
    pca_autoencoder,
    pictures,
)
from PIL import Image

from pellucid.errors import DataError, PellucidError, RunError
from pellucid.evaluation.evaluate import evaluate
from pellucid.evaluation.gallery import spread_by_psnr
from pellucid.evaluation.record import Evaluation
from pellucid.run_folder import RunFolder

TRAIN, HELD_OUT = pictures(60), pictures(20, seed=1)


def run(**options: Any) -> Evaluation:
    settings = {
        "value_range": RANGE,
        "codecs": (),
        "resamples": 50,
        "batch_size": 8,
        **options,
    }
    model = settings.pop("model", None) or pca_autoencoder(TRAIN)
    held_out = settings.pop("held_out", None) or Pictures(HELD_OUT)
    return evaluate(model, Pictures(TRAIN), held_out, **settings)


def test_a_model_that_is_pca_scores_what_pca_scores() -> None:
    found = run()
    assert found.metrics["psnr"].value == pytest.approx(
        found.references["pca"].psnr.value, abs=0.01
    )
    assert found.differences["pca"]["psnr"].value == pytest.approx(0, abs=0.01)
    assert found.metrics["mse"].value == pytest.approx(found.ladder["R2"].mse, rel=1e-4)
    assert found.metrics["fvu"].value == pytest.approx(found.ladder["R2"].fvu, rel=1e-4)
    assert found.latent["numbers"] == NUMBERS * 4
    assert "patch-PCA: 8×8 patches with 6 numbers each" in found.references["pca"].note


def test_psnr_is_the_mean_of_per_image_psnr_of_eight_bit_pairs() -> None:
    model = pca_autoencoder(TRAIN)
    with torch.no_grad():
        x_hat = RANGE.to_uint8(model.decode(model.encode(HELD_OUT))).double()
    error = (x_hat - RANGE.to_uint8(HELD_OUT).double()).square().flatten(1).mean(1)
    expected = float((10 * torch.log10(255**2 / error)).mean())
    found = run(model=model)
    assert found.metrics["psnr"].value == pytest.approx(expected, abs=1e-4)
    assert "mean of per-image" in found.metrics["psnr"].convention


def test_nothing_is_left_changed() -> None:
    model = pca_autoencoder(TRAIN)
    model.train()
    model.decoder.eval()
    modes = [module.training for module in model.modules()]
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(5)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    found = run(model=model)
    assert found.differences["pca"]["psnr"].value == pytest.approx(0, abs=0.01)  # no noise
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == numpy_before).all()  # noqa: NPY002
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights[name])
        assert value.grad is None


def test_codes_are_counted_over_the_whole_set_and_their_bits_stated() -> None:
    found = run(model=pca_autoencoder(TRAIN, Rounding(NUMBERS)), codecs=("webp",))
    assert found.metrics["bits_per_pixel"].value == pytest.approx(4 * 4 / 256)
    assert "code bits: 4 positions × 4 bits" in found.metrics["bits_per_pixel"].convention
    (level,) = found.codes["levels"]
    assert len(level["counts"]) == 16
    assert sum(level["counts"]) == 20 * 4
    assert found.metrics["code_usage"].value == np.mean([c > 0 for c in level["counts"]])
    assert found.latent["numbers"] == 4  # of six channels one reaches the quantiser
    assert "its smallest file is" in found.references["webp"].note


def test_a_gaussian_pays_its_kl() -> None:
    model = pca_autoencoder(TRAIN, PassThrough(NUMBERS, logvar=-4.0))
    found = run(model=model, kl_weight=1e-4)
    with torch.no_grad():
        mean = model.encode(HELD_OUT).mean.double()
    kl = 0.5 * (mean**2 + math.exp(-4) - 1 + 4).flatten(1).sum(1).mean()
    bits = found.metrics["bits_per_pixel"]
    assert bits.value == pytest.approx(float(kl) / math.log(2) / 256, rel=1e-5)
    assert bits.low is not None
    assert found.latent["kl"]["value"] == pytest.approx(float(kl), rel=1e-5)
    assert found.ladder["R3"].kl is not None


def test_other_continuous_latents_pay_their_quantised_entropy() -> None:
    bits = run(codecs=("webp",)).metrics["bits_per_pixel"]
    assert bits.value > 0
    assert "rounded to the coarsest uniform step" in bits.convention


def test_codecs_get_the_models_bits() -> None:
    train, held_out = pictures(40, size=32), pictures(30, seed=1, size=32)
    found = evaluate(
        pca_autoencoder(train, PassThrough(NUMBERS, logvar=-8.0)),
        Pictures(train),
        Pictures(held_out),
        value_range=RANGE,
        resamples=50,
    )
    own = found.metrics["bits_per_pixel"].value
    for codec in ("jpeg", "webp"):
        theirs = found.references[codec].bits_per_pixel
        assert theirs is not None
        assert own <= theirs.value <= 1.05 * own or "smallest file" in found.references[codec].note
        assert found.differences[codec]["psnr"].value == pytest.approx(
            found.metrics["psnr"].value - found.references[codec].psnr.value, abs=1e-6
        )


def test_groups_are_the_independent_units() -> None:
    assert run(held_out=Pictures(HELD_OUT, groups=5)).metrics["psnr"].n == 5
    assert run().metrics["psnr"].n == 20


def test_labels_are_reported_where_there_are_any() -> None:
    found = run(held_out=Pictures(HELD_OUT, labels=True))
    assert {key: value["n"] for key, value in found.labels.items()} == {"0": 10, "1": 10}
    mean = np.mean([found.labels[key]["psnr"] for key in ("0", "1")])
    assert mean == pytest.approx(found.metrics["psnr"].value, abs=1e-4)
    assert run().labels == {}


def test_it_writes_a_run_folder_and_reads_it_back(tmp_path: Any) -> None:
    folder = RunFolder(tmp_path)
    found = run(folder=folder, weights="EMA, best", split="validation", save_reconstructions=5)
    node = folder.read_json(folder.evaluation)
    assert (node["split"], node["weights"], node["precision"]) == (
        "validation",
        "EMA, best",
        "float32",
    )
    again = Evaluation.from_json(node)
    assert again.to_json() == json.loads(json.dumps(found.to_json()))
    assert again.metrics == found.metrics
    assert again.ladder == found.ladder


def test_pictures_run_from_best_to_worst_and_stale_ones_go(tmp_path: Any) -> None:
    folder = RunFolder(tmp_path)
    folder.reconstructions.mkdir()
    (folder.reconstructions / "77_pca.png").write_bytes(b"stale")
    (folder.reconstructions / "notes.png").write_bytes(b"mine")
    model = pca_autoencoder(TRAIN)
    found = run(model=model, folder=folder, save_reconstructions=5)
    index = folder.read_json(folder.reconstructions / "index.json")
    assert index["columns"] == ["original", "reconstruction", "pca"]
    assert "from best to worst" in index["selection"]
    shown = [sample["psnr"]["reconstruction"] for sample in index["samples"]]
    assert shown == sorted(shown, reverse=True)
    assert shown[0] == pytest.approx(max(found.samples["psnr"]), abs=1e-3)
    assert shown[-1] == pytest.approx(min(found.samples["psnr"]), abs=1e-3)
    worst = found.samples["name"][int(np.argmin(found.samples["psnr"]))]
    assert index["samples"][-1]["name"] == worst
    original = HELD_OUT[int(worst.split()[1])]
    for column, expected in (
        ("original", original),
        ("reconstruction", model.decode(model.encode(original[None]))[0].detach()),
    ):
        path = folder.reconstructions / index["samples"][-1]["files"][column]
        written = torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)
        assert torch.equal(written, RANGE.to_uint8(expected))
    assert not (folder.reconstructions / "77_pca.png").exists()
    assert (folder.reconstructions / "notes.png").exists()


def test_a_grey_set_works_with_codecs(tmp_path: Any) -> None:
    train, held_out = pictures(60, channels=1), pictures(12, channels=1, seed=1)
    found = evaluate(
        pca_autoencoder(train, Rounding(NUMBERS)),
        Pictures(train),
        Pictures(held_out),
        value_range=RANGE,
        resamples=50,
        folder=RunFolder(tmp_path),
    )
    assert set(found.references) == {"mean", "pca", "linear", "jpeg", "webp"}
    # codes face a linear coder at their own bits, and its pictures have the error of the ladder
    linear, rung = found.references["linear"], found.ladder["R3-bits"]
    assert linear.bits_per_pixel is not None
    bits = found.metrics["bits_per_pixel"].value
    assert linear.bits_per_pixel.value == pytest.approx(bits, rel=1e-6)
    assert linear.psnr.value == pytest.approx(rung.psnr, abs=1.5)


def test_a_pca_that_loses_nothing_is_no_reference() -> None:
    train, held_out = pictures(60), pictures(8, seed=1)
    everything = train[0].numel() // (train.shape[-1] // PATCH) ** 2
    model = pca_autoencoder(train, numbers=everything)
    found = evaluate(model, Pictures(train), Pictures(held_out), value_range=RANGE, resamples=50)
    assert "pca" not in found.references
    assert found.ladder["R2"].mse < 1e-6


def test_large_sets_are_thinned_evenly_and_references_further() -> None:
    found = run(max_samples=10, reference_samples=5)
    assert found.samples["index"] == [1, 3, 5, 7, 9, 11, 13, 15, 17, 19]
    assert found.metrics["psnr"].n == 10
    assert found.references["pca"].psnr.n == 5
    assert found.ladder.held_out_samples == 5


def test_progress_reaches_its_end() -> None:
    seen: list[tuple[int, int]] = []
    run(progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] == 20 + 2 * 20
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_too_few_samples_and_broken_models_are_refused() -> None:
    with pytest.raises(DataError, match="too few test samples"):
        run(held_out=Pictures(HELD_OUT[:1]))
    broken = pca_autoencoder(TRAIN)
    broken.decoder.conv.weight.data.fill_(float("nan"))
    with pytest.raises(PellucidError, match="NaN"):
        run(model=broken)


def test_something_else_is_not_read_as_an_evaluation() -> None:
    with pytest.raises(RunError, match="not an evaluation"):
        Evaluation.from_json({"metrics": {}})


def test_the_spread_holds_best_and_worst() -> None:
    psnr = np.array([5.0, 9.0, 1.0, 7.0, 3.0])
    assert spread_by_psnr(psnr, 3) == [1, 0, 2]
    assert spread_by_psnr(psnr, 9) == [1, 3, 0, 4, 2]
    assert spread_by_psnr(psnr, 1) == [1]


def test_colour_and_grayscale_are_measured_apart_where_both_occur() -> None:
    grey = HELD_OUT[:8, :1].expand(-1, 3, -1, -1)
    found = run(held_out=Pictures(torch.cat([HELD_OUT, grey])))
    assert set(found.colour) == {"colour", "grayscale"}
    assert found.colour["colour"]["psnr"]["n"] == 20
    assert found.colour["grayscale"]["psnr"]["n"] == 8
    alone = run()
    assert found.colour["colour"]["psnr"]["value"] == pytest.approx(alone.metrics["psnr"].value)
    assert alone.colour == {}
    assert Evaluation.from_json(found.to_json()).colour == found.colour
