"""Inspection: what is counted, what is measured, what is recommended."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import smooth_pixels
from PIL import Image

from pellucid.data import inspect_images
from pellucid.errors import DataError


def test_statistics_match_numpy(photos: Path) -> None:
    report = inspect_images(str(photos))
    images = np.stack([smooth_pixels(seed) for seed in range(12)]) / 255
    np.testing.assert_allclose(report.channel_mean, images.mean(axis=(0, 1, 2)), atol=1e-5)
    np.testing.assert_allclose(report.channel_std, images.std(axis=(0, 1, 2)), atol=1e-5)
    assert report.low == pytest.approx(images.min(), abs=1e-6)
    assert report.high == pytest.approx(images.max(), abs=1e-6)
    assert report.total_pixels == 12 * 48 * 40
    assert report.sizes == {"40×48": 12}
    assert report.modes == {"RGB": 12}
    assert report.widths == {"min": 40, "median": 40, "max": 40}


def test_the_report_is_json(photos: Path) -> None:
    (photos / "broken.png").write_bytes(b"")
    (photos / "notes.txt").write_text("a")
    node = inspect_images(str(photos)).to_json()
    assert json.loads(json.dumps(node))["skipped"] == {
        "empty file": {"count": 1, "examples": ["broken.png"]}
    }
    assert node["ignored"] == {".txt": 1}
    assert (node["found"], node["count"]) == (13, 12)


def test_duplicates_are_found_exact_and_near(photos: Path) -> None:
    with Image.open(photos / "03.png") as image:
        image.save(photos / "copy.bmp")
        image.save(photos / "recompressed.jpg", quality=92)
    report = inspect_images(str(photos))
    assert report.exact_duplicates == {"sets": 1, "images": 2, "examples": [["03.png", "copy.bmp"]]}
    assert report.near_duplicates["pairs"] == 1
    assert report.near_duplicates["examples"] == [["03.png", "recompressed.jpg"]]


def test_progress_counts_every_image(photos: Path) -> None:
    calls: list[tuple[int, int]] = []
    inspect_images(str(photos), progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (12, 12)


def test_a_sample_of_a_big_set_is_stated_and_repeatable(photos: Path) -> None:
    report = inspect_images(str(photos), limit=5)
    assert (report.found, report.examined, report.count) == (12, 5, 5)
    assert report.remarks == ("a sample of 5 of 12 images was decoded",)
    assert inspect_images(str(photos), limit=5) == report
    with pytest.raises(DataError, match="nothing would be examined"):
        inspect_images(str(photos), limit=0)


def test_only_broken_files_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(DataError, match="none of the images can be read") as caught:
        inspect_images(str(tmp_path))
    assert "a.png" in str(caught.value)


@pytest.mark.parametrize(
    ("shape", "recipe"),
    [((60, 32, 32, 3), "cifar-vq"), ((60, 28, 28), "mnist-vae"), ((60, 80, 90, 3), "patch-vq")],
)
def test_the_recipe_follows_the_images(tmp_path: Path, shape: tuple[int, ...], recipe: str) -> None:
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.save(tmp_path / "a.npy", images)
    best = inspect_images(str(tmp_path / "a.npy")).suggestions[0]
    assert best.recipe == recipe
    assert best.command == f"pellucid train {recipe} data.path={tmp_path / 'a.npy'}"
    assert "60" in best.why


def test_few_large_photographs_are_for_crops_and_small_sets_for_small_batches(
    tmp_path: Path,
) -> None:
    for seed in range(6):
        gray = smooth_pixels(seed, 300, 200, 1)
        Image.fromarray(gray).save(tmp_path / f"{seed}.png")
    crops, whole = inspect_images(str(tmp_path)).suggestions
    assert (crops.recipe, whole.recipe) == ("photos-vq", "patch-vq")
    assert crops.command.endswith("data.channels=1")
    assert whole.command.endswith("data.channels=1 training.batch_size=2")


def test_named_photographs_are_inspected_by_name() -> None:
    report = inspect_images("photographs")
    assert report.found == 9
    assert report.suggestions[0].command == "pellucid train photos-vq data.name=photographs"


def test_real_photographs(shared_datasets: Path) -> None:
    report = inspect_images(str(shared_datasets / "clothing"), limit=50)
    assert (report.found, report.examined) == (400, 50)
    assert report.suggestions[0].recipe == "patch-vq"
    frames = inspect_images(str(shared_datasets / "openfield_landmarks"))
    assert frames.near_duplicates["pairs"] > 20  # one video
    assert frames.colourless == frames.count
