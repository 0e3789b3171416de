"""Each reading rule, on files written here; Pillow is the reference where it has the rule too."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from conftest import smooth_pixels
from PIL import Image, ImageOps

from pellucid.data.preparing import Preparation, resize, to_channels
from pellucid.data.reading import FileReader, UnreadableImage, read_picture


def png16(pixels_HWC: np.ndarray) -> bytes:
    """Encode 16-bit PNG by hand, with no filters."""
    height, width, channels = pixels_HWC.shape
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels_HWC)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".webp", ".tiff", ".Tif", ".bmp"])
def test_lossless_colour_is_read_as_it_was_written(tmp_path: Path, suffix: str) -> None:
    pixels = smooth_pixels(0)
    Image.fromarray(pixels).save(tmp_path / f"a{suffix}", lossless=True)  # WebP reads this word
    picture = read_picture(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(picture.pixels_HWC, pixels)
    assert (picture.width, picture.height, picture.bits) == (40, 48, 8)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tiff", ".jpg"])
def test_exif_rotation_agrees_with_pillow(tmp_path: Path, orientation: int, suffix: str) -> None:
    image = Image.fromarray(smooth_pixels(1))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / f"a{suffix}", exif=exif)
    picture = read_picture(tmp_path / f"a{suffix}")
    with Image.open(tmp_path / f"a{suffix}") as again:
        expected = np.asarray(ImageOps.exif_transpose(again))
    np.testing.assert_array_equal(picture.pixels_HWC, expected)
    assert (picture.height, picture.width) == expected.shape[:2]
    assert picture.notes == (("rotated by EXIF",) if orientation > 1 else ())


def test_alpha_is_composited_over_white(tmp_path: Path) -> None:
    pixels = np.full((10, 12, 4), 100, np.uint8)
    pixels[..., 3] = np.linspace(0, 255, 12).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    picture = read_picture(tmp_path / "a.png")
    alpha = pixels[0, :, 3] / 255
    expected = np.rint(alpha * 100 + (1 - alpha) * 255)
    np.testing.assert_array_equal(picture.pixels_HWC[0, :, 0], expected)
    assert picture.pixels_HWC.shape == (10, 12, 3)
    assert "alpha composited over white" in picture.notes


def test_gray_alpha_stays_gray_over_white(tmp_path: Path) -> None:
    pixels = np.zeros((9, 9, 2), np.uint8)
    Image.fromarray(pixels, "LA").save(tmp_path / "a.png")
    picture = read_picture(tmp_path / "a.png")
    assert picture.pixels_HWC.shape == (9, 9, 1)
    assert (picture.pixels_HWC == 255).all()


def test_transparent_palette_entries_become_white(tmp_path: Path) -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    image.putpixel((0, 0), 0)
    image.save(tmp_path / "a.png", transparency=0)
    pixels = read_picture(tmp_path / "a.png").pixels_HWC
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[1, 1].tolist() == [10, 200, 30]


def test_cmyk_follows_pillow(tmp_path: Path) -> None:
    image = Image.fromarray(smooth_pixels(2)).convert("CMYK")
    image.save(tmp_path / "a.tiff")
    expected = np.asarray(image.convert("RGB"))
    picture = read_picture(tmp_path / "a.tiff")
    np.testing.assert_array_equal(picture.pixels_HWC, expected)
    assert picture.mode == "CMYK"


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bit_png_keeps_its_precision(tmp_path: Path, channels: int) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 65536, (20, 30, channels), dtype=np.uint16)
    if channels in (2, 4):
        pixels[..., -1] = 65535
    (tmp_path / "a.png").write_bytes(png16(pixels))
    picture = read_picture(tmp_path / "a.png")
    colour = pixels if channels in (1, 3) else pixels[..., :-1]
    np.testing.assert_array_equal(np.rint(picture.pixels_HWC * 65535).astype(int), colour)
    assert picture.bits == 16


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit_tiff_keeps_its_precision(tmp_path: Path, channels: int) -> None:
    pixels = np.arange(24 * 20 * channels, dtype=np.uint16).reshape(24, 20, channels) * 40
    tifffile.imwrite(
        tmp_path / "a.tif",
        pixels if channels == 3 else pixels[..., 0],
        photometric="rgb" if channels == 3 else "minisblack",
        byteorder=">",
    )
    picture = read_picture(tmp_path / "a.tif")
    np.testing.assert_array_equal(np.rint(picture.pixels_HWC * 65535).astype(int), pixels)


def test_float_tiff_is_mapped_from_the_stated_range(tmp_path: Path) -> None:
    values = np.linspace(-1, 1, 100, dtype=np.float32).reshape(10, 10)
    Image.fromarray(values).save(tmp_path / "a.tiff")
    picture = read_picture(tmp_path / "a.tiff", float_range=(-1, 1))
    np.testing.assert_allclose(picture.pixels_HWC[..., 0], (values + 1) / 2, atol=1e-6)
    with pytest.raises(UnreadableImage, match=r"values outside float_range \(-1…1"):
        read_picture(tmp_path / "a.tiff")


def test_float_tiff_with_nan_is_refused_with_its_count(tmp_path: Path) -> None:
    values = np.zeros((10, 10), np.float32)
    values[3, 4] = np.nan
    Image.fromarray(values).save(tmp_path / "a.tiff")
    with pytest.raises(UnreadableImage, match=r"NaN or infinite values \(1 of 100\)"):
        read_picture(tmp_path / "a.tiff")


def test_of_several_frames_the_first_is_read(tmp_path: Path) -> None:
    frames = [Image.new("L", (9, 9), level) for level in (10, 200)]
    frames[0].save(tmp_path / "a.tiff", save_all=True, append_images=frames[1:])
    picture = read_picture(tmp_path / "a.tiff")
    assert (picture.pixels_HWC == 10).all()
    assert picture.notes == ("first of several frames",)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp"])
def test_a_truncated_file_is_refused(tmp_path: Path, suffix: str) -> None:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, Image.registered_extensions()[suffix])
    (tmp_path / f"a{suffix}").write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    with pytest.raises(UnreadableImage, match="truncated or corrupt"):
        read_picture(tmp_path / f"a{suffix}")


def test_other_content_and_empty_files_have_their_own_reasons(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("a text")
    (tmp_path / "b.png").write_bytes(b"")
    with pytest.raises(UnreadableImage, match="not an image"):
        read_picture(tmp_path / "a.png")
    with pytest.raises(UnreadableImage, match="empty file"):
        read_picture(tmp_path / "b.png")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_any_damage_is_reported_as_an_unreadable_image(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    refused = 0
    for suffix in (".png", ".jpg", ".tiff"):
        buffer = io.BytesIO()
        Image.fromarray(smooth_pixels(3)).save(buffer, Image.registered_extensions()[suffix])
        for _ in range(60):
            data = bytearray(buffer.getvalue())
            for place in rng.integers(0, min(len(data), 300), 4):
                data[place] = rng.integers(0, 256)
            (tmp_path / f"a{suffix}").write_bytes(data)
            try:
                read_picture(tmp_path / f"a{suffix}")
            except UnreadableImage:
                refused += 1
    assert refused > 50


def test_30000_pixels_a_side_are_refused_without_decoding(tmp_path: Path) -> None:
    rows = zlib.compressobj(9)
    data = b"".join(rows.compress(bytes(30_001)) for _ in range(300)) + rows.flush()

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    with pytest.raises(UnreadableImage, match="too many pixels"):
        read_picture(tmp_path / "a.png")


def test_a_long_thin_image_below_the_pixel_limit_is_read(tmp_path: Path) -> None:
    Image.new("L", (30_000, 20), 7).save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png").pixels_HWC.shape == (20, 30_000, 1)


def test_reduced_jpeg_decoding_leaves_twice_the_short_side(tmp_path: Path) -> None:
    pixels = smooth_pixels(4, 800, 640)
    Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=95)
    picture = read_picture(tmp_path / "a.jpg", short_side=72)
    assert picture.pixels_HWC.shape == (200, 160, 3)
    assert (picture.height, picture.width) == (800, 640)
    full = resize(read_picture(tmp_path / "a.jpg").pixels_HWC, 90, 72)
    reduced = resize(picture.pixels_HWC, 90, 72)
    assert np.abs(full.astype(int) - reduced.astype(int)).mean() < 1


def test_the_digest_follows_the_bytes_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "b").write_bytes(b"one")
    (tmp_path / "c").write_bytes(b"two")
    a, b, c = (FileReader([tmp_path / name]).digest(0) for name in "abc")
    assert a == b != c


def test_luma_agrees_with_pillow() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(pixels).convert("L"))
    np.testing.assert_array_equal(to_channels(pixels, 1)[..., 0], expected)
    exact = to_channels(pixels.astype(np.float32) / 255, 1)[..., 0] * 255
    assert np.abs(exact - expected).max() <= 0.51


def test_gray_is_replicated() -> None:
    gray = smooth_pixels(0, channels=1)[..., None]
    colour = to_channels(gray, 3)
    assert all((colour[..., c] == gray[..., 0]).all() for c in range(3))


def test_resizing_is_pillows_and_antialiased() -> None:
    stripes = np.zeros((64, 64, 1), np.uint8)
    stripes[:, ::2] = 255  # above the Nyquist frequency of the small image
    small = resize(stripes, 16, 16)
    assert np.abs(small[:, 2:-2].astype(int) - 127).max() <= 2
    pixels = smooth_pixels(5)
    expected = np.asarray(Image.fromarray(pixels).resize((20, 24), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(resize(pixels, 24, 20), expected)


def test_float_pictures_are_resized_in_float() -> None:
    pixels = smooth_pixels(6).astype(np.float32) / 255
    from_float = resize(pixels, 24, 20)
    from_bytes = resize(smooth_pixels(6), 24, 20) / 255
    assert from_float.dtype == np.float32
    assert np.abs(from_float - from_bytes).max() < 1.1 / 255
    assert len(np.unique(from_float)) > 256


def test_preparation_says_the_shape_it_makes_and_copies_nothing_it_need_not() -> None:
    pixels = smooth_pixels(7, 50, 90)
    prepare = Preparation(3, 36)
    assert prepare(pixels).shape[:2] == prepare.shape(50, 90) == (36, 65)
    assert Preparation(3, 50)(pixels) is pixels
    assert Preparation(3, 60, enlarge=False)(pixels) is pixels
