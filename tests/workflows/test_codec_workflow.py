"""Files and pipes through small codecs: exact lengths, levels, rates, tables and refusals."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from pellucid.bitstream import unpack
from pellucid.bitstream.frames import FrameHeader, FrameReader, end, packet
from pellucid.build.assemble import build_autoencoder
from pellucid.data.audio.loudness import active_level_db
from pellucid.errors import BitstreamError, DataError, PellucidError, RunError
from pellucid.models.inference import reconstruct
from pellucid.models.waveform import encode_waveform, reconstruct_waveform
from pellucid.models.weights import save_weights
from pellucid.recipe import Recipe, dump_yaml
from pellucid.run_folder import RunFolder
from pellucid.workflows import shipped_model
from pellucid.workflows.code_tables import fit_code_tables, saving
from pellucid.workflows.codec import decode, encode
from pellucid.workflows.coder import Coder, read_tables
from pellucid.workflows.run import Run
from pellucid.workflows.stream import stream

RATE = 8000
SEANET = {"kind": "seanet", "strides": [2, 5], "width": 6, "causal": True}


def voice(seconds: float, seed: int = 0, rate: int = RATE, level: float = 0.1) -> np.ndarray:
    """A gliding harmonic tone with pauses, different for every seed."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(seconds * rate)) / rate
    pitch = rng.uniform(90, 220)
    x = sum(np.sin(2 * np.pi * k * pitch * t + rng.uniform(0, 6)) / k for k in range(1, 8))
    x = x * (np.sin(2 * np.pi * 3 * t) > -0.5)
    return (level * x / np.sqrt(np.mean(x**2))).astype(np.float32)


def write_run(path: Path, node: dict, batch: torch.Tensor) -> Path:
    """A run folder with untrained weights, whose codebooks have seen one batch."""
    recipe = Recipe.from_node({"name": "tiny", "seed": 0, "objective": {}, **node}, where="test")
    folder = RunFolder(path)
    folder.path.mkdir(parents=True)
    folder.recipe.write_text(dump_yaml(recipe.to_node()))
    autoencoder = build_autoencoder(recipe).train()
    with torch.no_grad():
        autoencoder(batch)
    save_weights(autoencoder, folder.model)
    return path


def audio_run(path: Path, clips: Path, seed: int = 0, **bottleneck: object) -> Path:
    node = {
        "seed": seed,
        "data": {"kind": "audio", "path": str(clips), "sample_rate": RATE, "length": 4000},
        "encoder": {**SEANET, "channels": 8},
        "bottleneck": {"kind": "rvq", "levels": 3, "codes": 16, **bottleneck},
        "decoder": SEANET,
        "objective": {"l1": {"weight": 1.0}},
    }
    batch = torch.from_numpy(np.stack([voice(0.5, s) for s in range(4)]))[:, None]
    return write_run(path, node, batch)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve clips of one to two seconds, at several levels."""
    folder = tmp_path_factory.mktemp("clips")
    for seed in range(12):
        x = voice(1 + seed / 12, seed, level=0.02 * (1 + seed % 4))
        soundfile.write(folder / f"{seed}.wav", x, RATE)
    return folder


@pytest.fixture(scope="module")
def run(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = audio_run(tmp_path_factory.mktemp("runs") / "audio", clips)
    fill_splits(path)
    return path


def fill_splits(path: Path) -> None:
    """Write the splits that training would have left."""
    from pellucid.build.assemble import build_data

    opened = Run.open(path)
    opened.folder.write_json(opened.folder.splits, build_data(opened.recipe).splits)


@pytest.fixture(scope="module")
def tabled(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights, with code tables."""
    path = audio_run(tmp_path_factory.mktemp("runs") / "tabled", clips)
    fill_splits(path)
    assert fit_code_tables(path, progress=False) == RunFolder(path).code_tables
    return path


@pytest.fixture(scope="module")
def picture_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    node = {
        "data": {"kind": "images", "size": 16, "path": "nowhere"},
        "encoder": {"kind": "residual", "channels": 8, "width": 8, "stride": 4, "blocks": 1},
        "bottleneck": {"kind": "vq", "codes": 32},
        "decoder": {"kind": "residual", "width": 8, "stride": 4, "blocks": 1},
        "objective": {"l2": {"weight": 1.0}},
    }
    return write_run(
        tmp_path_factory.mktemp("runs") / "pictures", node, torch.rand(8, 3, 16, 16) * 2 - 1
    )


def codes_of(path: Path, model: Path) -> np.ndarray:
    return Coder.open(model).unpack(path.read_bytes()).codes


@pytest.mark.parametrize("samples", [1, 9, 10, 11, 4001])
def test_every_length_comes_back_at_its_level(run: Path, tmp_path: Path, samples: int) -> None:
    soundfile.write(tmp_path / "x.wav", voice(1.0)[:samples], RATE, subtype="FLOAT")
    encode(tmp_path / "x.wav", model=run, out=tmp_path / "x.plc", progress=False)
    decode(tmp_path / "x.plc", model=run, out=tmp_path / "y.wav", progress=False)
    y, rate = soundfile.read(tmp_path / "y.wav")
    assert (len(y), rate) == (samples, RATE)
    assert soundfile.info(tmp_path / "y.wav").subtype == "PCM_16"


def test_decoded_files_are_the_models_own_reconstruction(run: Path, tmp_path: Path) -> None:
    x = voice(1.0, level=0.003)
    soundfile.write(tmp_path / "x.wav", x, RATE, subtype="FLOAT")
    told = encode(tmp_path / "x.wav", model=run, progress=False)["files"][0]
    assert told["gain_db"] == pytest.approx(-25 - active_level_db(x, RATE), abs=0.006)
    decode(tmp_path / "x.plc", model=run, out=tmp_path / "y.wav", progress=False)
    gain = 10 ** (told["gain_db"] / 20)
    x_hat = reconstruct_waveform(Run.open(run).load(), torch.from_numpy(x)[None, None] * gain)
    y, _ = soundfile.read(tmp_path / "y.wav")
    np.testing.assert_allclose(y, x_hat[0, 0].numpy() / gain, atol=1.01 / 32768)


@pytest.mark.parametrize(("rate", "channels", "format_"), [(44100, 2, "FLAC"), (11025, 1, "OGG")])
def test_any_rate_and_channels_become_the_models(
    run: Path, tmp_path: Path, rate: int, channels: int, format_: str
) -> None:
    x = np.repeat(voice(1.0, rate=rate)[:, None], channels, axis=1)
    path = tmp_path / f"x.{format_.lower()}"
    soundfile.write(path, x, rate, format=format_)
    result = encode(path, model=run, progress=False)["files"][0]
    assert result["seconds"] == pytest.approx(1.0, abs=1 / RATE)
    assert unpack((tmp_path / "x.plc").read_bytes()).sample_rate == RATE


def test_the_report_counts_the_file_and_the_payload(run: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", voice(2.0), RATE)
    result = encode(tmp_path / "x.wav", model=run, out=tmp_path / "x.plc", progress=False)
    file = result["files"][0]
    assert file["bytes"] == (tmp_path / "x.plc").stat().st_size
    assert file["payload_bytes"] == 2 * 800 * 3 * 4 / 8
    assert 0 < file["bytes"] - file["payload_bytes"] <= 40
    assert file["kbps"] == pytest.approx(8 * file["bytes"] / 2 / 1000)
    assert file["payload_kbps"] == pytest.approx(9.6)
    assert json.loads(json.dumps(result)) == result


def test_fewer_levels_are_the_first_ones_and_fewer_bits(run: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", voice(1.0), RATE)
    whole = encode(tmp_path / "x.wav", model=run, out=tmp_path / "3.plc", progress=False)
    less = encode(tmp_path / "x.wav", model=run, out=tmp_path / "1.plc", levels=1, progress=False)
    assert less["total"]["payload_bytes"] == whole["total"]["payload_bytes"] / 3
    assert (codes_of(tmp_path / "1.plc", run) == codes_of(tmp_path / "3.plc", run)[:, :1]).all()
    decode(tmp_path / "1.plc", model=run, out=tmp_path / "y.wav", progress=False)
    with pytest.raises(DataError, match="levels"):
        encode(tmp_path / "x.wav", model=run, levels=4, progress=False)


def test_loud_output_is_clipped_only_in_the_file_and_counted(run: Path, tmp_path: Path) -> None:
    coder = Coder.open(run)
    loud = coder.decode_audio(coder.encode_audio(voice(1.0, level=30.0)))
    assert np.abs(loud).max() > 1
    soundfile.write(tmp_path / "x.wav", voice(1.0, level=30.0), RATE, subtype="FLOAT")
    encode(tmp_path / "x.wav", model=run, progress=False)
    told = decode(tmp_path / "x.plc", model=run, out=tmp_path / "y.wav", progress=False)
    assert told["files"][0]["clipped"] > 0
    assert np.abs(soundfile.read(tmp_path / "y.wav")[0]).max() <= 1


def test_long_clips_go_through_in_chunks_to_the_same_codes(run: Path, monkeypatch) -> None:
    monkeypatch.setattr("pellucid.workflows.coder.CHUNK_SECONDS", 1)
    coder = Coder.open(run)
    coded = coder.encode_audio(voice(2.5003))
    monkeypatch.undo()
    whole = coder.encode_audio(voice(2.5003))
    assert (coded.codes == whole.codes).all()
    expected = coder.decode_audio(whole)
    monkeypatch.setattr("pellucid.workflows.coder.CHUNK_SECONDS", 1)
    np.testing.assert_allclose(coder.decode_audio(whole), expected, atol=1e-5)


def test_a_folder_keeps_its_structure_and_counts_what_fails(run: Path, tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    soundfile.write(tmp_path / "in" / "a.wav", voice(0.5), RATE)
    soundfile.write(tmp_path / "in" / "a.flac", voice(0.5, 1), RATE)
    soundfile.write(tmp_path / "in" / "deep" / "b.wav", voice(0.5, 2), RATE)
    (tmp_path / "in" / "broken.wav").write_bytes(b"no sound")
    result = encode(tmp_path / "in", model=run, out=tmp_path / "coded", progress=False)
    written = {
        p.relative_to(tmp_path / "coded").as_posix() for p in (tmp_path / "coded").rglob("*.plc")
    }
    assert written == {"a.wav.plc", "a.flac.plc", "deep/b.plc"}
    assert [failure["name"] for failure in result["failed"]] == ["broken.wav"]
    assert result["total"]["seconds"] == pytest.approx(1.5)
    cut = tmp_path / "coded" / "deep" / "b.plc"
    cut.write_bytes(cut.read_bytes()[:-3])
    result = decode(tmp_path / "coded", model=run, progress=False)
    assert len(result["files"]) == 2
    assert "checksum" in result["failed"][0]["reason"]
    assert Path(result["out"]) == tmp_path / "coded-decoded"


def test_another_models_file_is_refused(run: Path, clips: Path, tmp_path: Path) -> None:
    other = audio_run(tmp_path / "other", clips, seed=1)
    soundfile.write(tmp_path / "x.wav", voice(0.5), RATE)
    encode(tmp_path / "x.wav", model=other, progress=False)
    with pytest.raises(BitstreamError, match="another model"):
        decode(tmp_path / "x.plc", model=run, progress=False)
    assert not list(tmp_path.glob("*decoded*"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": (1, 400)}, "positions"),
        ({"shape": (2, 500)}, "channels"),
        ({"sample_rate": 16000}, "sample rate"),
        ({"codebook_size": 17}, "codes"),
        ({"kind": "image", "shape": (1, 50, 10), "codes": np.zeros((5, 1, 3), np.int64),
          "sample_rate": 0}, "kind"),
        ({"codes": np.zeros((50, 4), np.int64)}, "levels"),
    ],
)  # fmt: skip
def test_a_signed_stream_that_does_not_fit_is_refused(
    run: Path, change: dict, message: str
) -> None:
    import dataclasses

    coder = Coder.open(run)
    good = coder.encode_audio(voice(0.0625))
    data = coder.pack(dataclasses.replace(good, **change))
    with pytest.raises(BitstreamError, match=message):
        coder.decode_audio(coder.unpack(data))


def test_tables_never_make_a_file_longer_and_codes_stay(
    run: Path, tabled: Path, clips: Path
) -> None:
    saved = 0
    for seed, clip in enumerate([*sorted(clips.glob("*.wav")), None]):
        x = np.random.default_rng(0).normal(size=500) if clip is None else soundfile.read(clip)[0]
        plain, tight = (Coder.open(model) for model in (run, tabled))
        stream_ = tight.encode_audio(x.astype(np.float32), levels=1 + seed % 3)
        short, packed = tight.pack(stream_), tight.pack(stream_, entropy=False)
        assert len(short) <= len(packed)
        saved += len(packed) - len(short)
        assert (tight.unpack(short).codes == stream_.codes).all()
        assert (plain.unpack(packed).codes == stream_.codes).all()
    assert saved > 0


def test_tables_save_on_held_out_clips_what_their_cost_says(tabled: Path) -> None:
    opened, coder = Run.open(tabled), Coder.open(tabled)
    held_out = opened.data().test
    sequences = []
    for number in range(len(held_out.clips)):
        sequences.append(coder.encode_audio(held_out.whole(number)[1][0].numpy()).codes)
    tables = read_tables(opened)
    assert tables is not None
    promised = saving(tables, sequences)
    assert promised > 0.05  # tones use few codes
    packed = sum(-(-codes.size * 4 // 8) for codes in sequences)
    coded = sum(
        len(coder.pack(coder.encode_audio(held_out.whole(n)[1][0].numpy())))
        for n in range(len(sequences))
    )
    assert coded <= packed * (1 - promised) + 50 * len(sequences)


def test_other_tables_refuse_what_they_would_misread(
    tabled: Path, run: Path, tmp_path: Path
) -> None:
    import shutil

    refitted = tmp_path / "refitted"
    shutil.copytree(tabled, refitted)
    fit_code_tables(refitted, minutes=0.01, progress=False)
    coder = Coder.open(tabled)
    data = coder.pack(coder.encode_audio(voice(2.0)))
    with pytest.raises(BitstreamError, match="another model"):
        Coder.open(refitted).unpack(data)
    with pytest.raises(BitstreamError, match="tables"):
        Coder.open(run).unpack(data)


@pytest.mark.parametrize("size", [(16, 16), (17, 31), (1, 1), (5, 40)])
def test_pictures_come_back_at_their_size(picture_run: Path, tmp_path: Path, size) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    told = encode(tmp_path / "x.png", model=picture_run, progress=False)["files"][0]
    assert told["bits_per_pixel"] == pytest.approx(8 * told["bytes"] / (size[0] * size[1]))
    decode(tmp_path / "x.plc", model=picture_run, out=tmp_path / "y.png", progress=False)
    decoded = np.asarray(Image.open(tmp_path / "y.png"))
    opened = Run.open(picture_run)
    x = opened.value_range.from_uint8(torch.from_numpy(pixels).permute(2, 0, 1)[None])
    expected = opened.value_range.to_uint8(reconstruct(opened.load(), x))[0].permute(1, 2, 0)
    assert np.abs(decoded.astype(int) - expected.numpy().astype(int)).max() <= 1
    assert decoded.shape == (*size, 3)


def test_what_cannot_be_coded_is_said(
    run: Path, picture_run: Path, clips: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="no such file"):
        encode(tmp_path / "none.wav", model=run, progress=False)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="nothing in this folder"):
        decode(tmp_path / "empty", model=run, progress=False)
    (tmp_path / "x.wav").write_bytes(b"")
    with pytest.raises(DataError, match="cannot be read"):
        encode(tmp_path / "x.wav", model=run, progress=False)
    soundfile.write(tmp_path / "x.wav", voice(0.1), RATE)
    with pytest.raises(DataError, match="over itself"):
        encode(tmp_path / "x.wav", model=run, out=tmp_path / "x.wav", progress=False)
    encode(tmp_path / "x.wav", model=run, progress=False)
    with pytest.raises(DataError, match="format"):
        decode(tmp_path / "x.plc", model=run, out=tmp_path / "x.mp3", progress=False)
    with pytest.raises(BitstreamError, match="another model"):
        decode(tmp_path / "x.plc", model=picture_run, progress=False)
    gaussian = audio_run(tmp_path / "gaussian", clips)
    recipe = (gaussian / "recipe.yaml").read_text()
    broken = recipe.replace("kind: rvq", "kind: gaussian").replace("  levels: 3\n", "")
    (gaussian / "recipe.yaml").write_text(broken.replace("  codes: 16\n", "  dim: 8\n"))
    save_weights(build_autoencoder(Run.open(gaussian).recipe), gaussian / "model.safetensors")
    with pytest.raises(RunError, match="no codes"):
        Coder.open(gaussian)
    assert fit_code_tables(gaussian, progress=False) is None


def test_the_shipped_model_is_used_where_there_is_one(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped_model, "shipped_folder", lambda: tmp_path / "none")
    soundfile.write(tmp_path / "x.wav", voice(0.1), RATE)
    with pytest.raises(RunError, match="--model RUN"):
        encode(tmp_path / "x.wav", progress=False)
    monkeypatch.setattr(shipped_model, "shipped_folder", lambda: run)
    assert encode(tmp_path / "x.wav", progress=False)["model"] == str(run)


def pcm(seconds: float) -> bytes:
    return (voice(seconds) * 32768).astype("<i2").tobytes()


class Torn(io.RawIOBase):
    """Deliver bytes in pieces of odd sizes."""

    def __init__(self, data: bytes) -> None:
        self.data, self.rng = data, np.random.default_rng(0)

    def read(self, size: int = -1) -> bytes:
        count = min(size, int(self.rng.integers(1, 700)))
        piece, self.data = self.data[:count], self.data[count:]
        return piece


@pytest.mark.parametrize("samples", [0, 7, 4000, 4003])
def test_a_torn_pipe_gives_the_codes_and_samples_of_the_whole(run: Path, samples: int) -> None:
    coder = Coder.open(run)
    data = pcm(0.6)[: 2 * samples]
    coded, heard, direct = io.BytesIO(), io.BytesIO(), io.BytesIO()
    stream(Torn(data), coded, direction="encode", model=coder, gain_db=6.0)
    reader = FrameReader()
    codes = [item.codes_FL for item in reader.push(coded.getvalue())]
    reader.finish()
    if samples:
        scale = np.float32(10 ** (6 / 20) / 32768)
        x = torch.from_numpy(np.frombuffer(data, "<i2").astype(np.float32) * scale)[None]
        whole = encode_waveform(coder.autoencoder, x).numpy()
        assert (np.concatenate(codes) == whole).all()
    told = stream(Torn(coded.getvalue()), heard, direction="decode", model=coder)
    stream(Torn(data), direct, model=coder, gain_db=6.0)
    assert len(heard.getvalue()) == len(direct.getvalue()) == 2 * samples == 2 * told.samples
    a, b = (np.frombuffer(sink.getvalue(), "<i2").astype(int) for sink in (heard, direct))
    assert np.abs(a - b).max(initial=0) <= 1


def test_a_cut_or_foreign_pipe_is_refused(run: Path, clips: Path, tmp_path: Path) -> None:
    coder = Coder.open(run)
    coded = io.BytesIO()
    stream(io.BytesIO(pcm(0.3)), coded, direction="encode", model=coder, levels=2)
    data = coded.getvalue()
    for cut in (0, 5, 30, len(data) - 1):
        with pytest.raises(BitstreamError, match="cut"):
            stream(io.BytesIO(data[:cut]), io.BytesIO(), direction="decode", model=coder)
    other = audio_run(tmp_path / "other", clips, seed=1)
    with pytest.raises(BitstreamError, match="another model"):
        stream(io.BytesIO(data), io.BytesIO(), direction="decode", model=other)
    with pytest.raises(DataError, match="half a sample"):
        stream(io.BytesIO(pcm(0.3)[:-1]), io.BytesIO(), direction="encode", model=coder)


def test_every_flipped_bit_of_framed_codes_is_refused() -> None:
    header = FrameHeader(bytes(8), 8000, 2, 16, -3.5)
    codes = np.random.default_rng(0).integers(0, 16, (9, 2))
    data = header.to_bytes() + packet(codes[:8], header) + end(codes[8:], 3, header)
    reader = FrameReader()
    arrived = [item for byte in data for item in reader.push(bytes([byte]))]
    assert reader.header == header
    assert (np.concatenate([item.codes_FL for item in arrived]) == codes).all()
    assert [item.samples for item in arrived] == [None, 3]
    for bit in range(8 * len(data)):
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        reader = FrameReader()
        with pytest.raises(BitstreamError):  # noqa: PT012 - either call may notice
            reader.push(bytes(broken))
            reader.finish()


def test_only_causal_models_stream(clips: Path, tmp_path: Path) -> None:
    run = audio_run(tmp_path / "both-ways", clips)
    recipe = (run / "recipe.yaml").read_text().replace("causal: true", "causal: false")
    (run / "recipe.yaml").write_text(recipe)
    coder = Coder.open(run)
    with pytest.raises(PellucidError, match="chunk by chunk"):
        stream(io.BytesIO(pcm(0.1)), io.BytesIO(), model=coder)
    x = voice(0.3)
    assert len(coder.decode_audio(coder.encode_audio(x))) == len(x)


def test_training_leaves_tables(clips: Path, tmp_path: Path) -> None:
    from pellucid.workflows.train import train

    recipe = Run.open(audio_run(tmp_path / "untrained", clips)).recipe
    overrides = ["training.steps=2", "training.batch_size=4", "training.monitor=snr"]
    trained = train(
        recipe, overrides=overrides, out=tmp_path / "run", evaluate=False, progress=False
    )
    tables = read_tables(trained)
    assert tables is not None
    assert (tables.levels, tables.codes) == (3, 16)
