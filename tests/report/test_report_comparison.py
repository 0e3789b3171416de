"""The page that compares runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from run_folder_fixture import build_run
from test_report_page import parse, text_of

from pellucid.report.comparison import render_comparison, run_names
from pellucid.run_folder import RunFolder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[RunFolder]:
    root = tmp_path_factory.mktemp("runs")
    first, second = build_run(root / "sharp"), build_run(root / "soft", seed=1, quality=1.4)
    second.recipe.write_text(second.recipe.read_text().replace("codes: 512", "codes: 256"))
    return [first, second]


def difference(metric: str, value: float, half: float, **parts: Any) -> dict[str, Any]:
    return {
        "metric": metric,
        "run": "soft",
        "baseline": "sharp",
        "paired": True,
        "value": value,
        "low": value - half,
        "high": value + half,
        "unit": "dB" if metric == "psnr" else "1",
        "n": 24,
        "convention": "paired, bootstrap over groups",
        **parts,
    }


def test_page_holds_numbers_differences_samples_curves_and_the_recipe_change(
    runs: list[RunFolder], tmp_path: Path
) -> None:
    comparison = {
        "differences": [difference("psnr", -2.1, 0.3), difference("ssim", 0.001, 0.01)],
        "warnings": ["precision differs"],
    }
    path = render_comparison(runs, comparison, tmp_path / "comparison.html")
    text, page = text_of(path), parse(path)
    assert "sharp reconstructs best." in text
    assert "soft − sharp: −2.1 dB (−2.4 to −1.8)" in text
    assert "precision differs" in text
    assert "- codes: 512" in text
    assert "+ codes: 256" in text
    assert page.ids[:6] == ["verdict", "reconstructions", "numbers", "differences", "curves",
                            "recipes"]  # fmt: skip
    assert page.unbalanced == []
    # original + 2 × (reconstruction, error) for each of 6 samples, and the viewer's empty picture
    assert page.tags.count("img") == 6 * 5 + 1
    assert [a for a in page.addresses if not a.startswith(("data:", "#"))] == []


def test_a_difference_whose_interval_holds_zero_names_no_winner(
    runs: list[RunFolder], tmp_path: Path
) -> None:
    comparison = {"differences": [difference("psnr", -0.1, 0.3)]}
    path = render_comparison(runs, comparison, tmp_path / "comparison.html")
    assert "No difference in PSNR that holds up." in text_of(path)


def test_only_samples_with_the_same_pixels_stand_side_by_side(
    runs: list[RunFolder], tmp_path: Path
) -> None:
    other = build_run(tmp_path / "other", samples=3)
    listed = other.read_json(other.reconstructions / "index.json")
    for sample in listed["samples"]:  # crops of one photograph share its name
        sample["name"] = "astronaut.png"
    parts = {key: listed[key] for key in ("columns", "samples")}
    other.write_json(other.reconstructions / "index.json", parts)
    page = parse(render_comparison([runs[0], other], {}, tmp_path / "comparison.html"))
    assert page.tags.count("img") == 3 * 5 + 1
    index = other.reconstructions / "index.json"
    index.write_text(re.sub(r"000-original", "001-original", index.read_text()))
    page = parse(render_comparison([runs[0], other], {}, tmp_path / "comparison.html"))
    assert page.tags.count("img") == 2 * 5 + 1


def test_runs_without_results_still_make_a_page(runs: list[RunFolder], tmp_path: Path) -> None:
    bare = RunFolder(tmp_path / "bare")
    bare.path.mkdir()
    text = text_of(render_comparison([runs[0], bare], {}, tmp_path / "comparison.html"))
    assert "Nothing to compare yet" in text
    assert "The runs have no samples in common." in text


def test_runs_of_one_name_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    folders = [RunFolder(tmp_path / parent / "run") for parent in ("a", "b")]
    assert run_names([*folders, RunFolder(tmp_path / "c")]) == [
        str(tmp_path / "a" / "run"),
        str(tmp_path / "b" / "run"),
        "c",
    ]
