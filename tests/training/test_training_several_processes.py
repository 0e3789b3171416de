"""Two CPU processes train as one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_training import tiny_adversary, tiny_fit, tiny_model

from pellucid.errors import RecipeError
from pellucid.run_folder import RunFolder

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("two")
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    launch += ["--master-port", "0", "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    done = subprocess.run(
        [*launch, str(HERE / "several_processes.py"), str(out)],
        env=os.environ | {"PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return out


def results(trained, rank):
    return json.loads((trained / f"results-{rank}.json").read_text())


def test_both_processes_end_and_agree(trained):
    assert results(trained, 0) == results(trained, 1)
    assert results(trained, 0)["vq-whole"] == ["finished", 12]


@pytest.mark.parametrize(
    "name", ["first-steps", "adversarial", "vq-whole", "vq-resumed", "stopped"]
)
def test_live_weights_and_statistics_are_identical_in_both(trained, name):
    first, second = (load_file(trained / f"{name}-live-{rank}.safetensors") for rank in (0, 1))
    assert first.keys() == second.keys()
    assert [n for n in first if not torch.equal(first[n], second[n])] == []


def test_two_processes_equal_one_with_the_same_global_batch(trained, tmp_path):
    tiny_fit(tmp_path / "one", steps=5, batch_size=8, ema_decay=None)
    one = load_file(tmp_path / "one" / "checkpoints" / "last" / "tensors.safetensors")
    two = load_file(trained / "first-steps" / "checkpoints" / "last" / "tensors.safetensors")
    start = tiny_model().state_dict()
    names = [name for name in one if name.startswith("state_dict/autoencoder.")]
    assert len(names) == len(start)
    for name in names:
        torch.testing.assert_close(two[name], one[name], rtol=1e-4, atol=1e-5)
    moved = [n for n in names if not torch.equal(two[n], start[n.split("autoencoder.")[1]])]
    assert len(moved) == len(names)


def test_two_discriminators_equal_one_with_the_same_global_batch(trained, tmp_path):
    first, second = (
        load_file(trained / f"adversarial-rival-{rank}.safetensors") for rank in (0, 1)
    )
    assert [n for n in first if not torch.equal(first[n], second[n])] == []
    alone = tiny_adversary(feature_weight=0.0)
    start = {name: value.clone() for name, value in alone.discriminator.state_dict().items()}
    tiny_fit(tmp_path / "one", steps=5, batch_size=8, ema_decay=None, adversary=alone)
    for name, value in alone.discriminator.state_dict().items():
        torch.testing.assert_close(first[name], value, rtol=1e-3, atol=1e-5)
    still = [name for name in start if torch.equal(first[name], start[name])]
    # a hinge pulls the last bias down as hard as up while no score is beyond its margin
    assert set(still) <= {name for name in start if name.endswith("score.bias")}


def test_validation_is_over_all_processes(trained, tmp_path):
    tiny_fit(tmp_path / "one", steps=5, batch_size=8, ema_decay=None)
    values = [
        next(line for line in RunFolder(path).read_metrics() if line["split"] == "validation")
        for path in (tmp_path / "one", trained / "first-steps")
    ]
    for name, value in values[0]["values"].items():
        assert values[1]["values"][name] == pytest.approx(value, rel=1e-4)


def test_resume_under_two_processes_is_exact(trained):
    assert results(trained, 0)["failure"] == "the power went"
    paths = [
        trained / n / "checkpoints/last/tensors.safetensors" for n in ("vq-whole", "vq-resumed")
    ]
    whole, resumed = (load_file(path) for path in paths)
    assert whole.keys() == resumed.keys()
    assert [n for n in whole if not torch.equal(whole[n], resumed[n])] == []
    lines = [list(RunFolder(trained / n).read_metrics()) for n in ("vq-whole", "vq-resumed")]
    steps = [[(line["step"], line["split"]) for line in some] for some in lines]
    assert steps[0] == steps[1]


def test_a_signal_to_one_process_stops_both_at_the_same_step(trained):
    assert results(trained, 0)["stopped"] == ["stopped", 4]
    assert RunFolder(trained / "stopped").read_json(trained / "stopped/run.json")["step"] == 4


def test_a_bad_batch_in_one_process_stops_both(trained):
    assert "training met NaN or infinity at step" in results(trained, 0)["nonfinite"]
    saved = sorted(path.name for path in (trained / "nonfinite/nonfinite").iterdir())
    assert [name.split("-")[-1] for name in saved] == ["0.safetensors", "1.safetensors"]


def test_devices_without_torchrun_name_the_launcher(tmp_path):
    with pytest.raises(RecipeError, match="torchrun --nproc-per-node 2"):
        tiny_fit(tmp_path, devices=2)
