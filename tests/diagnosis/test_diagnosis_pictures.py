"""Pictures carry the measured numbers, and are drawn from whatever numbers there are."""

from __future__ import annotations

import dataclasses
import math
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import torch

from pellucid.diagnosis import Subject, diagnose
from pellucid.diagnosis.axis import axis_over
from pellucid.diagnosis.case import build_case
from pellucid.diagnosis.clock import Clock
from pellucid.diagnosis.draw import svg
from pellucid.diagnosis.evidence import Diagnosis, Evidence, Finding
from pellucid.diagnosis.page import fragment
from pellucid.diagnosis.patch_lines import patch_lines
from pellucid.diagnosis.pictures.channels import channel_match, r2_against_std, std_by_channel
from pellucid.diagnosis.pictures.code_usage import code_usage
from pellucid.diagnosis.pictures.gradients import (
    gradient_shares,
    output_shares,
    parameter_movement,
    straight_through_multiple,
)
from pellucid.diagnosis.pictures.history import training_history
from pellucid.diagnosis.pictures.kl_per_dimension import kl_per_dimension, posterior_noise
from pellucid.diagnosis.pictures.lag import correlation_against_lag
from pellucid.diagnosis.pictures.output_range import output_against_data, output_quantiles
from pellucid.diagnosis.pictures.samples import error_against_level, train_and_held_out
from pellucid.diagnosis.pictures.spectrum import kept_power, power_spectrum
from pellucid.diagnosis.pictures.stride_pattern import error_by_phase
from pellucid.diagnosis.plot import Plot, Series
from pellucid.diagnosis.probes.posterior import posterior
from pellucid.diagnosis.probes.references import references
from pellucid.diagnosis.probes.spectra import spectra
from pellucid.diagnosis.reading import read_diagnosis
from pellucid.diagnosis.samples import read_samples
from pellucid.records import Latent

NAN, INF = float("nan"), float("inf")
SVG = "{http://www.w3.org/2000/svg}"


def case_of(subject: Subject, train, held):
    clock = Clock(60)
    return build_case(
        subject,
        read_samples(train, where="train", clock=clock),
        read_samples(held, where="validation", clock=clock),
        clock,
        None,
    )


def series(plot: Plot | None, name: str) -> Series:
    assert plot is not None
    return next(s for s in plot.series if s.name == name)


# --- the numbers are the measured ones ------------------------------------------------------------


def test_kl_bars_sum_to_the_kl_and_the_prediction_to_the_linear_vae(trained):
    starved = trained("starved")
    case = case_of(starved.white(), starved.data.train, starved.data.held)
    plot = kl_per_dimension(case)
    own, predicted = series(plot, "this model"), series(plot, "linear VAE at this weight")
    assert sum(own.y) == pytest.approx(case.measure(posterior).kl)
    assert list(own.y) == sorted(own.y, reverse=True)
    # KL* on the samples it was fitted on: within sampling error of KL* on held-out ones
    assert sum(predicted.y) == pytest.approx(case.measure(references).kl, rel=0.1)
    assert predicted.reference
    noise = posterior_noise(case)
    assert sum(noise.series[0].y) == pytest.approx(1)


def test_code_use_is_counted_and_k_means_uses_more(trained):
    dead = trained("dead")
    case = case_of(dead.white(), dead.data.train, dead.data.held)
    plot = code_usage(case)
    own, reference = series(plot, "this model"), series(plot, "k-means on the same latents")
    assert sum(own.y) == pytest.approx(100)
    assert sum(reference.y) == pytest.approx(100)
    counts = torch.bincount(case.latent.codes.flatten(), minlength=32).double()
    assert own.y[0] == pytest.approx(100 * float(counts.max() / counts.sum()))
    gain = straight_through_multiple(case)
    assert gain.series[0].y[0] == 0.0


def test_spectra_are_drawn_as_measured_in_cycles_and_hertz(trained):
    wave = trained("audio")
    case = case_of(wave.white(), wave.data.train, wave.data.held)
    found = case.measure(spectra)
    kept = kept_power(case)
    own, ideal = kept.series
    assert own.y == pytest.approx((found.output_F / found.data_F).tolist())
    assert ideal.reference
    assert ideal.y == pytest.approx(found.water_filled_F().tolist())
    assert 0 < min(own.x) < max(own.x) < 4000  # below Nyquist of 8 kHz
    power = power_spectrum(case)
    assert power.y_log
    modes = found.modes_F
    x, x_hat, expected = (torch.tensor(s.y) for s in power.series)
    assert float((x * modes).sum()) == pytest.approx(float(found.data_F.sum()))
    assert float((x_hat * modes).sum()) == pytest.approx(float(found.output_F.sum()))
    # what water-filling takes away is the model's own error
    assert float(((x - expected) * modes).sum()) == pytest.approx(
        float(found.error_F.sum()), rel=1e-3
    )


def test_channel_pictures_show_scale_and_order(trained):
    loud = trained("loud")
    case = case_of(loud.white(), loud.data.train, loud.data.held)
    points = series(r2_against_std(case), "channels")
    stds = case.x.transpose(0, 1).flatten(1).double().std(1)
    assert points.x == pytest.approx(stds.tolist())
    quiet, noisy = min(points.x), max(points.x)
    assert points.y[points.x.index(quiet)] < points.y[points.x.index(noisy)]
    assert series(std_by_channel(case), "x").y[0] == pytest.approx(float(stds.max()))
    swapped = Subject(lambda x: Latent(mean=x[:, [1, 0, 2]]), lambda z: z)
    x = torch.randn(64, 3, 8, 8)
    match = channel_match(case_of(swapped, x, x))
    assert series(match, "with its best input").y == pytest.approx((1, 1, 1), abs=1e-5)
    assert abs(series(match, "with its own input").y[0]) < 0.1


def test_gradient_shares_sum_to_a_hundred_where_a_gradient_arrives(trained):
    model = trained("vae")
    case = case_of(model.white(), model.data.train, model.data.held)
    plot = gradient_shares(case)
    assert plot.ticks == ("encoder", "decoder")
    for position in range(2):
        assert sum(s.y[position] for s in plot.series) == pytest.approx(100)
    assert series(plot, "kl").y[1] == 0.0  # the KL says nothing to the decoder
    at_output = output_shares(case)
    assert at_output.ticks == ("recon",)  # the KL does not depend on the output
    assert at_output.series[0].y == pytest.approx((100.0,))
    assert min(parameter_movement(case).series[0].y) > 0


def test_range_pictures_draw_the_best_map(trained):
    sick = trained("sigmoid")
    case = case_of(sick.white(), sick.data.train, sick.data.held)
    line = series(output_against_data(case), "best affine map")
    slope = (line.y[1] - line.y[0]) / (line.x[1] - line.x[0])
    assert slope == pytest.approx(float(re.search(r"≈ ([\d.]+)", _title(case))[1]), rel=0.01)
    quantiles = output_quantiles(case).series[0]
    assert min(quantiles.x) == -1.0
    assert min(quantiles.y) >= 0.0
    both = train_and_held_out(case)
    assert both.series[0].y[1] == pytest.approx(case.fvu)


def _title(case) -> str:
    plot = output_against_data(case)
    assert plot is not None
    return plot.title


def test_a_delay_moves_the_peak_of_the_correlation():
    x = torch.randn(32, 1, 256)
    late = Subject(lambda x: Latent(mean=x), lambda z: z.roll(7, -1))
    case = case_of(late, x, x)
    curve = correlation_against_lag(case).series[0]
    assert curve.x[curve.y.index(max(curve.y))] == 7
    level = error_against_level(case).series[0]
    assert len(level.x) == len(case.x)


def test_a_printed_pattern_shows_by_phase():
    def decode(z):
        x_hat = torch.nn.functional.interpolate(z, scale_factor=2.0)
        x_hat[..., ::2] += 0.5
        return x_hat

    x = torch.nn.functional.interpolate(torch.rand(64, 1, 8, 8), scale_factor=2.0)
    model = Subject(lambda x: Latent(mean=torch.nn.functional.avg_pool2d(x, 2)), decode)
    case = case_of(model, x, x)
    columns = series(error_by_phase(case), "columns")
    assert columns.y == pytest.approx((0.5 / float(case.x.double().std()), 0.0), abs=1e-4)


@pytest.mark.parametrize(
    "history", [{"loss": [3.0, 2.0, 1.0]}, [{"epoch": i, "loss": 3.0 - i} for i in range(3)]]
)
def test_a_history_is_drawn(history):
    x = torch.rand(32, 1, 8, 8)
    model = Subject(lambda x: Latent(mean=x), lambda z: z, history=history)
    plot = training_history(case_of(model, x, x))
    assert [s.name for s in plot.series] == ["loss"]
    assert plot.series[0].y == (3.0, 2.0, 1.0)
    assert plot.y_log


# --- drawing --------------------------------------------------------------------------------------


CURVES = {
    "nothing": (),
    "one point": ((1.0, 2.0),),
    "only NaN": ((0.0, NAN), (1.0, INF)),
    "gaps": ((0.0, 1.0), (1.0, NAN), (2.0, 3.0), (3.0, INF), (4.0, 2.0)),
    "zeros": ((0.0, 0.0), (1.0, 0.0), (2.0, 0.0)),
    "constant": ((0.0, 5.0), (1.0, 5.0)),
    "huge": ((0.0, -1e308), (1.0, 1e308), (2.0, 0.0)),
    "wide": ((1e-30, 1e-300), (1.0, 1e-3), (1e30, 1e300)),
    "tiny": ((0.0, 1e-320), (1.0, 2e-320)),
    "below zero": ((-3.0, -1.0), (-2.0, -2.0), (5.0, -0.5)),
}


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("kind", ["lines", "bars", "points"])
@pytest.mark.parametrize("name", CURVES)
def test_every_curve_gives_well_formed_pictures_inside_their_frame(name, kind, log):
    points = CURVES[name]
    one = Series("<a> & b", tuple(p[0] for p in points), tuple(p[1] for p in points))
    plot = Plot(
        kind, 't <&> "q"', "x", "y", (one, dataclasses.replace(one, reference=True)), log, log
    )
    drawn = svg(plot)
    assert "nan" not in drawn.lower().replace("only nan", "")
    root = ET.fromstring(drawn)
    assert root.get("role") == "img"
    assert 't <&> "q"' in root.get("aria-label")
    for mark in root.iter(f"{SVG}circle"):
        assert 0 <= float(mark.get("cx")) <= 480
        assert 0 <= float(mark.get("cy")) <= 300
    for mark in root.iter(f"{SVG}rect"):
        assert float(mark.get("width")) > 0
        assert float(mark.get("height")) > 0
        assert -1 <= float(mark.get("y", "0")) <= 301
    finite = any(math.isfinite(x) and math.isfinite(y) for x, y in points)
    assert ("no finite numbers" in drawn) == (not finite)


def test_zero_on_a_logarithmic_axis_is_said():
    bars = Plot("bars", "t", "module", "‖Δθ‖", (Series("", (0.0, 1.0), (0.0, 1e-3)),), False, True)
    root = ET.fromstring(svg(bars))
    assert len(list(root.iter(f"{SVG}rect"))) == 2  # the paper and one bar
    texts = [t.text for t in root.iter(f"{SVG}text")]
    assert "0" in texts


@pytest.mark.parametrize(
    ("values", "log", "labels"),
    [
        ((0.0, 10.0), False, ["0", "2", "4", "6", "8", "10"]),
        ((0.1, 0.35), False, ["0.10", "0.15", "0.20", "0.25", "0.30", "0.35"]),
        ((-0.5, 0.5), False, ["−0.4", "−0.2", "0.0", "0.2", "0.4"]),
        ((1e-8, 1.0), True, ["10⁻⁸", "10⁻⁶", "10⁻⁴", "0.01", "1"]),
        ((1.0, 60.0), True, ["1", "2", "5", "10", "20", "50"]),
    ],
)
def test_ticks_are_round_numbers(values, log, labels):
    axis = axis_over(values, log=log)
    assert [label for _, label in axis.ticks(5)] == labels


def test_a_patch_reads_as_yaml():
    patch = {"bottleneck.weight": 1.2e-4, "bottleneck.free_bits": None, "training.steps": 4000}
    assert patch_lines(patch) == [
        (False, "bottleneck:"),
        (True, "  free_bits: null"),
        (True, "  weight: 0.00012"),
        (False, "training:"),
        (True, "  steps: 4000"),
    ]


# --- the page -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def diagnosis(trained) -> Diagnosis:
    starved = trained("starved")
    return diagnose(starved.white(), starved.data.train, starved.data.held, budget_seconds=30)


def test_the_page_shows_plot_patch_rivals_and_what_was_not_tested(diagnosis):
    first = dataclasses.replace(diagnosis.findings[0], patch={"bottleneck.weight": 1e-4})
    page = fragment(dataclasses.replace(diagnosis, findings=(first, *diagnosis.findings[1:])))
    assert page.count('class="pld-plot"') == len(first.plots) == 1
    assert "+   weight: 0.0001" in page
    assert "posterior-collapse" in page
    assert "<details><summary><b>Not tested" in page
    order = [page.index(word) for word in ("verdict", "Error budget", "Ladder", "Findings")]
    assert order == sorted(order)
    assert "<script" not in page


def test_pictures_survive_json(diagnosis):
    read = read_diagnosis(diagnosis.to_dict())
    assert read.findings[0].plots == diagnosis.findings[0].plots
    assert fragment(read) == fragment(diagnosis)


def test_hostile_words_stay_words(diagnosis):
    hostile = "</p><script>alert(1)</script>"
    finding = Finding(
        id="blur", confidence=0.9, severity=NAN, severity_unit=hostile, summary=hostile,
        evidence=(Evidence(hostile, NAN, hostile, hostile),), treatment=hostile,
        expects=(hostile,), patch={"a.b": hostile},
        plots=(Plot("lines", hostile, hostile, hostile, (Series(hostile, (0.0,), (1.0,)),)),),
    )  # fmt: skip
    page = fragment(dataclasses.replace(diagnosis, findings=(finding,)))
    assert "<script" not in page


def test_a_browser_opens_the_page_without_complaint(diagnosis, tmp_path: Path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium on this machine: the page was not opened in a browser")
    path = tmp_path / "page.html"
    probe = (
        "<script>document.body.dataset.fits = "
        "document.documentElement.scrollWidth <= innerWidth;</script>"
    )
    path.write_text(
        f'<!doctype html><meta charset="utf-8"><body>{diagnosis.to_html()}{probe}</body>',
        encoding="utf-8",
    )
    done = subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-background-networking", "--enable-logging=stderr", "--v=0",
            "--window-size=500,900", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom",
            path.as_uri(),
        ],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    assert 'data-fits="true"' in done.stdout
    assert done.stdout.count("<polyline") >= 1
