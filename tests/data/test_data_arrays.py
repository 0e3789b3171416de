"""NumPy files: layouts, memory maps, and every refusal with its message."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from pellucid.data.arrays import ArrayReader, channels_last, open_array_file
from pellucid.data.opening import open_source
from pellucid.errors import DataError, RecipeError


def colours(count: int = 7, side: int = 12) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)


@pytest.mark.parametrize("layout", ["NHWC", "NCHW", "NHW", "NHW1", "N1HW"])
def test_every_layout_is_viewed_with_channels_last(layout: str) -> None:
    images = colours()
    gray = images[..., 0]
    given, expected = {
        "NHWC": (images, images),
        "NCHW": (np.moveaxis(images, 3, 1), images),
        "NHW": (gray, gray[..., None]),
        "NHW1": (gray[..., None], gray[..., None]),
        "N1HW": (gray[:, None], gray[..., None]),
    }[layout]
    viewed = channels_last(given, "here")
    np.testing.assert_array_equal(viewed, expected)
    assert np.shares_memory(viewed, given)


@pytest.mark.parametrize(
    ("kind", "scale"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1), (np.float64, 1)]
)
def test_types_are_scaled_to_unit_values(tmp_path: Path, kind: type, scale: int) -> None:
    unit = np.linspace(0, 1, 3 * 8 * 8).reshape(3, 8, 8)
    np.save(tmp_path / "a.npy", (unit * scale).astype(kind))
    pixels = open_array_file(tmp_path / "a.npy").reader.read(2).pixels_HWC[..., 0]
    got = pixels / 255 if pixels.dtype == np.uint8 else pixels
    assert pixels.dtype == (np.uint8 if kind is np.uint8 else np.float32)
    np.testing.assert_allclose(got, unit[2], atol=1 / scale if scale > 1 else 1e-6)


@pytest.mark.parametrize("layout", ["npy", "npz", "moved", "fortran"])
def test_memory_maps_travel_as_file_names(tmp_path: Path, layout: str) -> None:
    images = colours(200)
    path = tmp_path / ("a.npz" if layout == "npz" else "a.npy")
    if layout == "npz":
        np.savez(path, images=images, labels=np.arange(200) % 3)
    elif layout == "moved":
        np.save(path, np.ascontiguousarray(np.moveaxis(images, 3, 1)))
    else:
        np.save(path, np.asfortranarray(images) if layout == "fortran" else images)
    reader = open_array_file(path).reader
    assert reader.memory_mapped
    sent = pickle.dumps(reader)
    assert len(sent) < 2000
    again = pickle.loads(sent)
    for index in (0, 199):
        np.testing.assert_array_equal(again.read(index).pixels_HWC, images[index])


def test_compressed_members_are_loaded(tmp_path: Path) -> None:
    images = colours()
    np.savez_compressed(tmp_path / "a.npz", images=images, labels=list("abababa"))
    source = open_array_file(tmp_path / "a.npz")
    assert not source.reader.memory_mapped
    assert source.classes == ("a", "b")
    assert source.labels == (0, 1, 0, 1, 0, 1, 0)
    np.testing.assert_array_equal(source.reader.read(3).pixels_HWC, images[3])


def test_a_single_array_needs_no_key_and_groups_are_used(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", whatever=colours())
    assert len(open_array_file(tmp_path / "a.npz")) == 7
    np.savez(tmp_path / "b.npz", images=colours(), groups=[0, 0, 1, 1, 2, 2, 2])
    assert open_array_file(tmp_path / "b.npz").groups[2:5] == ("group 1", "group 1", "group 2")


def test_nan_is_refused_with_counts_and_the_first_place(tmp_path: Path) -> None:
    images = np.zeros((5000, 4, 4), np.float32)
    images[4321, 2, 1] = np.nan
    images[4999] = np.inf
    np.save(tmp_path / "a.npy", images)
    with pytest.raises(DataError) as caught:
        open_array_file(tmp_path / "a.npy")
    assert "17 of 80000 values" in str(caught.value)
    assert "image 4321, row 2, column 1, channel 0" in str(caught.value)


@pytest.mark.parametrize(("low", "high", "hint"), [(-1, 1, "[-1,1]"), (0, 255, "[0,255]")])
def test_values_outside_the_range_are_refused_with_the_range_that_fits(
    tmp_path: Path, low: float, high: float, hint: str
) -> None:
    np.save(tmp_path / "a.npy", np.linspace(low, high, 128, dtype=np.float32).reshape(2, 8, 8))
    with pytest.raises(DataError, match="values outside the stated range") as caught:
        open_array_file(tmp_path / "a.npy")
    assert f"data.float_range={hint}" in str(caught.value)
    assert f"from {low} to {high}" in str(caught.value)
    source = open_array_file(tmp_path / "a.npy", (low, high))
    assert source.reader.read(1).pixels_HWC.max() == 1


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "b.npz", images=np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (tmp_path / "c.npy").write_bytes(pickle.dumps([1, 2]))
    for name in ("a.npy", "b.npz", "c.npy"):
        with pytest.raises(DataError, match="never loaded"):
            open_array_file(tmp_path / name)


def test_a_broken_archive_is_named(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", images=colours(50))
    data = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match="cannot read this array file"):
        open_array_file(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((64, 48, 3), np.uint8), "one image cannot be split"),
        (np.zeros((5, 2, 8, 8), np.uint8), "found: 5×2×8×8"),
        (np.zeros((5, 8), np.uint8), "found: 5×8"),
        (np.zeros((0, 8, 8), np.uint8), "found: 0×8×8"),
        (np.zeros((5, 8, 8), np.int64), "uint8, uint16 or floating point"),
        (np.zeros((5, 8, 8), bool), "found: bool"),
    ],
)
def test_other_shapes_and_types_are_refused(
    tmp_path: Path, array: np.ndarray, message: str
) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(DataError) as caught:
        open_array_file(tmp_path / "a.npy")
    assert message in str(caught.value)


def test_an_unclear_npz_names_its_keys(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", image=colours(), extra=colours())
    with pytest.raises(DataError, match="extra, image") as caught:
        open_array_file(tmp_path / "a.npz")
    assert "rename 'image' to 'images'" in str(caught.value)


def test_labels_of_another_length_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=colours(), labels=[1, 2])
    with pytest.raises(DataError, match="`labels` does not fit") as caught:
        open_array_file(tmp_path / "a.npz")
    assert "7 integers or strings" in str(caught.value)


def test_arrays_cannot_be_grouped_by_names_they_lack(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", colours())
    with pytest.raises(DataError, match=r"data\.group=folder"):
        open_source(str(tmp_path / "a.npy"), None, group="folder")
    with pytest.raises(RecipeError, match="did you mean 'folder'"):
        open_source(str(tmp_path / "a.npy"), None, group="folders")  # type: ignore[arg-type]


def test_a_reader_in_memory_travels_whole() -> None:
    images = colours()
    again = pickle.loads(pickle.dumps(ArrayReader(images)))
    np.testing.assert_array_equal(again.read(1).pixels_HWC, images[1])
    assert again.digest(1) == ArrayReader(images).digest(1) != ArrayReader(images).digest(2)
