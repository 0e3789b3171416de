"""The parts of a page: numbers in words, axes, standing, error maps, highlighting."""

from __future__ import annotations

import html
import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pellucid.errors import RunError
from pellucid.report import pictures
from pellucid.report.axes import axis_over, linear_ticks, tick_labels
from pellucid.report.charts import Series, line_chart
from pellucid.report.contents import RunContents, measured
from pellucid.report.sections.spectrum import section as spectrum
from pellucid.report.sections.verdict import headline, sentence
from pellucid.report.standing import standings
from pellucid.report.wording import (
    count,
    duration,
    interval,
    listed,
    number,
    percent,
    places_for,
    title,
)
from pellucid.report.yaml_highlight import highlight

finite_floats = st.floats(-1e9, 1e9, allow_nan=False)


def metric(value: float | None, low: float | None = None, high: float | None = None) -> dict:
    return {"value": value, "unit": "dB", "low": low, "high": high, "n": 24, "convention": "c"}


def contents(**evaluation: object) -> RunContents:
    return RunContents(
        "run", Path("run"), None, None, None, None, dict(evaluation), None, (), None, ()
    )


def standing_of(difference: dict | None, own: float = 25.0, other: float = 24.0) -> list:
    differences = {"webp": {"psnr": difference}} if difference else {}
    return standings(
        contents(
            metrics={"psnr": metric(own), "bits_per_pixel": {"value": 0.5, "unit": "b"}},
            references={"webp": {"psnr": metric(other), "bits_per_pixel": 0.51}},
            differences=differences,
        )
    )


@pytest.mark.parametrize(
    ("low", "high", "relation", "words"),
    [
        (0.4, 1.6, "ahead", "+1.0 dB over WebP at the same bits (0.4–1.6)"),
        (-0.4, 2.4, "level", "level with WebP at the same bits (+1.0 dB, −0.4 to 2.4)"),
    ],
)
def test_standing_follows_the_paired_interval(
    low: float, high: float, relation: str, words: str
) -> None:
    (found,) = standing_of(metric(1.0, low, high))
    assert found.relation == relation
    assert found.in_words() == words


def test_standing_below_a_reference() -> None:
    (found,) = standing_of(metric(-0.8, -1.0, -0.6), own=24.0, other=24.8)
    assert found.relation == "behind"
    assert found.in_words() == "0.8 dB below WebP at the same bits (−1.0 to −0.6)"


def test_an_unpaired_difference_says_so() -> None:
    (found,) = standing_of(None)
    assert found.in_words() == "+1.0 dB over WebP at the same bits (unpaired)"


def test_other_bits_are_not_called_the_same() -> None:
    (found,) = standings(
        contents(
            metrics={"psnr": metric(25.0), "bits_per_pixel": metric(0.25)},
            references={"jpeg": {"psnr": metric(24.0), "bits_per_pixel": metric(0.5)}},
        )
    )
    assert found.label == "JPEG at 0.500 bits per pixel (this run: 0.250)"


def test_worse_than_the_mean_is_said_first() -> None:
    run = contents(
        metrics={"psnr": metric(12.0)},
        references={"mean": {"psnr": metric(13.0)}, "pca": {"psnr": metric(11.0)}},
    )
    own = measured(run.evaluated("metrics", "psnr"))
    assert headline(run, own, standings(run)) == "No better than answering with the mean image."
    assert "1.0 dB below the mean image" in sentence(run, own, standings(run))


def test_spectrum_sentence_names_where_half_the_power_is_gone() -> None:
    node = {"frequency": [0.1, 0.2, 0.3, 0.4], "ratio": [1.0, 0.8, 0.45, 0.1]}
    assert "from 0.30 cycles per pixel" in spectrum(contents(spectrum=node)).html
    node["ratio"] = [1.0, 0.9, 0.8, 0.6]
    assert "at least half of the power is kept" in spectrum(contents(spectrum=node)).html


def test_numbers_are_printed_as_readers_expect() -> None:
    assert number(-2.345, "dB") == "−2.3"
    assert number(0.00001234) == "1.23e−05"
    assert number(0.00001234, places=4) == "0.0000"
    assert number(45100) == "45\u202f100"
    assert number(-0.001, places=1) == "0.0"
    assert number(None) == number(math.nan) == number(True) == "—"
    assert interval(23.6, 24.6, "dB") == "23.6–24.6"
    assert interval(-0.3, 0.4, "dB") == "−0.3 to 0.4"
    assert interval(None, 1.0) == ""
    assert duration(134.2) == "2 min 14 s"
    assert duration(3 * 3600 + 5 * 60) == "3 h 05 min"
    assert count(1_214_403) == "1.21\u202fM"
    assert percent(0.9995) == "99.95 %"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert title("ms_ssim") == "MS-SSIM"
    assert places_for(0.934, 0.928, 0.940) == 3
    assert places_for(0.5, 0.45, 0.55, "dB") == 2


@given(st.lists(finite_floats, min_size=1, max_size=30), st.booleans(), st.booleans())
@settings(max_examples=150, deadline=None)
def test_an_axis_holds_every_value_and_its_ticks(
    values: list[float], log: bool, zero: bool
) -> None:
    axis = axis_over(values, 200.0, 10.0, log=log, zero=zero)
    kept = [v for v in values if v > 1e-300] if log else values
    assert all(axis.low <= v <= axis.high for v in kept)
    pixels = [axis(v) for v in sorted(kept)]
    assert pixels == sorted(pixels, reverse=True)
    ticks = axis.ticks()
    assert len(ticks) <= 12
    assert all(10.0 <= axis(tick) <= 200.0 for tick in ticks)
    assert len(tick_labels(ticks)) == len(ticks)


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
@settings(deadline=None)
def test_linear_ticks_are_round_evenly_spaced_and_told_apart(low: float, span: float) -> None:
    span = max(span, abs(low) * 1e-3)
    ticks = linear_ticks(low, low + span)
    labels = tick_labels(ticks)
    assert 2 <= len(ticks) <= 9
    assert np.allclose(np.diff(ticks, 2), 0, atol=1e-9 * (abs(low) + span))
    assert len(set(labels)) == len(labels)


def test_a_chart_breaks_its_line_at_missing_values() -> None:
    chart = line_chart(
        "c", [Series("a", [1, 2, 3, 4, 5], [1.0, 2.0, None, 4.0, 5.0])], x_label="x", y_label="y"
    )
    path = re.search(r'data-name="a" d="([^"]+)"', chart)
    assert path is not None
    assert path.group(1).count("M") == 2
    assert len(re.findall(r"[\d.]+,[\d.]+", path.group(1))) == 4


def test_the_read_out_can_recover_values_from_a_chart() -> None:
    values = [0.31, 0.052, 0.0077, 0.0011]
    chart = line_chart(
        "c", [Series("a", [10, 20, 30, 40], values)], x_label="x", y_label="y", log=True
    )
    start, end, low, high, log = (
        float(v) for v in re.findall(r'data-y="([^"]+)"', chart)[0].split(",")
    )
    path = re.findall(r'data-name="a" d="([^"]+)"', chart)[0]
    heights = [float(p.split(",")[1]) for p in re.findall(r"[\d.]+,[\d.]+", path)]
    read = [low * (high / low) ** ((h - start) / (end - start)) for h in heights]
    assert log == 1
    assert np.allclose(read, values, rtol=2e-3)


def test_more_series_than_colours_stay_distinct() -> None:
    series = [Series(str(k), [1, 2], [k, k + 1], colour=k) for k in range(9)]
    chart = line_chart("c", series, x_label="x", y_label="y")
    styles = re.findall(r'<path class="(line[^"]*)"', chart)
    keys = re.findall(r'<span class="key ([^"]*)"', chart)
    assert len(set(styles)) == len(set(keys)) == 9


def test_an_empty_or_constant_chart_still_has_axes() -> None:
    for y in ([None, None], [2.0, 2.0], [0.0, 0.0]):
        chart = line_chart("c", [Series("a", [1, 2], y)], x_label="x", y_label="y")
        assert 'class="axis"' in chart
        assert "nan" not in chart
        assert "inf" not in chart


def test_psnr_and_error_levels_have_their_closed_form() -> None:
    a = np.full((4, 5, 3), 100.0, np.float32)
    b = a.copy()
    b[..., 0] += 30
    assert pictures.error_levels(a, b) == pytest.approx(np.full((4, 5), 10.0))
    assert pictures.psnr(a, b) == pytest.approx(10 * math.log10(255**2 / 300))
    assert pictures.psnr(a, a) == math.inf


def test_error_colours_rise_in_lightness_and_saturate_at_the_stated_end() -> None:
    errors = np.linspace(0, 64, 65)[None]
    colours = pictures.error_map(errors, 64)
    lightness = colours.astype(float) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(lightness[0]) >= 0).all()
    assert (pictures.error_map(errors + 64, 64) == colours[0, -1]).all()
    assert colours[0, 0].max() < 16


def test_the_scale_covers_99_percent_of_the_worst_sample() -> None:
    errors = [np.full((10, 10), 3.0), np.full((10, 10), 41.0)]
    assert pictures.scale_end(errors) == 48
    assert pictures.scale_end([]) == 64
    assert pictures.scale_end([np.full((10, 10), 255.0)]) == 256


def test_a_picture_survives_inlining(tmp_path: Path) -> None:
    import base64
    import io

    levels = np.random.default_rng(0).integers(0, 256, (9, 7, 3)).astype(np.uint8)
    picture = pictures.inline(levels)
    data = base64.b64decode(picture.uri.split(",")[1])
    assert (np.asarray(Image.open(io.BytesIO(data))) == levels).all()
    assert (picture.width, picture.height, picture.tiny) == (7, 9, True)


def test_grey_and_16_bit_pictures_are_read_on_the_8_bit_scale(tmp_path: Path) -> None:
    Image.fromarray(np.full((3, 3), 65535, np.uint16)).save(tmp_path / "deep.png")
    Image.fromarray(np.full((3, 3), 51, np.uint8)).save(tmp_path / "grey.png")
    assert pictures.read_levels(tmp_path / "deep.png") == pytest.approx(np.full((3, 3, 3), 255.0))
    assert pictures.read_levels(tmp_path / "grey.png") == pytest.approx(np.full((3, 3, 3), 51.0))


def test_a_truncated_picture_is_an_error_that_names_it(tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:60])
    with pytest.raises(RunError, match=r"cut\.png"):
        pictures.read_levels(tmp_path / "cut.png")


@given(st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=60))
@settings(max_examples=200, deadline=None)
def test_highlighting_changes_no_character(line: str) -> None:
    shown = highlight(f"key: {line}\n{line}")
    plain = html.unescape(re.sub(r"</?span[^>]*>", "", shown))
    assert plain.split("\n")[0] == "\n".join(f"key: {line}\n{line}".splitlines()).split("\n")[0]
    assert "<" not in re.sub(r'<span class="[a-z]+">|</span>', "", shown)


def test_highlighting_marks_keys_numbers_strings_and_comments() -> None:
    shown = highlight("rate: 3.0e-4  # small\nname: 'a # b'\nvq: {codes: 512, cosine: true}")
    assert '<span class="key">rate</span>: <span class="number">3.0e-4</span>' in shown
    assert '<span class="comment"># small</span>' in shown
    assert '<span class="string">&#x27;a # b&#x27;</span>' in shown
    assert '<span class="key">codes</span>: <span class="number">512</span>' in shown
    assert '<span class="constant">true</span>' in shown
