"""Bad input: one message that says what, where, expected, found; nothing is lost; no traceback."""

from __future__ import annotations

import json
import pickle
import shutil

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_run import TINY


def fails(pellucid, *words):
    """Run a command that must fail; return its message."""
    code, _, err = pellucid(*words)
    assert code == 1
    assert "error:" in err
    assert "Traceback" not in err
    return err


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["train", "pach-vq"], ["unknown recipe 'pach-vq'", "patch-vq"]),
        (["train"], ["name one recipe", "pellucid recipes"]),
        (["train", "photos-vq", "bottleneck.code=5"], ["unknown keyword 'code'", "'codes'"]),
        (["train", "photos-vq", "objectiv.l1.weight=1"], ["unknown recipe section", "'objective'"]),
        (
            ["train", "photos-vq", "objective.charbonier.weight=1"],
            ["unknown term", "'charbonnier'"],
        ),
        (["train", "photos-vq", "objective.l1.weight=-1"], ["weight", "-1"]),
        (["train", "photos-vq", "training.step=5"], ["unknown keyword 'step'", "'steps'"]),
        (["train", "photos-vq", "training.monitor=pnsr"], ["pnsr", "psnr"]),
        (["train", "photos-vq", "encoder.kind=resdual"], ["unknown kind of encoder", "'residual'"]),
        (["train", "photos-vq", "evaluation.sample=5"], ["unknown keyword 'sample'", "samples"]),
        (["train", "photos-vq", "decoder.head=sigmoid"], ["sigmoid", "cannot reach", "[-1, 1]"]),
        (["train", "photos-vq", "data.size=30"], ["does not fit the encoder", "28"]),
        (["train", "photos-vq", "data.path=/no/such/place"], ["/no/such/place"]),
        (["evaluate", "/no/such/run"], ["no such run folder", "/no/such/run"]),
        (["recipes", "cifar"], ["unknown recipe 'cifar'", "cifar-vq"]),
        (["inspect", "/no/such/place"], ["/no/such/place"]),
    ],
)
def test_the_message_says_what_and_the_nearest_name(pellucid, tmp_path, monkeypatch, words, parts):
    monkeypatch.chdir(tmp_path)
    message = fails(pellucid, *words)
    for part in parts:
        assert part in message
    assert not list(tmp_path.glob("runs/*")), "a run that never began leaves nothing behind"


def test_json_mode_reports_errors_as_json(pellucid):
    code, out, _ = pellucid("evaluate", "/no/such/run", "--json")
    assert code == 1
    assert "no such run folder" in json.loads(out)["error"]


def test_debug_shows_the_traceback(pellucid):
    code, _, err = pellucid("evaluate", "/no/such/run", "--debug")
    assert code == 1
    assert "Traceback" in err


def test_a_batch_larger_than_the_set_names_one_that_fits(pellucid, photos, tmp_path):
    words = ["train", "photos-vq", f"data.path={photos}", *TINY, "data.train_crops=1"]
    message = fails(pellucid, *words, "training.batch_size=500", "-o", tmp_path / "run")
    assert "batch" in message
    assert "500" in message
    assert not (tmp_path / "run").exists()


def test_a_taken_run_folder_is_not_touched(pellucid, tmp_path):
    (tmp_path / "note.txt").write_text("mine")
    message = fails(pellucid, "train", "photos-vq", "-o", tmp_path)
    assert "not empty" in message
    assert "--resume" in message
    assert (tmp_path / "note.txt").read_text() == "mine"


def test_an_unwritable_run_folder_is_named(pellucid, photos, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    words = ["train", "photos-vq", f"data.path={photos}", *TINY, "-q"]
    assert str(blocked) in fails(pellucid, *words, "-o", blocked / "run")


def test_an_empty_folder_and_one_image_are_explained(pellucid, photos, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert str(empty) in fails(pellucid, "train", "photos-vq", f"data.path={empty}")
    shutil.copy(photos / "0.png", empty / "only.png")
    message = fails(pellucid, "train", "photos-vq", f"data.path={empty}", *TINY)
    assert "one" in message.lower() or "1" in message


def test_nan_arrays_are_refused_with_their_place(pellucid, tmp_path):
    images = np.random.default_rng(0).random((20, 32, 32, 3), np.float32)
    images[3, 4, 5, 1] = np.nan
    np.save(tmp_path / "images.npy", images)
    message = fails(pellucid, "train", "photos-vq", f"data.path={tmp_path / 'images.npy'}", *TINY)
    assert "NaN" in message or "nan" in message
    assert "3" in message


def test_a_pickled_array_is_refused_and_not_executed(pellucid, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "boom"), "w"))

    np.save(tmp_path / "images.npy", np.array([Bomb()], dtype=object), allow_pickle=True)
    fails(pellucid, "inspect", tmp_path / "images.npy")
    assert not (tmp_path / "boom").exists()


@pytest.fixture
def copy(trained, tmp_path):
    """A private copy of the trained run."""
    return shutil.copytree(trained, tmp_path / "copy")


def test_a_pickle_named_safetensors_is_refused_and_not_executed(pellucid, copy, photos, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "boom"), "w"))

    (copy / "model.safetensors").write_bytes(pickle.dumps(Bomb()))
    message = fails(pellucid, "reconstruct", copy, photos)
    assert "model.safetensors" in message
    assert not (tmp_path / "boom").exists()


def test_weights_of_another_shape_name_the_tensor(pellucid, copy, photos):
    tensors = load_file(copy / "model.safetensors")
    name = next(key for key in tensors if tensors[key].ndim == 4)
    save_file({**tensors, name: tensors[name][:1].clone()}, copy / "model.safetensors")
    assert name in fails(pellucid, "reconstruct", copy, photos)


def test_a_truncated_model_is_refused(pellucid, copy, photos):
    content = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(content[: len(content) // 2])
    assert "model.safetensors" in fails(pellucid, "reconstruct", copy, photos)


def test_a_resumed_run_cannot_become_another_model(pellucid, copy):
    message = fails(pellucid, "train", "--resume", copy, "bottleneck.codes=64")
    assert "cannot change 'bottleneck'" in message


def test_changed_data_is_noticed_before_numbers_are_made(pellucid, copy, photos, tmp_path):
    moved = shutil.copytree(photos, tmp_path / "moved")
    recipe = (copy / "recipe.yaml").read_text().replace(str(photos), str(moved))
    (copy / "recipe.yaml").write_text(recipe)
    assert pellucid("evaluate", copy, "-q")[0] == 0
    held_out = json.loads((copy / "splits.json").read_text())["items"]["test"]
    Image.new("RGB", (48, 40)).save(moved / next(iter(held_out)))
    before = (copy / "evaluation.json").read_bytes()
    assert next(iter(held_out)) in fails(pellucid, "evaluate", copy, "-q")
    assert (copy / "evaluation.json").read_bytes() == before


def test_tiny_images_are_skipped_with_a_count(pellucid, photos, tmp_path):
    mixed = shutil.copytree(photos, tmp_path / "mixed")
    Image.new("RGB", (1, 1)).save(mixed / "dot.png")
    Image.new("L", (30_000, 4)).save(mixed / "line.png")
    (mixed / "cut.png").write_bytes((photos / "0.png").read_bytes()[:300])
    code, out, _ = pellucid("inspect", mixed, "--json", "-q")
    assert code == 0
    skipped = json.loads(out)["skipped"]
    assert sum(entry["count"] for entry in skipped.values()) >= 1
    assert "cut.png" in json.dumps(skipped)


def test_compare_wants_evaluated_runs(pellucid, trained, copy):
    (copy / "evaluation.json").unlink()
    assert "was not evaluated yet" in fails(pellucid, "compare", trained, copy)
    alone = fails(pellucid, "compare", trained)
    assert "no codebook" in alone
    assert "a second run" in alone
