"""`pellucid diagnose package.module:factory --data PATH` on every kind of data.

Shape letters: N samples, C channels, H height, W width, T time.
"""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

import pellucid
from pellucid.cli.app import app
from pellucid.errors import DataError
from pellucid.workflows.diagnose import diagnose_factory
from pellucid.workflows.subject_data import divided, subject_data

FACTORY = """
    import torch
    from pellucid import Subject

    def halves():
        \"\"\"Keep every second number; answer in [-1, 1] for data in [0, 1].\"\"\"
        def decode(z):
            return z.repeat_interleave(2, -1) * 2 - 1
        return Subject(encode=lambda x: x[..., ::2], decode=decode)

    def raw():
        def decode(z):
            return z.repeat_interleave(2, -1)
        return Subject(encode=lambda x: x[..., ::2], decode=decode, value_range=(-3, 3))
"""


@pytest.fixture
def module(tmp_path, monkeypatch) -> str:
    monkeypatch.chdir(tmp_path)
    name = f"factories_{tmp_path.name}"
    Path(f"{name}.py").write_text(textwrap.dedent(FACTORY))
    return name


def smooth(*shape: int) -> Tensor:
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(0)).cumsum(-1)
    return x / x.abs().amax()


def ids(diagnosis) -> list[tuple[str, float]]:
    return [(f.id, round(f.confidence, 6)) for f in diagnosis.findings]


def test_factory_and_api_and_command_find_the_same(module):
    x = (smooth(200, 1, 8, 8) + 1) / 2
    train, held = divided(x)
    np.savez("digits.npz", train=train.numpy(), validation=held.numpy())
    by_path = diagnose_factory(f"{module}:halves", "digits.npz")
    subject = __import__(module).halves()
    by_api = pellucid.diagnose(subject, train, held)
    assert ids(by_path) == ids(by_api)
    assert by_path.findings[0].id == "range-mismatch"
    answer = CliRunner().invoke(
        app, ["diagnose", f"{module}:halves", "--data", "digits.npz", "--json", "--quiet"]
    )
    assert answer.exit_code == 0, answer.output
    printed = json.loads(answer.stdout)
    assert [f["id"] for f in printed["findings"]] == [f.id for f in by_api.findings]


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".safetensors"])
@pytest.mark.parametrize("shape", [(64, 3, 8, 8), (64, 1, 256), (64, 256), (64, 12, 8, 8)], ids=str)
def test_arrays_are_taken_as_they_are(tmp_path, suffix, shape):
    from safetensors.torch import save_file

    x = smooth(*shape)
    path = tmp_path / f"x{suffix}"
    if suffix == ".npy":
        np.save(path, x.numpy())
    elif suffix == ".npz":
        np.savez(path, x=x.numpy())
    else:
        save_file({"x": x}, path)
    train, held = subject_data(path, value_range=(-1, 1))
    together = torch.cat([train, held])
    assert together.shape == (x if x.ndim > 2 else x[:, None]).shape
    assert len(held) == round(0.2 * 64)
    torch.testing.assert_close(together.flatten().sort()[0], x.flatten().sort()[0])


def test_waveforms_are_mixed_resampled_and_cropped(tmp_path):
    import soundfile

    t = np.arange(16000) / 16000
    for index in range(10):
        left = np.sin(2 * np.pi * (100 + 10 * index) * t)
        soundfile.write(tmp_path / f"{index}.wav", np.stack([left, 0 * left], 1), 16000)
    train, held = subject_data(tmp_path, value_range=(-1, 1), length=1000, sample_rate=8000)
    assert train.shape == (8 * 8, 1, 1000)
    assert held.shape == (2 * 8, 1, 1000)
    assert float(train.abs().max()) == pytest.approx(0.5, abs=0.02)  # the mean of the two channels
    spectrum = torch.fft.rfft(held[0, 0]).abs()
    frequency = float(spectrum.argmax()) * 8000 / 1000
    assert 100 - 8 <= frequency <= 190 + 8


def test_files_are_divided_whole(tmp_path):
    import soundfile

    for index in range(10):
        soundfile.write(tmp_path / f"{index}.flac", np.full(4000, 0.05 * (index + 1)), 8000)
    train, held = subject_data(tmp_path, value_range=(-1, 1), length=500)
    levels = [{round(float(v), 2) for v in side.mean((1, 2))} for side in (train, held)]
    assert not levels[0] & levels[1]
    assert len(levels[0] | levels[1]) == 10


def test_channel_stacks_keep_their_values(tmp_path):
    import tifffile

    for index in range(6):
        stack = (smooth(7, 32, 32) * 3000 + 100 * index).numpy().astype(np.float32)
        tifffile.imwrite(tmp_path / f"{index}.tif", stack, photometric="minisblack")
    train, held = subject_data(tmp_path, value_range=(0, 1), size=16)
    assert train.shape == (5 * 4, 7, 16, 16)
    assert held.shape == (4, 7, 16, 16)
    assert float(train.abs().max()) > 1000


def test_diagnosis_of_stacks_and_waveforms_runs_through(module):
    np.save("stack.npy", smooth(80, 6, 8, 8).numpy())
    np.save("wave.npy", smooth(80, 256).numpy())
    stacks = diagnose_factory(f"{module}:raw", "stack.npy")
    waves = diagnose_factory(f"{module}:raw", "wave.npy")
    assert "channel-scale-imbalance" in stacks.tested
    assert "misalignment" in waves.tested


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npy", b"no array", "cannot read this array file"),
        ("a.safetensors", b"no tensors", "cannot read this array file"),
        ("a.wav", b"no sound", "cannot read this waveform"),
        ("a.tif", b"no picture", "cannot read this TIFF"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        subject_data(tmp_path / name, value_range=(0, 1))


def test_pickles_are_never_loaded(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.array([{"x": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="cannot read this array file"):
        subject_data(path, value_range=(0, 1))


def test_an_ambiguous_archive_lists_its_arrays(tmp_path):
    np.savez(tmp_path / "a.npz", first=np.zeros((9, 1, 8)), second=np.ones((9, 1, 8)))
    with pytest.raises(DataError, match=r"found: first, second"):
        subject_data(tmp_path / "a.npz", value_range=(0, 1))


def test_short_waveforms_say_which_length_would_do(tmp_path):
    import soundfile

    soundfile.write(tmp_path / "a.wav", np.zeros(100), 8000)
    with pytest.raises(DataError, match=r"at least 16384 samples per file \(--length"):
        subject_data(tmp_path, value_range=(0, 1))


def test_nothing_there_is_said(tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        subject_data(tmp_path / "absent", value_range=(0, 1))
