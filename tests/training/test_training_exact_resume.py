"""Killed with SIGKILL and resumed, a run ends with the very bits of an uninterrupted one."""

from __future__ import annotations

import json
import random
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from killed_training import fork_server, train_and_die
from safetensors.torch import load_file

from pellucid.run_folder import RunFolder

SCENARIOS: dict[str, dict[str, Any]] = {
    "vq": {"kind": "vq"},
    "gaussian, accumulated": {"kind": "gaussian", "accumulate": 2, "batch_size": 3},
}
RARER: dict[str, dict[str, Any]] = {
    "vq, accumulated, no average": {"kind": "vq", "accumulate": 2, "ema_decay": None},
    "bf16, workers, no channels-last": {
        "kind": "gaussian",
        "precision": "bf16",
        "workers": 2,
        "channels_last": False,
    },
}
TIMES = ("seconds", "samples_per_second")


@pytest.fixture(scope="module")
def context():
    return fork_server()


def run_child(context, folder: Path, die_at: int | None, settings: dict[str, Any]) -> int:
    child = context.Process(target=train_and_die, args=(folder, die_at, settings))
    child.start()
    child.join(60)
    assert child.exitcode is not None, "the child hangs"
    return child.exitcode


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    found = {}
    for path in sorted(folder.rglob("*.safetensors")):
        for name, tensor in load_file(path).items():
            found[f"{path.relative_to(folder)}:{name}"] = tensor
    return found


def without_times(node: Any) -> Any:
    if isinstance(node, dict):
        return {k: without_times(v) for k, v in node.items() if k not in TIMES}
    if isinstance(node, list):
        if len(node) == 2 and node[0] in TIMES:
            return node[:1]
        return [without_times(item) for item in node]
    return node


def assert_same_run(folder: Path, reference: Path) -> None:
    ours, theirs = tensors_of(folder), tensors_of(reference)
    assert ours.keys() == theirs.keys()
    assert len(ours) > 20
    different = [name for name in ours if not torch.equal(ours[name], theirs[name])]
    assert different == []
    for name in ("last", "best"):
        state = f"checkpoints/{name}/state.json"
        ours_state, theirs_state = (
            without_times(json.loads((path / state).read_text())) for path in (folder, reference)
        )
        assert ours_state == theirs_state
    lines, expected = (
        [without_times(line) for line in RunFolder(path).read_metrics()]
        for path in (folder, reference)
    )
    assert lines == expected
    assert without_times(json.loads((folder / "run.json").read_text())) == without_times(
        json.loads((reference / "run.json").read_text())
    )
    leftovers = [path.name for path in folder.rglob(".*")]
    assert [name for name in leftovers if "writing" in name or "previous" in name] == []


def kill_until_finished(context, folder, settings, moments) -> int:
    """Kill at each moment in turn, resuming in between; return how many kills struck."""
    kills = 0
    for die_at in moments:
        code = run_child(context, folder, die_at, settings)
        assert code in (0, -signal.SIGKILL)
        if code == 0:
            return kills
        kills += 1
    assert run_child(context, folder, None, settings) == 0
    return kills


@pytest.mark.parametrize("name", SCENARIOS)
def test_killed_runs_end_with_the_same_bits(context, tmp_path, name):
    settings = SCENARIOS[name]
    assert run_child(context, tmp_path / "whole", None, settings) == 0
    moments = random.Random(name).sample(range(10, 120), 9)
    kills = kill_until_finished(context, tmp_path / "killed", settings, moments)
    assert kills >= 4
    assert_same_run(tmp_path / "killed", tmp_path / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS | RARER)
def test_killed_at_every_moment(context, tmp_path, name):
    settings = (SCENARIOS | RARER)[name] | {"steps": 9}
    assert run_child(context, tmp_path / "whole", None, settings) == 0
    for die_at in range(0, 10_000, 1 if name in SCENARIOS else 7):
        folder = tmp_path / f"killed-{die_at}"
        code = run_child(context, folder, die_at, settings)
        assert code in (0, -signal.SIGKILL)
        assert code == 0 or run_child(context, folder, None, settings) == 0
        assert_same_run(folder, tmp_path / "whole")
        if code == 0:
            assert die_at > 100
            return
