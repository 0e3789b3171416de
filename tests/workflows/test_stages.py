"""Stages: skipped while their inputs are what they were, run again otherwise, never half noted."""

from __future__ import annotations

import json

import pytest

from pellucid.errors import RunError
from pellucid.workflows.stages import Ledger, Stage


def stage(folder, calls, *, name="copy", settings=None, fail=False, idle=False):
    def run():
        calls.append(name)
        if fail:
            raise KeyboardInterrupt
        if not idle:
            (folder / f"{name}.out").write_text((folder / "in").read_text())

    return Stage(name, (folder / "in",), settings or {}, (folder / f"{name}.out",), run)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").write_text("one")
    return tmp_path


def perform(folder, calls, **keywords):
    return Ledger(folder / "pipeline.json").perform(stage(folder, calls, **keywords)).state


def test_a_stage_runs_once(folder):
    calls = []
    assert perform(folder, calls) == "done"
    assert perform(folder, calls) == "up to date"
    assert calls == ["copy"]


@pytest.mark.parametrize("change", ["input", "settings", "output"])
def test_whatever_changes_runs_it_again(folder, change):
    calls = []
    perform(folder, calls)
    if change == "input":
        (folder / "in").write_text("two")
    if change == "output":
        (folder / "copy.out").unlink()
    settings = {"steps": 3} if change == "settings" else {}
    assert perform(folder, calls, settings=settings) == "done"
    assert perform(folder, calls, settings=settings) == "up to date"
    assert (folder / "copy.out").read_text() == (folder / "in").read_text()


def test_an_interrupted_stage_is_not_taken_for_whole(folder):
    calls = []
    perform(folder, calls)
    with pytest.raises(KeyboardInterrupt):
        perform(folder, calls, settings={"steps": 3}, fail=True)
    assert json.loads((folder / "pipeline.json").read_text())["stages"] == {}
    assert perform(folder, calls) == "done"  # although its old output was still there


def test_a_stage_that_leaves_nothing_or_lacks_its_input_is_named(folder):
    with pytest.raises(RunError, match="'copy' left nothing"):
        perform(folder, [], idle=True)
    (folder / "in").unlink()
    with pytest.raises(RunError, match="'copy' lacks what it reads"):
        perform(folder, [])
