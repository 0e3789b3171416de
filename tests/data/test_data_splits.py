"""Laws of the division into train, validation and test."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import smooth_pixels
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pellucid.data import ImageData
from pellucid.data.duplicates import merge_groups
from pellucid.data.folders import group_name
from pellucid.data.splits import Fractions, assign
from pellucid.errors import DataError
from pellucid.run_folder import RunFolder


@given(st.integers(3, 400), st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_every_group_is_in_one_split_and_no_split_is_empty(count: int, seed: int) -> None:
    groups = [f"g{i % max(3, count // 2)}" for i in range(count)]
    splits = assign(groups, Fractions(0.1, 0.1), seed)
    assert set(splits) == {"train", "validation", "test"}
    for name in set(groups):
        assert len({s for s, g in zip(splits, groups, strict=True) if g == name}) == 1


def test_shares_are_exact_in_small_sets_and_close_in_large_ones() -> None:
    small = assign([str(i) for i in range(50)], Fractions(0.1, 0.2), 0)
    assert [small.count(s) for s in ("train", "validation", "test")] == [35, 5, 10]
    large = assign([str(i) for i in range(20_000)], Fractions(0.1, 0.2), 0)
    assert abs(large.count("test") / 20_000 - 0.2) < 0.012  # four standard deviations
    assert abs(large.count("validation") / 20_000 - 0.1) < 0.009


def test_files_added_to_a_large_set_move_nobody() -> None:
    old = [f"{i}.png" for i in range(100)]
    new = [f"new{i}.png" for i in range(300)]
    before = assign(old, Fractions(0.1, 0.1), 3)
    after = assign(new + old, Fractions(0.1, 0.1), 3)
    assert after[len(new) :] == before


def test_the_order_of_files_does_not_matter_and_the_seed_does() -> None:
    names = [str(i) for i in range(60)]
    forward = dict(zip(names, assign(names, Fractions(0.2, 0.2), 0), strict=True))
    back = names[::-1]
    assert forward == dict(zip(back, assign(back, Fractions(0.2, 0.2), 0), strict=True))
    assert forward != dict(zip(names, assign(names, Fractions(0.2, 0.2), 1), strict=True))


@pytest.mark.parametrize(("validation", "test"), [(-0.1, 0.1), (0.5, 0.5), (0.0, 1.0)])
def test_shares_that_leave_nothing_are_refused(validation: float, test: float) -> None:
    with pytest.raises(DataError, match="leave nothing to train on"):
        Fractions(validation, test)


def test_shares_of_zero_leave_a_split_empty(photos: Path) -> None:
    data = ImageData(str(photos), size=16, validation=0.25, test=0.0)
    assert (len(data.train), len(data.validation), len(data.test)) == (9, 3, 0)


def test_large_shares_of_few_images_leave_one_to_train_on() -> None:
    splits = assign(["a", "b", "c"], Fractions(0.45, 0.45), 0)
    assert sorted(splits) == ["test", "train", "validation"]


def test_identical_images_unite_their_groups() -> None:
    groups = ["a", "b", "c", "d", "e"]
    assert merge_groups(groups, [[1, 2], [2, 4]]) == ["a", "b", "b", "d", "b"]


def test_identical_images_are_never_in_different_splits(photos: Path) -> None:
    (photos / "copies").mkdir()
    for name in ("00", "01", "02", "03", "04"):
        shutil.copy(photos / f"{name}.png", photos / "copies" / f"again{name}.png")
        with Image.open(photos / f"{name}.png") as image:
            image.save(photos / "copies" / f"other{name}.bmp")  # other bytes, same pixels
    for seed in range(5):
        data = ImageData(str(photos), size=16, seed=seed, validation=0.3, test=0.3)
        split_of = {n: s for s, part in data.splits["items"].items() for n in part}
        for name in ("00", "01", "02", "03", "04"):
            trio = (f"{name}.png", f"copies/again{name}.png", f"copies/other{name}.bmp")
            assert len({split_of[n] for n in trio}) == 1
        assert data.report.exact_duplicates["sets"] == 5
        assert data.report.exact_duplicates["images"] == 15


def test_groups_by_folder_and_stem() -> None:
    assert group_name("a/b/frame_007.png", "file") == "a/b/frame_007.png"
    assert group_name("a/b/frame_007.png", "folder") == "a/b"
    assert group_name("frame_007.png", "folder") == "."
    assert (
        group_name("a/frame_007.png", "stem") == group_name("a/frame-12.jpg", "stem") == "a/frame"
    )
    assert group_name("007.png", "stem") == "007"


def test_folders_stay_whole(tmp_path: Path) -> None:
    for i, patient in itertools.product(range(3), "abcdef"):
        (tmp_path / patient).mkdir(exist_ok=True)
        Image.fromarray(smooth_pixels(i * 6 + ord(patient))).save(tmp_path / patient / f"{i}.png")
    data = ImageData(str(tmp_path), size=16, group="folder")
    parts = [{name[0] for name in part} for part in data.splits["items"].values()]
    assert sum(len(part) for part in parts) == len(set.union(*parts)) == 6
    groups = [
        {int(s["group"]) for s in split} for split in (data.train, data.validation, data.test)
    ]
    assert sum(len(part) for part in groups) == len(set.union(*groups))


def test_look_alikes_in_different_splits_are_remarked(tmp_path: Path) -> None:
    for i, (scene, frame) in enumerate(itertools.product(range(10), range(6))):
        pixels = smooth_pixels(scene).copy()
        pixels[0, i % 40] = 255 - pixels[0, i % 40]  # one pixel tells the frames apart
        Image.fromarray(pixels).save(tmp_path / f"scene{scene}_{frame}.png")
    loose = ImageData(str(tmp_path), size=16)
    assert loose.report.near_duplicates["across_splits"] > 0
    assert "data.group=folder or stem" in loose.report.remarks[0]
    grouped = ImageData(str(tmp_path), size=16, group="stem")
    assert grouped.report.near_duplicates["across_splits"] == 0
    assert grouped.report.near_duplicates["pairs"] == 10 * 15
    assert grouped.report.remarks == ()


def test_written_splits_are_kept_when_shares_seed_and_files_change(
    photos: Path, tmp_path: Path
) -> None:
    data = ImageData(str(photos), size=16)
    folder = RunFolder(tmp_path / "run")
    folder.write_json(folder.splits, data.splits)
    Image.fromarray(smooth_pixels(77)).save(photos / "later.png")
    written = folder.read_json(folder.splits)
    again = ImageData(str(photos), size=24, seed=5, test=0.4, splits=written)
    assert again.splits["items"] == data.splits["items"]
    assert again.splits["fingerprint"] == data.splits["fingerprint"]
    assert again.report.remarks == ("1 images are not in the written splits and are left out",)
    assert len(again.train) == len(data.train)


def test_missing_and_changed_files_are_named(photos: Path) -> None:
    written = ImageData(str(photos), size=16).splits
    (photos / "03.png").unlink()
    Image.fromarray(smooth_pixels(99)).save(photos / "05.png")
    with pytest.raises(DataError, match="the images are not those that were split") as caught:
        ImageData(str(photos), size=16, splits=written)
    assert "1 missing (03.png); 1 changed (05.png)" in str(caught.value)


def test_other_json_is_not_taken_for_splits(photos: Path) -> None:
    with pytest.raises(DataError, match="do not say which image is where"):
        ImageData(str(photos), size=16, splits={"train": ["00.png"]})


def test_splits_are_json_and_name_contents(photos: Path) -> None:
    data = ImageData(str(photos), size=16)
    assert json.loads(json.dumps(data.splits)) == data.splits
    names = sorted(name for part in data.splits["items"].values() for name in part)
    assert names == [f"{i:02}.png" for i in range(12)]
    Image.fromarray(smooth_pixels(50)).save(photos / "00.png")
    assert ImageData(str(photos), size=16).splits["fingerprint"] != data.splits["fingerprint"]


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_images_are_refused(tmp_path: Path, count: int) -> None:
    for seed in range(count):
        Image.fromarray(smooth_pixels(seed)).save(tmp_path / f"{seed}.png")
    with pytest.raises(DataError, match="too few samples to split") as caught:
        ImageData(str(tmp_path), size=16)
    assert f"{count} group(s) in {count} usable sample(s)" in str(caught.value)


def test_copies_of_one_image_cannot_be_split(tmp_path: Path) -> None:
    images = np.stack([smooth_pixels(0, 16, 16)] * 20)
    np.save(tmp_path / "a.npy", images)
    with pytest.raises(DataError, match=r"1 group\(s\) in 20 usable"):
        ImageData(str(tmp_path / "a.npy"), size=16, resize=None)
