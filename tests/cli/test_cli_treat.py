"""`pellucid treat` prints the patch as a diff, trains beside the run, and refuses in words."""

from __future__ import annotations

import json
import shutil

import pytest

from pellucid.diagnosis.evidence import Diagnosis, Finding
from pellucid.run_folder import RunFolder


def diagnosed(trained, folder, *ids):
    """Copy a run and put findings into its diagnosis.json."""
    run = RunFolder(shutil.copytree(trained, folder))
    findings = tuple(
        Finding(id, 0.9, 1, "dB", "why it is bad", (), "change the code", ()) for id in ids
    )
    found = Diagnosis(findings, (), ("a", "b"), (), (), (), "PSNR (peak 2)", 6, 0.1)
    run.write_json(run.diagnosis, found.to_dict())
    return run.path


def test_a_dry_run_prints_the_diff(pellucid, trained, tmp_path):
    run = diagnosed(trained, tmp_path / "run", "codebook-too-small")
    code, out, err = pellucid("treat", run, "--dry-run")
    assert code == 0, err
    assert "codebook-too-small" in out
    assert "- bottleneck.codes: 32" in out
    assert "+ bottleneck.codes: 128" in out
    assert "from the start" in out
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_treated_run_stands_beside_the_old_one(pellucid, trained, tmp_path):
    run = diagnosed(trained, tmp_path / "run", "codebook-too-small")
    code, out, err = pellucid("treat", run, "--json", "-q")
    assert code == 0, err
    answer = json.loads(out)
    new = tmp_path / "run-treated"
    assert answer["after"] == str(new)
    assert answer["changes"] == [{"key": "bottleneck.codes", "before": 32, "after": 128}]
    stored = json.loads((new / "treatment.json").read_text())
    assert {key: value for key, value in stored.items() if key != "version"} == answer
    assert (new / "treatment.html").is_file()
    assert (new / "report.html").is_file()


@pytest.mark.parametrize(
    ("ids", "words", "part"),
    [
        ((), [], "healthy: nothing to treat"),
        (("random-decoder",), [], "change the code"),
        (("random-decoder",), ["--finding", "random-decodr"], "did you mean 'random-decoder'?"),
    ],
)
def test_refusals_are_readable(pellucid, trained, tmp_path, ids, words, part):
    run = diagnosed(trained, tmp_path / "run", *ids)
    code, _, err = pellucid("treat", run, *words)
    assert code == 1
    assert part in err
    assert "Traceback" not in err


def test_no_run_no_treatment(pellucid, tmp_path):
    code, _, err = pellucid("treat", tmp_path / "none")
    assert code == 1
    assert "no such run folder" in err


@pytest.mark.slow
def test_the_demo_cures_its_twin(pellucid, tmp_path):
    code, out, err = pellucid("demo", "-o", tmp_path / "demo", "--json")
    assert code == 0, err
    answer = json.loads(out)
    assert answer["treatment"]["finding"] == "codebook-collapse"
    gain = next(
        d for d in answer["treatment"]["comparison"]["differences"] if d["metric"] == "psnr"
    )
    assert gain["value"] > 2
    assert (tmp_path / "demo" / "demo.html").is_file()
