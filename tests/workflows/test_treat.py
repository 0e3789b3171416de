"""`treat` patches, trains beside the old run and tells what it won; the old run is not touched."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

from pellucid.diagnosis.evidence import Diagnosis, Finding
from pellucid.errors import PellucidError, RecipeError, RunError
from pellucid.recipe import apply_overrides, load_recipe
from pellucid.workflows.diagnose import declared
from pellucid.workflows.run import Run
from pellucid.workflows.train import train
from pellucid.workflows.treat import known_diagnosis, psnr_gain, require_finished, treat

SMALL = {
    "data": {"size": 32, "resize": None},
    "encoder": {"width": 8, "channels": 16},
    "decoder": {"width": 8},
    "training": {"steps": 12, "batch_size": 8, "validate_every": 6, "checkpoint_every": 6},
    "evaluation": {"resamples": 100, "save_reconstructions": 3, "codecs": []},
}
COLLAPSING = {"codes": 32, "dim": 4, "init": "normal", "restart_threshold": 0}


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    import numpy as np
    from PIL import Image
    from skimage.data import astronaut

    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for index in range(24):
        top, left = rng.integers(0, 440, size=2)
        crop = astronaut()[top : top + 40, left : left + 48]
        Image.fromarray(crop).save(folder / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def old(photos, tmp_path_factory) -> Run:
    sections = {**SMALL, "data": {**SMALL["data"], "path": str(photos)}}
    out = tmp_path_factory.mktemp("runs") / "sick"
    return train("photos-vq", bottleneck=COLLAPSING, out=out, progress=False, **sections)


def found(*ids: str, confidence: float = 0.9, treatment: str = "advice") -> Diagnosis:
    findings = tuple(Finding(id, confidence, 1, "dB", "why", (), treatment, ()) for id in ids)
    return Diagnosis(findings, (), ("one", "two"), (), (), (), "PSNR (peak 2)", 6, 0.1)


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def treated(old, tmp_path_factory):
    before = digests(old.path)
    out = tmp_path_factory.mktemp("treated") / "new"
    treatment = treat(old, diagnosis=found("codebook-collapse"), out=out, progress=False)
    return treatment, before


def test_the_old_run_is_as_it_was(old, treated):
    assert digests(old.path) == treated[1]


def test_the_new_run_has_the_patch_and_its_own_numbers(old, treated):
    treatment, _ = treated
    assert treatment.how == "retrained"
    assert treatment.patch["bottleneck.init"] == "kmeans"
    new = treatment.after
    assert new.recipe.bottleneck["init"] == "kmeans"
    assert new.recipe.bottleneck["restart_threshold"] is None
    assert new.recipe.training == old.recipe.training
    assert new.folder.read_json(new.folder.splits) == old.folder.read_json(old.folder.splits)
    assert new.evaluation() is not None
    assert new.folder.diagnosis.is_file()


def test_before_and_after_are_paired_on_the_same_samples(treated):
    gain = psnr_gain(treated[0])
    assert gain["paired"]
    assert gain["low"] <= gain["value"] <= gain["high"]
    assert (gain["run"], gain["baseline"]) == ("new", "sick")


def test_json_and_page_tell_the_story(treated):
    new = treated[0].after.folder
    node = json.loads(new.treatment.read_text())
    assert node["finding"] == "codebook-collapse"
    assert {"key": "bottleneck.init", "before": "normal", "after": "kmeans"} in node["changes"]
    assert node["comparison"]["baseline"] == "sick"
    page = new.treatment_page.read_text()
    for part in ("-bottleneck.init: normal", "+bottleneck.init: kmeans", "Diagnosis of sick"):
        assert part in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_a_dry_run_writes_nothing(old):
    before, siblings = digests(old.path), sorted(old.path.parent.iterdir())
    plan = treat(old, diagnosis=found("codebook-collapse"), dry_run=True)
    assert plan.after is None
    assert plan.to_dict()["comparison"] is None
    assert digests(old.path) == before
    assert sorted(old.path.parent.iterdir()) == siblings
    with pytest.raises(RunError, match="nothing was trained"):
        psnr_gain(plan)


def test_the_first_assertion_a_recipe_can_treat_is_taken(old):
    diagnosis = found("random-decoder", "codebook-collapse", "under-training")
    assert treat(old, diagnosis=diagnosis, dry_run=True).finding == "codebook-collapse"
    named = treat(old, diagnosis=diagnosis, finding="under-training", dry_run=True, steps=30)
    assert (named.finding, named.patch, named.how) == (
        "under-training",
        {"training.steps": 30},
        "resumed",
    )


def test_training_goes_on_in_a_new_folder(old, tmp_path):
    before = digests(old.path)
    longer = treat(
        old, diagnosis=found("under-training"), steps=18, out=tmp_path / "longer", progress=False
    )
    assert longer.how == "resumed"
    assert longer.after.status()["step"] == 18
    steps = [line["step"] for line in longer.after.folder.read_metrics()]
    assert min(steps) <= 12 < max(steps), "the old log goes on"
    assert digests(old.path) == before


@pytest.mark.parametrize(
    ("diagnosis", "finding", "part"),
    [
        (found(), None, "healthy: nothing to treat"),
        (found("codebook-collapse", confidence=0.3), None, "healthy: nothing to treat"),
        (found("random-decoder", treatment="use a real decoder"), None, "use a real decoder"),
        (found("codebook-collapse"), "codebook-colapse", "did you mean 'codebook-collapse'?"),
    ],
)
def test_what_cannot_be_treated_is_said(old, diagnosis, finding, part):
    with pytest.raises(PellucidError, match="(?s)" + part.replace("?", r"\?")):
        treat(old, diagnosis=diagnosis, finding=finding)


def test_taken_folders_and_unfinished_runs_are_refused(old, tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    with pytest.raises(RunError, match="not empty"):
        treat(old, diagnosis=found("codebook-collapse"), out=tmp_path / "taken", progress=False)
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(old.folder.recipe, bare)
    with pytest.raises(RunError, match="no trained weights"):
        treat(bare)
    with pytest.raises(RecipeError, match="steps"):
        treat(
            old, diagnosis=found("under-training"), steps=0, out=tmp_path / "none", progress=False
        )


def test_a_stale_diagnosis_is_not_believed(old, tmp_path, monkeypatch):
    copy = Run.open(shutil.copytree(old.path, tmp_path / "copy"))
    fresh = found("codebook-collapse")
    monkeypatch.setattr("pellucid.workflows.diagnose.examine_run", lambda run: fresh)
    stored = dataclasses.replace(fresh, notes=("stored",))
    copy.folder.write_json(copy.folder.diagnosis, stored.to_dict())
    assert known_diagnosis(copy).notes == ("stored",)
    weights = copy.folder.model.stat().st_mtime
    os.utime(copy.folder.diagnosis, (weights - 10, weights - 10))
    assert known_diagnosis(copy).notes == ()
    other = {**stored.to_dict(), "schema": 0}
    copy.folder.write_json(copy.folder.diagnosis, other)
    assert known_diagnosis(copy).notes == ()


def test_a_run_without_numbers_is_evaluated_inside_the_new_one(old, tmp_path):
    bare = Run.open(shutil.copytree(old.path, tmp_path / "bare"))
    bare.folder.evaluation.unlink()
    before = digests(bare.path)
    done = treat(
        bare, diagnosis=found("codebook-collapse"), out=tmp_path / "new", steps=6, progress=False
    )
    assert digests(bare.path) == before
    assert (tmp_path / "new" / "before" / "bare" / "evaluation.json").is_file()
    assert psnr_gain(done)["paired"]


def test_an_interrupted_training_stops_what_follows(old, tmp_path):
    copy = Run.open(shutil.copytree(old.path, tmp_path / "copy"))
    require_finished(copy)
    copy.folder.write_json(copy.folder.run, {**copy.status(), "state": "stopped", "step": 7})
    with pytest.raises(RunError, match=r"(?s)interrupted.*step 7.*--resume"):
        require_finished(copy)


def test_before_and_after_show_the_same_samples(old, treated):
    def shown(run: Run) -> set[bytes]:
        return {path.read_bytes() for path in run.folder.reconstructions.glob("*_original.png")}

    assert shown(treated[0].after) == shown(old)


def test_a_run_hands_its_floor_to_the_rules_that_ask_for_it():
    recipe = load_recipe("mnist-vae")
    assert "free_bits" not in declared(recipe)
    floored = apply_overrides(recipe, ["bottleneck.free_nats=0.5"])
    assert declared(floored)["free_bits"] == 0.5
