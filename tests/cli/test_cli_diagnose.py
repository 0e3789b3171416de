"""`pellucid diagnose` on a run and on a factory says what the Python call says."""

from __future__ import annotations

import json
import shutil

import pytest
from tiny_run import TINY
from torch.utils.data import ConcatDataset

FACTORY = '''
import torch
from pellucid import Latent, Subject

def build():
    """A decoder that answers in [0, 1] to data in [-1, 1]."""
    def encode(x):
        return Latent(mean=torch.nn.functional.avg_pool2d(x, 2))
    def decode(z):
        return (torch.nn.functional.interpolate(z, scale_factor=2.0) + 1) / 2
    return Subject(encode=encode, decode=decode, value_range=(-1, 1))

def needs(argument):
    return argument
'''


@pytest.fixture
def factory(tmp_path, monkeypatch):
    (tmp_path / "my_models.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


def test_a_run_is_diagnosed_and_its_page_says_so(pellucid, trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    code, out, err = pellucid("diagnose", run, "--json", "-q", "--seconds", "30")
    assert code == 0, err
    answer = json.loads(out)
    on_disk = json.loads((run / "diagnosis.json").read_text())
    assert on_disk["verdict"] == answer["verdict"]
    assert set(answer["tested"]) | {row["id"] for row in answer["not_tested"]} >= {
        "random-decoder",
        "range-mismatch",
        "straight-through-gain",
        "posterior-collapse",
    }
    asserted = {f["id"] for f in answer["findings"] if f["confidence"] >= 0.5}
    assert not asserted & {"random-decoder", "straight-through-gain", "posterior-collapse"}
    assert answer["verdict"].split(" (")[0] in (run / "report.html").read_text()


def test_a_factory_gives_the_same_finding_as_the_call(pellucid, factory, photos):
    code, out, err = pellucid(
        "diagnose", "my_models:build", "--data", photos, "--size", "32", "--json", "-q"
    )
    assert code == 0, err
    first = json.loads(out)["findings"][0]
    assert first["id"] == "range-mismatch"
    assert first["confidence"] >= 0.5

    import my_models  # type: ignore[import-not-found]

    import pellucid as library
    from pellucid.data import ImageData

    images = ImageData(path=str(photos), size=32)
    held_out = ConcatDataset([images.validation, images.test])
    called = library.diagnose(my_models.build(), images.train, held_out)
    assert called.findings[0].id == "range-mismatch"
    assert called.findings[0].severity == pytest.approx(first["severity"])


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["my_models:biuld", "--data", "."], "'build'"),
        (["my_models:build"], "--data PATH"),
        (["my_models:needs", "--data", "."], "takes nothing"),
        (["no_such_module:build", "--data", "."], "cannot import"),
        (["no-such-run"], "no such run folder"),
    ],
)
def test_what_cannot_be_diagnosed_is_explained(pellucid, factory, words, part):
    code, _, err = pellucid("diagnose", *words)
    assert code == 1
    assert part in err
    assert "Traceback" not in err


def test_a_diagnosis_survives_its_json(pellucid, trained, tmp_path):
    from pellucid.diagnosis.reading import read_diagnosis
    from pellucid.errors import RunError

    run = shutil.copytree(trained, tmp_path / "run")
    assert pellucid("diagnose", run, "--json", "-q", "--seconds", "20")[0] == 0
    node = json.loads((run / "diagnosis.json").read_text())
    again = json.loads(read_diagnosis(node).to_json())
    assert again == {key: value for key, value in node.items() if key != "version"}
    with pytest.raises(RunError, match="another format"):
        read_diagnosis({**node, "schema": 999})


def test_a_run_states_its_losses_as_they_stood_at_the_end(pellucid, photos, tmp_path):
    from pellucid.workflows.diagnose import subject_of
    from pellucid.workflows.run import Run

    words = [text for text in TINY if not text.startswith("bottleneck.")]
    words += ["bottleneck.kind=gaussian", "bottleneck.dim=4", "bottleneck.weight=0.01"]
    words += ["bottleneck.anneal_steps=12", "-q", "--no-evaluate", "-o", tmp_path / "run"]
    assert pellucid("train", "photos-vq", f"data.path={photos}", *words)[0] == 0
    run = Run.open(tmp_path / "run")
    subject = subject_of(run)
    assert subject.kl_weight == pytest.approx(0.01)
    assert subject.loss_terms is not None
    terms = subject.loss_terms(run.data().test[0]["x"][None])
    assert set(terms) == {"l2", "kl"}, "an annealed KL has its full weight at the end"
    assert terms["kl"].item() > 0
