"""docs/diagnose.ipynb runs, finds the planted fault, and the repair repairs it."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "diagnose.ipynb"


@pytest.fixture(scope="module")
def executed(tmp_path_factory) -> nbformat.NotebookNode:
    """Run every cell with this interpreter: no installed kernel is relied on."""
    home = tmp_path_factory.mktemp("jupyter")
    spec = home / "kernels" / "python3"
    spec.mkdir(parents=True)
    command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(
        json.dumps({"argv": command, "display_name": "Python 3", "language": "python"})
    )
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(home))
        patch.setenv("OMP_NUM_THREADS", "1")
        return NotebookClient(notebook, timeout=300, kernel_name="python3").execute()


def outputs(notebook: nbformat.NotebookNode) -> list[str]:
    """Return what cells show, as HTML where they offer it, else as text."""
    shown = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            shown.append(data.get("text/html") or data.get("text/plain") or output.get("text", ""))
    return shown


def test_the_notebook_is_committed_without_outputs_or_machine_paths():
    text = NOTEBOOK.read_text()
    assert not outputs(nbformat.reads(text, as_version=4))
    assert not re.search(r"/(home|root|work|tmp|Users)/", text)


def test_the_planted_fault_is_rate_starvation_and_the_repair_wins_decibels(executed):
    sick, finding, healthy, both = outputs(executed)
    assert "rate-starvation" in sick
    assert finding.startswith("rate-starvation")
    assert "towards 2·MSE/D" in finding
    assert "healthy" in healthy
    assert "rate-starvation" not in healthy.split("not tested")[0]
    before, after = (float(db) for db in re.findall(r"([\d.]+) dB", both))
    assert after > before + 3
    sick_line, healthy_line = both.splitlines()
    assert "['rate-starvation']" in sick_line
    assert "rate-starvation" not in healthy_line
