"""JPEG and WebP at the bits asked for."""

from __future__ import annotations

import io

import pytest
import torch
from PIL import Image

from pellucid.errors import DataError, RecipeError
from pellucid.references import codecs
from pellucid.references.codecs import code_at_bits


def textured(n: int, channels: int = 3, size: int = 32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(n, channels, 5, 5, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic")
    noise = 0.1 * torch.randn(n, channels, size, size, generator=generator)
    return ((smooth + noise).clamp(0, 1) * 255).to(torch.uint8)


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(10 * torch.log10(255**2 / (a.float() - b.float()).square().mean()))


@pytest.mark.parametrize("codec", ["jpeg", "webp"])
@pytest.mark.parametrize("channels", [1, 3])
def test_bits_match_and_quality_rises_with_them(codec: str, channels: int) -> None:
    x = textured(40, channels)
    qualities = []
    for bits in (1200.0, 2500.0, 5000.0):
        found = code_at_bits(x, codec, bits)
        assert found.matched
        assert 0.999 * bits <= found.bits_per_image <= 1.05 * bits
        assert found.images.shape == x.shape
        assert found.images.dtype == torch.uint8
        qualities.append(psnr(found.images, x))
    assert qualities == sorted(qualities)
    assert qualities[-1] > qualities[0] + 2


@pytest.mark.parametrize("codec", ["jpeg", "webp"])
def test_what_a_codec_cannot_reach_is_said(codec: str) -> None:
    x = textured(12)
    low = code_at_bits(x, codec, 8.0)
    assert not low.matched
    assert f"its smallest file is {low.bits_per_image:.0f} bits per image, not 8" in low.note
    high = code_at_bits(x, codec, 1e6)
    assert not high.matched
    assert "its largest file is" in high.note
    assert psnr(high.images, x) > psnr(low.images, x) + 5


def test_sheets_cost_less_than_separate_files_and_both_are_stated() -> None:
    found = code_at_bits(textured(30), "jpeg", 2000.0)
    assert found.separate_bits > found.bits_per_image
    assert found.header_bits < found.separate_bits
    assert f"as separate files {found.separate_bits:.0f} bits each" in found.note


@pytest.mark.parametrize(("n", "size"), [(1, 17), (3, 28), (70, 32), (2, 1030)])
def test_crops_come_back_in_their_places(n: int, size: int) -> None:
    x = textured(n, 3, size)
    sheets = codecs._Sheets(x)
    whole = [codecs._from_file(_lossless(sheet), 3) for sheet in sheets.sheets]
    assert torch.equal(sheets.cut(whole), x)


def test_jpeg_tables_are_libjpegs_at_its_own_qualities() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "JPEG", quality=1)
    coarsest = Image.open(buffer).quantization  # type: ignore[attr-defined]
    assert codecs._jpeg_tables(0.0) == [list(coarsest[0]), list(coarsest[1])]
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16)).save(buffer, "JPEG", quality=99)
    finest = Image.open(buffer).quantization  # type: ignore[attr-defined]
    assert codecs._jpeg_tables(1.0) == [list(finest[0]), list(finest[1])]


def test_written_tables_are_the_ones_asked_for() -> None:
    file = codecs._jpeg(Image.new("RGB", (32, 32), (9, 90, 200)), 0.37, grey=False)
    written = Image.open(io.BytesIO(file)).quantization  # type: ignore[attr-defined]
    assert [list(written[0]), list(written[1])] == codecs._jpeg_tables(0.37)


def test_images_a_codec_cannot_hold_are_refused() -> None:
    with pytest.raises(DataError, match="grey or RGB"):
        code_at_bits(textured(2, 4), "webp", 1000.0)
    with pytest.raises(DataError, match="8-bit"):
        code_at_bits(textured(2).float(), "webp", 1000.0)
    with pytest.raises(RecipeError, match="did you mean 'jpeg'"):
        code_at_bits(textured(2), "jpg", 1000.0)  # type: ignore[arg-type]


def _lossless(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
