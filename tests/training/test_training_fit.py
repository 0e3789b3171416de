"""fit: what it writes, what it refuses, how it stops."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
import signal
import warnings

import pytest
import torch
from safetensors.torch import load_file
from tiny_training import TinyImages, tiny_fit, tiny_model, tiny_objective

from pellucid.errors import DataError, MissingExtraError, NonFiniteError, RecipeError, RunError
from pellucid.run_folder import RunFolder
from pellucid.training import module
from pellucid.training.checkpoint import read_checkpoint
from pellucid.training.estimate import estimate

TERMS = [f"terms.{n}.{v}" for n in ("l1", "l2") for v in ("value", "weighted")]
SHARES = [f"terms.{n}.{v}gradient_share" for n in ("l1", "l2") for v in ("", "latent_")]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    model = tiny_model("vq")
    return folder, model, tiny_fit(folder, model=model, kind="vq")


def test_the_run_folder_tells_everything(finished):
    folder, model, result = finished
    assert (result.state, result.step, result.weights, result.already) == (
        "finished",
        20,
        "ema",
        False,
    )
    status = RunFolder(folder).read_json(folder / "run.json")
    assert status["monitor"]["name"] == "psnr"
    assert status["selected_step"] == status["monitor"]["best_step"]
    assert status["parameters"] == sum(p.numel() for p in model.parameters())
    assert status["environment"]["precision"] == "float32"
    deployed = load_file(folder / "model.safetensors")
    assert deployed.keys() == model.state_dict().keys()
    for name, value in model.state_dict().items():
        assert torch.equal(value, deployed[name])
    assert not model.training
    assert {p.suffix for p in folder.rglob("*") if p.is_file()} == {
        ".json",
        ".jsonl",
        ".csv",
        ".safetensors",
    }


def test_metrics_have_their_names_and_schedules(finished):
    folder, _, _ = finished
    lines = list(RunFolder(folder).read_metrics())
    train = {line["step"]: line["values"] for line in lines if line["split"] == "train"}
    held_out = {line["step"]: line["values"] for line in lines if line["split"] == "validation"}
    assert list(train) == [1, 4, 6, 8, 12, 16, 18, 20]
    assert list(held_out) == [7, 14, 20]
    for values in train.values():
        assert {"total", *TERMS, "learning_rate", "gradient_norm"} <= values.keys()
        assert values["samples_per_second"] > 0
        assert "bottleneck.perplexity" in values
    for step in (1, 6, 12, 18):
        assert {*SHARES, "update_ratio"} <= train[step].keys()
        shares = [train[step][name] for name in train[step] if name.endswith(".gradient_share")]
        assert sum(shares) == pytest.approx(1)
        assert 0 < train[step]["update_ratio"] < 0.2
    assert "update_ratio" not in train[4]
    assert {"psnr", "total", *TERMS} <= held_out[20].keys()
    assert lines[-1]["epoch"] == pytest.approx(20 * 4 / 24, abs=1e-3)


def test_csv_holds_the_same_numbers(finished):
    folder, _, _ = finished
    with (folder / "metrics.csv").open() as file:
        rows = [
            (int(r["step"]), r["split"], r["name"], float(r["value"])) for r in csv.DictReader(file)
        ]
    expected = [
        (line["step"], line["split"], name, value)
        for line in RunFolder(folder).read_metrics()
        for name, value in line["values"].items()
    ]
    assert rows == expected


def test_validation_leaves_training_as_it_was(tmp_path):
    for name, every in (("often", 2), ("once", 20)):
        tiny_fit(tmp_path / name, kind="gaussian", validate_every=every, monitor=None)
    often, once = (
        load_file(tmp_path / name / "checkpoints/last/tensors.safetensors")
        for name in ("often", "once")
    )
    assert [name for name in once if not torch.equal(often[name], once[name])] == []


def test_a_finished_run_does_nothing_and_more_steps_continue(finished, capsys):
    folder, _, _ = finished
    before = (folder / "model.safetensors").read_bytes()
    model = tiny_model("vq", seed=5)
    result = tiny_fit(folder, model=model, kind="vq", resume=True)
    assert result.already
    assert result.step == 20
    assert "took all 20 steps" in capsys.readouterr().err
    assert (folder / "model.safetensors").read_bytes() == before
    assert torch.equal(
        model.state_dict()["encoder.first.weight"],
        load_file(folder / "model.safetensors")["encoder.first.weight"],
    )
    result = tiny_fit(folder, kind="vq", resume=True, steps=24)
    assert (result.step, result.already) == (24, False)
    steps = [line["step"] for line in RunFolder(folder).read_metrics()]
    assert steps == sorted(steps)
    assert steps[-1] == 24


def test_a_taken_folder_or_another_run_is_refused(tmp_path):
    tiny_fit(tmp_path, steps=4)
    kept = (tmp_path / "checkpoints/last/tensors.safetensors").read_bytes()
    with pytest.raises(RunError, match="already holds a run"):
        tiny_fit(tmp_path, steps=4)
    with pytest.raises(RunError, match="must keep 'batch_size'"):
        tiny_fit(tmp_path, steps=8, batch_size=5, resume=True)
    with pytest.raises(RunError, match="must keep 'training samples'"):
        tiny_fit(tmp_path, steps=8, train_set=TinyImages(23), resume=True)
    with pytest.raises(RunError, match="belongs to another model"):
        tiny_fit(tmp_path, steps=8, kind="vq", resume=True)
    assert (tmp_path / "checkpoints/last/tensors.safetensors").read_bytes() == kept


def test_an_unwritable_folder_is_refused_before_training(tmp_path):
    (tmp_path / "file").write_text("taken")
    with pytest.raises(RunError, match="cannot be written"):
        tiny_fit(tmp_path / "file" / "run")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"monitor": "pnsr"}, "did you mean 'psnr'"),
        ({"steps": 0}, "training.steps"),
        ({"learning_rate": -1.0}, "training.learning_rate"),
        ({"final_learning_rate": 2.0}, "training.final_learning_rate"),
        ({"ema_decay": 1.5}, "training.ema_decay"),
        ({"loggers": ("tensorbord",)}, "did you mean 'tensorboard'"),
        ({"precision": "bf61"}, "did you mean 'bf16'"),
        ({"accelerator": "cupid"}, "unknown accelerator"),
    ],
)
def test_wrong_keywords_are_named(tmp_path, changes, message):
    with pytest.raises(RecipeError, match=message):
        tiny_fit(tmp_path, **changes)


def test_a_batch_larger_than_the_set_is_named(tmp_path):
    with pytest.raises(DataError, match="larger than the training set"):
        tiny_fit(tmp_path, batch_size=25)
    assert list(tmp_path.iterdir()) == []


def test_an_absent_logger_names_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    with pytest.raises(MissingExtraError, match=r"pellucid\[track\]"):
        tiny_fit(tmp_path, loggers=("wandb",))


def test_tensorboard_writes_events(tmp_path):
    import tensorboard  # noqa: F401 - a development dependency; the logger needs it

    tiny_fit(tmp_path, steps=2, loggers=("tensorboard",))
    assert [p.name[:6] for p in (tmp_path / "tensorboard").glob("events*")] == ["events"]
    assert not (tmp_path / "metrics.csv").exists()


def test_patience_stops_early_and_stays_finished(tmp_path):
    settings = {"learning_rate": 1e-12, "validate_every": 2, "patience": 2, "monitor": "total"}
    settings |= {"ema_decay": None, "checkpoint_every": 50}
    result = tiny_fit(tmp_path, **settings)
    assert result.state == "finished"
    assert result.step < 20
    assert "did not improve in 2 validations" in result.reason
    again = tiny_fit(tmp_path, resume=True, **settings)
    assert again.already
    more = tiny_fit(tmp_path, resume=True, **(settings | {"patience": 3}))
    assert more.step > result.step


def test_without_validation_the_last_weights_are_kept(tmp_path):
    result = tiny_fit(tmp_path, validation_set=None, ema_decay=None)
    assert (result.selected, result.weights, result.monitor) == ("last", "raw", None)
    last = read_checkpoint(tmp_path / "checkpoints/last")["state_dict"]
    kept = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(last[f"autoencoder.{name}"], value) for name, value in kept.items())


@pytest.mark.parametrize("lagged", [False, True])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_nan_in_the_data_stops_before_the_update(tmp_path, monkeypatch, lagged, accumulate):
    original = module.TrainingModule.__init__
    monkeypatch.setattr(
        module.TrainingModule,
        "__init__",
        lambda self, *a, **k: original(self, *a, **(k | {"lagged_check": lagged})),
    )
    model = tiny_model()
    spoiled = TinyImages(spoiled=11)
    with pytest.raises(NonFiniteError, match="'x' of the batch") as caught:
        tiny_fit(
            tmp_path, model=model, train_set=spoiled, accumulate=accumulate, checkpoint_every=1
        )
    assert "--resume" in str(caught.value)
    assert all(p.isfinite().all() for p in model.parameters())
    (saved,) = (tmp_path / "nonfinite").iterdir()
    batches = load_file(saved)
    assert 11 in torch.cat([v for k, v in batches.items() if k.endswith("index")])
    status = RunFolder(tmp_path).read_json(tmp_path / "run.json")
    assert status["state"] == "stopped"
    assert f"step-{status['step'] + 1:06d}" in saved.name
    last = read_checkpoint(tmp_path / "checkpoints/last")
    for name, value in model.state_dict().items():
        assert torch.equal(last["state_dict"][f"autoencoder.{name}"], value)
    result = tiny_fit(tmp_path, accumulate=accumulate, resume=True)
    assert result.state == "finished"


class Exploding(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient / 0


def test_the_first_bad_module_is_named(tmp_path, monkeypatch):
    model = tiny_model()
    monkeypatch.setattr(
        model.decoder.first, "forward", lambda z: torch.log(z - 100).repeat(1, 2, 1, 1)
    )
    with pytest.raises(NonFiniteError, match=r"output of module 'decoder\.first' \(Conv2d\)"):
        tiny_fit(tmp_path / "forward", model=model)
    model = tiny_model()
    norm = model.encoder.norm.forward
    monkeypatch.setattr(model.encoder.norm, "forward", lambda h: Exploding.apply(norm(h)))
    with pytest.raises(NonFiniteError, match=r"gradient at the output of module 'encoder\.first'"):
        tiny_fit(tmp_path / "backward", model=model)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_says_how_to_go_on(tmp_path, monkeypatch, capsys, number):
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    step = module.TrainingModule.training_step

    def told_to_stop(self, batch, batch_idx):
        if self.step == 8 and not self.agreement.stop_requested:
            workers = multiprocessing.active_children()
            assert len(workers) == 2
            for pid in (*(worker.pid for worker in workers), os.getpid()):
                os.kill(pid, number)
        return step(self, batch, batch_idx)

    monkeypatch.setattr(module.TrainingModule, "training_step", told_to_stop)
    result = tiny_fit(tmp_path / "stopped", kind="gaussian", workers=2, accumulate=2)
    assert (result.state, result.step) == ("stopped", 9)
    assert f"pellucid train --resume {tmp_path / 'stopped'}" in capsys.readouterr().err
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
    monkeypatch.undo()
    tiny_fit(tmp_path / "stopped", kind="gaussian", accumulate=2, resume=True)
    tiny_fit(tmp_path / "whole", kind="gaussian", accumulate=2)
    stopped, whole = (load_file(tmp_path / n / "model.safetensors") for n in ("stopped", "whole"))
    assert all(torch.equal(stopped[name], whole[name]) for name in whole)


def test_a_second_signal_stops_at_once(tmp_path, monkeypatch):
    def impatient(self, batch, batch_idx):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(module.TrainingModule, "training_step", impatient)
    with pytest.raises(KeyboardInterrupt):
        tiny_fit(tmp_path)
    assert read_checkpoint(tmp_path / "checkpoints/last")["progress"]["step"] == 0


def test_a_full_disk_keeps_the_last_good_state(tmp_path, monkeypatch):
    append = RunFolder.append_metrics

    def full(self, line):
        if line["step"] > 10:
            raise RunError("cannot write metrics.jsonl", found="No space left on device")
        append(self, line)

    monkeypatch.setattr(RunFolder, "append_metrics", full)
    with pytest.raises(RunError, match="No space left"):
        tiny_fit(tmp_path / "killed", kind="gaussian")
    assert read_checkpoint(tmp_path / "killed/checkpoints/last")["progress"]["step"] == 10
    monkeypatch.undo()
    tiny_fit(tmp_path / "killed", kind="gaussian", resume=True)
    tiny_fit(tmp_path / "whole", kind="gaussian")
    killed, whole = (load_file(tmp_path / n / "model.safetensors") for n in ("killed", "whole"))
    assert all(torch.equal(killed[name], whole[name]) for name in whole)


def test_bf16_trains_and_is_recorded(tmp_path):
    result = tiny_fit(tmp_path, precision="bf16")
    status = json.loads((tmp_path / "run.json").read_text())
    assert status["environment"]["precision"] == "bf16"
    assert result.monitor["best"] > 10
    assert load_file(tmp_path / "model.safetensors")["encoder.first.weight"].dtype == torch.float32


def test_nothing_is_said_without_being_asked(tmp_path, capfd):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tiny_fit(tmp_path, steps=3)
    assert [str(w.message) for w in caught if "lightning" in str(w.filename)] == []
    assert capfd.readouterr() == ("", "")


def test_progress_prints_validations_where_there_is_no_screen(tmp_path, capsys):
    tiny_fit(tmp_path, progress=True)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == ["7/20", "14/20", "20/20"]
    assert all("psnr" in line for line in lines)


def test_an_estimate_leaves_no_trace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, objective = tiny_model("vq"), tiny_objective()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    keywords = {"steps": 1000, "batch_size": 4, "accelerator": "cpu", "threads": 1}
    result = estimate(model, objective, TinyImages(), price_per_hour=3.6, keywords=keywords)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert list(tmp_path.iterdir()) == []
    parameters = sum(p.numel() for p in model.parameters())
    assert result.parameters == parameters
    assert 3 * 4 * parameters <= result.optimizer_bytes <= 3 * 4 * parameters + 200
    assert result.total_seconds == pytest.approx(1000 * result.seconds_per_step)
    assert result.cost == pytest.approx(3.6 * result.total_seconds / 3600)
    assert result.peak_memory_bytes > 10_000_000
    with pytest.raises(RecipeError, match="did you mean 'batch_size'"):
        estimate(model, objective, TinyImages(), keywords={"batchsize": 4})


@pytest.mark.slow
def test_compiled_training_equals_eager_to_tolerance(tmp_path):
    for name in ("eager", "compiled"):
        tiny_fit(tmp_path / name, compile=name == "compiled", steps=6)
    eager, compiled = (load_file(tmp_path / n / "model.safetensors") for n in ("eager", "compiled"))
    for name, value in eager.items():
        torch.testing.assert_close(compiled[name], value, rtol=1e-3, atol=1e-4)
