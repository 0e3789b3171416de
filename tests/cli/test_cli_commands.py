"""One end-to-end path per command, as a user types it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from tiny_run import TINY

from pellucid.run_folder import RunFolder


def test_train_leaves_a_whole_run(trained):
    folder = RunFolder.open(trained)
    for path in (
        folder.recipe,
        folder.run,
        folder.data,
        folder.splits,
        folder.metrics,
        folder.model,
        folder.checkpoints / "last",
        folder.evaluation,
        folder.reconstructions / "index.json",
        folder.report,
    ):
        assert path.exists(), path.name
    status = folder.read_json(folder.run)
    assert (status["state"], status["step"]) == ("finished", 12)
    assert not [path for path in trained.rglob("*") if path.suffix in {".ckpt", ".pt", ".pkl"}]
    logged = [line["values"] for line in folder.read_metrics() if line["split"] == "train"]
    assert {"terms.l2.value", "terms.l2.weighted", "terms.commitment.value"} <= set(logged[0])
    assert any("terms.l2.gradient_share" in values for values in logged)


def test_evaluate_prints_json_with_conventions(pellucid, trained):
    code, out, _ = pellucid("evaluate", trained, "--json", "--quiet")
    assert code == 0
    metrics = json.loads(out)["evaluation"]["metrics"]
    psnr = metrics["psnr"]
    assert psnr["low"] <= psnr["value"] <= psnr["high"]
    assert psnr["unit"] == "dB"
    assert "round" in psnr["convention"]
    # 8×8 tokens of 32 codes on 32×32 pixels
    assert metrics["bits_per_pixel"]["value"] == pytest.approx(64 * 5 / 1024)


def test_the_page_that_evaluate_names_shows_the_new_numbers(pellucid, trained, tmp_path):
    copy = shutil.copytree(trained, tmp_path / "copy")
    (copy / "report.html").write_text("of other numbers")
    code, out, _ = pellucid("evaluate", copy, "--quiet", "--split", "validation")
    assert code == 0
    assert f"page: {copy / 'report.html'}" in out
    assert "<html" in (copy / "report.html").read_text()


def test_report_names_the_page_it_wrote(pellucid, trained):
    (trained / "report.html").unlink()
    code, out, _ = pellucid("report", trained)
    assert code == 0
    assert out.strip() == str(trained / "report.html")
    assert "<html" in (trained / "report.html").read_text()


def test_resume_trains_on_and_keeps_the_first_part(pellucid, photos, tmp_path):
    run = tmp_path / "longer"
    words = ["train", "photos-vq", f"data.path={photos}", *TINY, "-q", "--no-evaluate"]
    assert pellucid(*words, "-o", run)[0] == 0
    before = list(RunFolder(run).read_metrics())
    code, _, err = pellucid("train", "--resume", run, "training.steps=18", "-q", "--no-evaluate")
    assert code == 0, err
    folder = RunFolder(run)
    assert folder.read_json(folder.run)["step"] == 18
    assert list(folder.read_metrics())[: len(before)] == before


def test_dry_run_estimates_and_writes_nothing(pellucid, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["train", "photos-vq", f"data.path={photos}", *TINY, "--dry-run"]
    code, out, _ = pellucid(*words, "--price", "3.6", "--json")
    assert code == 0
    estimate = json.loads(out)
    assert estimate["parameters"] > 1000
    assert estimate["total_seconds"] == pytest.approx(12 * estimate["seconds_per_step"])
    assert estimate["cost"] == pytest.approx(estimate["total_seconds"] / 3600 * 3.6)
    assert list(tmp_path.iterdir()) == []


def test_reconstruct_keeps_names_and_sizes_and_counts_what_it_skipped(
    pellucid, trained, photos, tmp_path
):
    source, rebuilt = tmp_path / "in", tmp_path / "out"
    (source / "deep").mkdir(parents=True)
    picture = Image.open(photos / "0.png")
    picture.resize((37, 51)).save(source / "a.jpg")
    picture.save(source / "deep" / "a.png")
    (source / "broken.png").write_bytes((photos / "1.png").read_bytes()[:200])
    code, out, _ = pellucid("reconstruct", trained, source, "-o", rebuilt, "--json", "-q")
    assert code == 0
    result = json.loads(out)
    assert [item["name"] for item in result["images"]] == ["a.jpg", "deep/a.png"]
    assert [item["name"] for item in result["skipped"]] == ["broken.png"]
    assert Image.open(rebuilt / "a.png").size == (37, 51)
    shown = np.asarray(Image.open(rebuilt / "deep" / "a.png"), np.float64)
    mse = np.mean((shown - np.asarray(picture.convert("RGB"), np.float64)) ** 2)
    assert result["images"][1]["psnr"] == pytest.approx(10 * np.log10(255**2 / mse), abs=1e-3)


def test_compare_is_paired_on_the_same_samples(pellucid, trained, photos, tmp_path):
    other = tmp_path / "other"
    words = ["train", "photos-vq", f"data.path={photos}", *TINY, "training.steps=6", "-q"]
    assert pellucid(*words, "-o", other)[0] == 0
    page = tmp_path / "page.html"
    code, out, _ = pellucid("compare", trained, other, "--json", "-o", page)
    assert code == 0
    comparison = json.loads(out)
    assert comparison["page"] == str(page)
    assert page.is_file()
    psnr = next(d for d in comparison["differences"] if d["metric"] == "psnr")
    assert psnr["paired"]
    values = [comparison["metrics"]["psnr"][run]["value"] for run in comparison["runs"]]
    assert psnr["value"] == pytest.approx(values[1] - values[0], abs=1e-6)


def test_inspect_suggests_a_recipe(pellucid, photos):
    code, out, _ = pellucid("inspect", photos, "--json", "-q")
    assert code == 0
    report = json.loads(out)
    assert report["count"] == 24
    assert report["suggestions"][0]["command"].startswith("pellucid train ")


def test_recipes_are_listed_and_printed_whole(pellucid):
    code, out, _ = pellucid("recipes", "--json")
    assert code == 0
    assert {"photos-vq", "patch-vq", "cifar-vq", "mnist-vae"} <= {
        r["name"] for r in json.loads(out)
    }
    code, out, _ = pellucid("recipes", "patch-vq")
    assert code == 0
    assert "kind: patch" in out


def test_help_of_every_command_shows_an_example():
    import typer.main

    from pellucid.cli.main import app

    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert set(commands) >= {
        "recipes", "inspect", "train", "reconstruct", "evaluate", "compare", "report", "demo",
    }  # fmt: skip
    for name, command in commands.items():
        assert f"pellucid {name}" in command.help, f"{name} --help shows no example"


def test_import_needs_no_heavy_library():
    code = (
        "import sys, pellucid; "
        "heavy = {'lightning', 'torchvision', 'matplotlib', 'skimage', 'sklearn', 'typer'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
