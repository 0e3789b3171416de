"""Laws of the datasets: pure functions of (seed, epoch, index), exact ranges, clean targets."""

from __future__ import annotations

import hashlib
import inspect
import io
import json
import pickle
import subprocess
import sys
import time
import typing
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import smooth_pixels
from PIL import Image
from torch.utils.data import DataLoader, default_collate

from pellucid.data import DATA, EpochOrder, ImageData
from pellucid.data.crops import grid_crops
from pellucid.data.degrading import Degradation, gaussian_blur
from pellucid.errors import DataError, RecipeError


def test_a_sample_is_a_pure_function_of_seed_epoch_and_index(photos: Path) -> None:
    data = ImageData(str(photos), size=16, resize=2.0, noise=0.1, blur=1.0, jpeg=50)
    twin = ImageData(str(photos), size=16, resize=2.0, noise=0.1, blur=1.0, jpeg=50)
    addresses = [(3, 5), (0, 1), (3, 5), (7, 0)]
    batch = default_collate(data.train.__getitems__(addresses))
    for row, address in enumerate(addresses):
        alone = twin.train[address]
        assert torch.equal(batch["x"][row], alone["x"])
        assert torch.equal(batch["target"][row], alone["target"])
    assert torch.equal(twin.train[7]["x"], twin.train[7, 0]["x"])
    assert not torch.equal(twin.train[3, 5]["x"], twin.train[3, 6]["x"])
    other = ImageData(str(photos), size=16, resize=2.0, seed=1)
    assert not torch.equal(
        data.train.batch([(0, 0)])["target"], other.train.batch([(0, 0)])["target"]
    )


def test_samples_do_not_depend_on_global_generators(photos: Path) -> None:
    data = ImageData(str(photos), size=16, noise=0.1)
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - the point is that it is not used
    first = data.train[2, 3]["x"]
    state = torch.random.get_rng_state()
    torch.manual_seed(9)
    np.random.seed(9)  # noqa: NPY002
    assert torch.equal(data.train[2, 3]["x"], first)
    torch.random.set_rng_state(state)
    data.train[0, 1]
    assert torch.equal(torch.random.get_rng_state(), state)


def test_another_process_sees_the_same_order_splits_and_samples(photos: Path) -> None:
    program = """
import hashlib, json, sys
from pellucid.data import EpochOrder, ImageData
data = ImageData(sys.argv[1], size=16, noise=0.1)
x = data.train[2, 4]["x"].numpy()
print(json.dumps([hashlib.sha256(x.tobytes()).hexdigest(), data.splits,
                  EpochOrder(50, 8, 3).batch(17)]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(photos)], capture_output=True, text=True, check=True
    )
    digest, splits, order = json.loads(done.stdout)
    data = ImageData(str(photos), size=16, noise=0.1)
    assert hashlib.sha256(data.train[2, 4]["x"].numpy().tobytes()).hexdigest() == digest
    assert data.splits == splits
    assert [list(address) for address in EpochOrder(50, 8, 3).batch(17)] == order


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_worker_processes_deliver_the_same_batches(photos: Path, context: str) -> None:
    data = ImageData(str(photos), size=16)
    batches = [EpochOrder(len(data.train), 4, 0).batch(step) for step in range(4)]
    loader = DataLoader(
        data.train, batch_sampler=batches, num_workers=1, multiprocessing_context=context
    )
    for batch, addresses in zip(loader, batches, strict=True):
        assert torch.equal(batch["x"], data.train.batch(addresses)["x"])


def test_pickling_sends_no_pixels(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (60, 64, 64, 3), dtype=np.uint8)
    np.savez_compressed(tmp_path / "a.npz", images=images)
    data = ImageData(str(tmp_path / "a.npz"), size=32)
    sent = bytes(ForkingPickler.dumps(data.train))
    assert len(sent) < images.nbytes / 20
    again = pickle.loads(sent)
    assert torch.equal(again.batch([(5, 2)])["x"], data.train.batch([(5, 2)])["x"])
    spilled = Path(data.train.pixels.__getstate__()["file"])
    assert spilled.is_file()
    del data
    assert not spilled.exists()


def test_images_over_the_cache_budget_are_the_same(photos: Path) -> None:
    cached = ImageData(str(photos), size=16)
    decoded = ImageData(str(photos), size=16, cache_megabytes=0)
    assert cached.train.pixels.megabytes > 0 == decoded.train.pixels.megabytes
    addresses = [(i, 3) for i in range(len(cached.train))]
    assert torch.equal(cached.train.batch(addresses)["x"], decoded.train.batch(addresses)["x"])
    again = pickle.loads(pickle.dumps(decoded.train))
    assert torch.equal(again.batch(addresses)["x"], cached.train.batch(addresses)["x"])


@pytest.mark.parametrize("value_range", [(-1.0, 1.0), (0.0, 1.0), (-2.5, 0.5)])
def test_8_bit_pixels_survive_the_value_range(
    photos: Path, value_range: tuple[float, float]
) -> None:
    data = ImageData(
        str(photos), size=40, resize=None, value_range=value_range, random_crop=False, flip=False
    )
    sample = data.train[0]
    name = data.train.name(0)
    with Image.open(photos / name) as image:
        pixels = np.asarray(image)[4:44]
    back = data.value_range.to_uint8(sample["x"]).permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(back, pixels)
    assert sample["x"].dtype == torch.float32
    assert sample["x"].min() >= value_range[0]
    assert sample["x"].max() <= value_range[1]


def test_16_bit_and_8_bit_files_mix_and_keep_their_precision(tmp_path: Path) -> None:
    for seed in range(5):
        Image.fromarray(smooth_pixels(seed, 16, 16)).save(tmp_path / f"{seed}.png")
    levels = np.arange(256, dtype=np.uint16).reshape(16, 16) * 257 + 1
    Image.fromarray(levels).save(tmp_path / "deep.png")
    data = ImageData(
        str(tmp_path), size=16, resize=None, channels=1, value_range=(0.0, 1.0), flip=False,
        validation=0.2, test=0.2,
    )  # fmt: skip
    samples = {
        split.name(i): split[i]["x"]
        for split in (data.train, data.validation, data.test)
        for i in range(len(split))
    }
    np.testing.assert_allclose(samples["deep.png"][0].numpy() * 65535, levels, atol=0.02)
    assert data.report.bits == {"8": 5, "16": 1}
    mixed = data.train.batch(range(len(data.train)))["x"]
    assert mixed.shape == (len(data.train), 1, 16, 16)


def test_the_target_is_clean_and_geometry_is_shared(photos: Path) -> None:
    plain = ImageData(str(photos), size=16, resize=2.0)
    noisy = ImageData(str(photos), size=16, resize=2.0, noise=0.2, blur=1.0, jpeg=30)
    addresses = [(i, 2) for i in range(len(plain.train))]
    clean, degraded = plain.train.batch(addresses), noisy.train.batch(addresses)
    assert torch.equal(clean["x"], clean["target"])
    assert torch.equal(degraded["target"], clean["target"])
    assert (degraded["x"] - degraded["target"]).abs().amax(dim=(1, 2, 3)).min() > 0
    assert degraded["x"].min() >= -1
    assert degraded["x"].max() <= 1
    assert torch.equal(noisy.validation[0]["x"], noisy.validation[0]["target"])


def test_noise_has_the_stated_strength(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.stack([np.full((64, 64), 100 + i, np.uint8) for i in range(40)]))
    data = ImageData(
        str(tmp_path / "a.npy"), size=64, channels=1, resize=None, noise=0.1, value_range=(0, 1)
    )
    batch = data.train.batch([(i, e) for i in range(len(data.train)) for e in range(4)])
    strengths = (batch["x"] - batch["target"]).std(dim=(1, 2, 3))
    assert strengths.max() < 0.105
    assert abs(strengths.mean() - 0.05) < 0.01  # uniform from 0 to 0.1


def test_blur_and_jpeg_change_what_they_should(tmp_path: Path) -> None:
    impulse = np.zeros((31, 31, 1), np.float32)
    impulse[15, 15] = 1
    blurred = gaussian_blur(impulse, 2.0)[..., 0]
    assert abs(blurred.sum() - 1) < 1e-5
    variance = (blurred.sum(axis=0) * (np.arange(31) - 15) ** 2).sum()
    assert abs(variance - 4) < 0.15  # σ² of a Gaussian cut at 3 σ
    noise = np.random.default_rng(0).random((32, 32, 1), dtype=np.float32)
    rough = Degradation(jpeg=1)(noise, np.random.default_rng(1))
    fine = Degradation(jpeg=95)(noise, np.random.default_rng(1))
    assert np.abs(rough - noise).mean() > 2 * np.abs(fine - noise).mean() > 0


def test_a_mask_hides_whole_blocks_of_the_input_alone(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "a.npy", rng.integers(200, 255, (60, 32, 32, 3), np.uint8))
    options = {"size": 32, "resize": None, "flip": False, "random_crop": False}
    data = ImageData(str(tmp_path / "a.npy"), **options, mask=0.8, mask_size=8)
    batch = data.train.batch([(i, e) for i in range(len(data.train)) for e in range(8)])
    hidden = (batch["x"] != batch["target"]).any(1)
    assert (batch["x"].permute(0, 2, 3, 1)[hidden] == 0).all()  # grey
    assert abs(hidden.float().mean() - 0.4) < 0.03  # uniform from 0 to 0.8
    runs = hidden.float().diff(dim=2).ne(0).any(1)  # columns where some row changes
    assert (runs.sum(1) <= 4).all()  # 8-pixel blocks on one shifted grid: at most 4 borders
    assert torch.equal(data.validation[0]["x"], data.validation[0]["target"])


@pytest.mark.parametrize("options", [{"mask": 1.0}, {"mask": -0.1}, {"mask": 0.5, "mask_size": 0}])
def test_a_mask_without_a_meaning_is_refused(options) -> None:
    with pytest.raises(DataError, match="block"):
        Degradation(**options)


def test_flips_are_fair_and_options_do_not_shift_the_crops(photos: Path) -> None:
    flipped = ImageData(str(photos), size=16, resize=2.0)
    straight = ImageData(str(photos), size=16, resize=2.0, flip=False)
    addresses = [(i % len(flipped.train), i) for i in range(200)]
    a, b = flipped.train.batch(addresses)["x"], straight.train.batch(addresses)["x"]
    same = [torch.equal(x, y) for x, y in zip(a, b, strict=True)]
    mirrored = [torch.equal(x, y.flip(-1)) for x, y in zip(a, b, strict=True)]
    assert all(s or m for s, m in zip(same, mirrored, strict=True))
    assert 70 < sum(same) < 130


def test_random_crops_reach_every_place(tmp_path: Path) -> None:
    rows, columns = np.mgrid[0:9, 0:9].astype(np.uint8)
    images = np.stack([np.stack([rows + 9 * i, columns, columns * 0], 2) for i in range(10)])
    np.save(tmp_path / "a.npy", images)
    data = ImageData(str(tmp_path / "a.npy"), size=8, resize=None, flip=False)
    corners = set()
    for epoch in range(40):
        x = data.value_range.to_uint8(data.train[0, epoch]["x"])
        corners.add((int(x[0, 0, 0]) % 9, int(x[1, 0, 0])))
    assert corners == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_train_crops_repeat_every_image_with_its_group(photos: Path) -> None:
    data = ImageData(str(photos), size=16, resize=2.0, train_crops=5)
    groups = data.train.batch(range(len(data.train)))["group"]
    assert len(data.train) == 5 * 10
    assert torch.unique(groups, return_counts=True)[1].tolist() == [5] * 10
    assert len({data.train[i]["index"] for i in range(len(data.train))}) == 50


def test_evaluation_crops_are_fixed_inside_and_apart(photos: Path) -> None:
    data = ImageData(str(photos), size=16, resize=None, crops_per_image=4)
    assert len(data.test) == 4
    assert torch.equal(data.test[1]["x"], data.test[1, 9]["x"])
    assert len({data.test[i]["group"] for i in range(4)}) == 1
    places = grid_crops(48, 40, 16, 4)
    assert len(set(places)) == 4
    assert all(0 <= top <= 32 and 0 <= left <= 24 for top, left in places)
    assert grid_crops(48, 40, 16, 1) == [(16, 12)]
    assert grid_crops(16, 16, 16, 9) == [(0, 0)]
    assert len(grid_crops(72, 64, 64, 50)) == 2
    for count in range(1, 40):
        assert len(set(grid_crops(300, 500, 64, count))) == count


def test_class_folders_become_labels(tmp_path: Path) -> None:
    for i in range(12):
        folder = tmp_path / ("cat" if i % 3 else "dog")
        folder.mkdir(exist_ok=True)
        Image.fromarray(smooth_pixels(i)).save(folder / f"{i}.png")
    data = ImageData(str(tmp_path), size=16)
    assert data.classes == ("cat", "dog")
    for i in range(len(data.train)):
        assert data.classes[data.train[i]["label"]] == data.train.name(i).split("/")[0]
    assert data.report.classes == {"cat": 8, "dog": 4}


def test_files_without_classes_have_no_label(photos: Path) -> None:
    assert "label" not in ImageData(str(photos), size=16).train[0]


def test_memory_mapped_8_bit_arrays_are_not_copied(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.stack([smooth_pixels(i, 16, 16) for i in range(20)]))
    data = ImageData(str(tmp_path / "a.npy"), size=16, resize=None)
    assert data.train.pixels.megabytes == 0
    assert len(pickle.dumps(data.train)) < 5000


def test_a_path_wins_over_a_name(photos: Path) -> None:
    assert ImageData(str(photos), name="photographs", size=16).report.source == str(photos)


def test_broken_files_are_skipped_counted_and_never_invented(photos: Path) -> None:
    (photos / "empty.png").write_bytes(b"")
    (photos / "text.jpg").write_text("hello")
    whole = (photos / "00.png").read_bytes()
    (photos / "cut.png").write_bytes(whole[: len(whole) // 2])
    Image.new("RGB", (1, 1)).save(photos / "dot.png")
    data = ImageData(str(photos), size=16)
    assert data.report.count == 12
    assert {k: v["count"] for k, v in data.report.skipped.items()} == {
        "empty file": 1,
        "not an image": 1,
        "too small": 1,
        "truncated or corrupt": 1,
    }
    assert data.report.skipped["too small"]["examples"] == ["dot.png: 1×1"]
    names = {name for part in data.splits["items"].values() for name in part}
    assert names == {f"{i:02}.png" for i in range(12)}


def test_strict_names_the_first_broken_file(photos: Path) -> None:
    (photos / "05b.png").write_bytes(b"")
    (photos / "07b.png").write_text("hello")
    with pytest.raises(DataError, match=r"data\.strict is set") as caught:
        ImageData(str(photos), size=16, strict=True)
    assert "05b.png" in str(caught.value)
    assert "empty file" in str(caught.value)


def test_small_images_are_enlarged_twice_at_most(tmp_path: Path) -> None:
    for side in range(6, 20):
        Image.fromarray(smooth_pixels(side, side, side)).save(tmp_path / f"{side:02}.png")
    data = ImageData(str(tmp_path), size=16)
    assert data.report.skipped["too small"]["count"] == 2  # 6 and 7
    native = ImageData(str(tmp_path), size=16, resize=None)
    assert native.report.skipped["too small"]["count"] == 10  # 6 … 15


@pytest.mark.parametrize("content", ["nothing", "text", "array"])
def test_a_folder_without_images_says_what_it_found(tmp_path: Path, content: str) -> None:
    if content == "text":
        (tmp_path / "a.txt").write_text("a")
        (tmp_path / "b.HEIC").write_text("b")
    if content == "array":
        np.save(tmp_path / "a.npy", np.zeros(3))
    with pytest.raises(DataError, match="no images in this folder") as caught:
        ImageData(str(tmp_path))
    expected = {"nothing": "no files at all", "text": "1 × .heic, 1 × .txt", "array": "FILE.npz"}
    assert expected[content] in str(caught.value)


def test_only_unusable_images_say_why(tmp_path: Path) -> None:
    for i in range(3):
        Image.new("RGB", (5 + i, 5)).save(tmp_path / f"{i}.png")
    with pytest.raises(DataError, match="none of the images can be used") as caught:
        ImageData(str(tmp_path), size=64)
    assert "3 × too small; the first is 0.png (too small, 5×5)" in str(caught.value)
    assert "choose a smaller data.size" in str(caught.value)


def test_paths_that_are_not_sets_are_refused(photos: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder") as caught:
        ImageData(str(photos.parent / "photo"))
    assert f"did you mean '{photos}'" in str(caught.value)
    with pytest.raises(DataError, match="name the folder that holds several"):
        ImageData(str(photos / "00.png"))
    with pytest.raises(DataError, match="no images were named"):
        ImageData()
    with pytest.raises(RecipeError, match="did you mean 'cifar10'"):
        ImageData(name="cifar")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"size": 0}, "data.size"),
        ({"channels": 2}, "1 or 3"),
        ({"resize": 0.5}, "data.resize"),
        ({"noise": -1.0}, "data.noise"),
        ({"jpeg": 200}, "1…95"),
        ({"train_crops": 0}, "data.train_crops"),
        ({"crops_per_image": 0}, "data.crops_per_image"),
        ({"cache_megabytes": -1}, "data.cache_megabytes"),
        ({"float_range": (1.0, 0.0)}, "data.float_range"),
        ({"seed": -1}, "data.seed"),
        ({"value_range": (1.0, -1.0)}, "a value range must rise"),
    ],
)
def test_keywords_without_meaning_are_refused(photos: Path, keywords: dict, message: str) -> None:
    with pytest.raises((DataError, RecipeError)) as caught:
        ImageData(str(photos), **keywords)
    assert message in str(caught.value)


def test_the_constructor_is_its_own_schema() -> None:
    hints = typing.get_type_hints(DATA["images"].__init__)
    for name, parameter in inspect.signature(ImageData).parameters.items():
        assert name in hints
        assert parameter.default is not inspect.Parameter.empty


def test_an_index_outside_the_split_is_an_index_error(photos: Path) -> None:
    data = ImageData(str(photos), size=16)
    with pytest.raises(IndexError, match="sample 99 of a split of 10"):
        data.train[99]
    assert torch.equal(data.test[-1]["x"], data.test[len(data.test) - 1]["x"])


def test_a_batch_of_real_photographs_is_quick(shared_datasets: Path) -> None:
    data = ImageData(str(shared_datasets / "clothing"))
    order = iter(EpochOrder(len(data.train), 32, 0))
    times = []
    for _ in range(30):
        start = time.process_time()
        batch = default_collate(data.train.__getitems__(next(order)))
        times.append(time.process_time() - start)
    assert batch["x"].shape == (32, 3, 64, 64)
    assert min(times) < 0.010
    assert data.report.count == 400
    assert len(data.classes) == 10


def test_jpeg_in_memory_matches_what_was_stored(tmp_path: Path) -> None:
    """Cached pixels equal decoding and resizing by Pillow, step by step."""
    for seed in range(3):
        Image.fromarray(smooth_pixels(seed, 100, 140)).save(tmp_path / f"{seed}.jpg", quality=90)
    data = ImageData(str(tmp_path), size=64, resize=1.0, random_crop=False, flip=False)
    buffer = io.BytesIO((tmp_path / data.train.name(0)).read_bytes())
    image = Image.open(buffer).resize((90, 64), Image.Resampling.BICUBIC)
    expected = np.asarray(image)[:, 13:77]
    got = data.value_range.to_uint8(data.train[0]["x"]).permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(got, expected)
