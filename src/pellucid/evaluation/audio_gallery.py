"""Clips to listen to: originals, reconstructions and codecs, from the best clip to the worst."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from pellucid.atomic_files import write_atomically
from pellucid.data.audio.dataset import WaveSplit
from pellucid.evaluation.audio_beside import CodecMeasurement
from pellucid.evaluation.audio_record import AudioEvaluation
from pellucid.evaluation.gallery import spread_by_psnr
from pellucid.evaluation.waveform_codec import WaveformCodec
from pellucid.evaluation.waveform_pass import heard
from pellucid.references.audio_codecs import code_waveform, wav_bytes
from pellucid.run_folder import RunFolder

# What `save_listening` itself writes; anything else in the folder is not its to remove.
_OWN = re.compile(r"\d{2,}_[a-z0-9.-]+\.wav")
_RANKED_BY = ("pesq", "si_sdr")
_CAPTIONS = ("pesq", "stoi")


def save_listening(
    folder: RunFolder,
    codec: WaveformCodec,
    split: WaveSplit,
    evaluation: AudioEvaluation,
    beside: Sequence[CodecMeasurement],
    count: int,
    shown: Sequence[str] | None,
) -> None:
    """Write one WAV per clip and column, then reconstructions/index.json.

    Columns are the original, the reconstruction, and each codec at the rate nearest to the
    model's. Clips of an earlier evaluation are removed last.

    Args:
        folder: of the run.
        codec: the model.
        split: the clips.
        evaluation: of this model on this split.
        beside: the codecs on the same clips in the same order.
        count: how many clips.
        shown: digests of the clips to write if all are there, else a spread from best to worst.

    Raises:
        RunError: when a file cannot be written.
    """
    rows, how = _rows(evaluation.samples, count, shown)
    nearest = _nearest_rate(evaluation, beside)
    columns = ["original", "reconstruction", *(one.setting.name for one in nearest)]
    samples = []
    for place, row in enumerate(rows):
        x_T = heard(split.whole(evaluation.samples["index"][row])[1][0].numpy())
        waves = [x_T, codec(x_T).x_hat_T]
        waves += [code_waveform(x_T, codec.sample_rate, o.setting).x_hat_T for o in nearest]
        files = {column: f"{place:02d}_{column}.wav" for column in columns}
        for file, wave_T in zip(files.values(), waves, strict=True):
            data = wav_bytes(wave_T, codec.sample_rate)
            write_atomically(folder.reconstructions / file, data)
        samples.append({**_facts(evaluation.samples, row, nearest), "files": files})
    index = {
        "kind": "audio",
        "sample_rate": codec.sample_rate,
        "columns": columns,
        "selection": f"{len(rows)} of {len(evaluation.samples['index'])} clips, {how}",
        "samples": samples,
    }
    folder.write_json(folder.reconstructions / "index.json", index)
    kept = {file for sample in samples for file in sample["files"].values()}
    for path in folder.reconstructions.glob("*.wav"):
        if _OWN.fullmatch(path.name) and path.name not in kept:
            path.unlink()


def _rows(
    samples: dict[str, list[Any]], count: int, shown: Sequence[str] | None
) -> tuple[list[int], str]:
    places = {digest: row for row, digest in enumerate(samples["digest"])}
    if shown and all(digest in places for digest in shown):
        return [places[digest] for digest in shown], "the ones another run shows"
    for metric in _RANKED_BY:
        known = [row for row, value in enumerate(samples[metric]) if value is not None]
        if known:
            values = np.array([samples[metric][row] for row in known])
            ranked = [known[k] for k in spread_by_psnr(values, count)]
            words = {"pesq": "PESQ", "si_sdr": "SI-SDR"}[metric]
            return ranked, f"evenly spread by {words} from best to worst"
    return list(range(min(count, len(samples["index"])))), "the first"


def _nearest_rate(
    evaluation: AudioEvaluation, beside: Sequence[CodecMeasurement]
) -> list[CodecMeasurement]:
    """Return of each codec the setting whose files are nearest in size to the model's."""
    own = evaluation.metrics.get("file_kbps")

    def gap(one: CodecMeasurement) -> float:
        theirs = evaluation.references[one.setting.name].metrics["file_kbps"]
        return abs(theirs.value - own.value) if own else 0.0

    codecs = dict.fromkeys(one.setting.codec for one in beside)
    return [min((o for o in beside if o.setting.codec == codec), key=gap) for codec in codecs]


def _facts(
    samples: dict[str, list[Any]], row: int, beside: Sequence[CodecMeasurement]
) -> dict[str, Any]:
    """Return who a clip is and what each column reached on it."""
    node = {key: samples[key][row] for key in ("name", "digest", "seconds")}
    for metric in _CAPTIONS:
        codecs = {one.setting.name: one.paired.per_clip[metric][row] for one in beside}
        node[metric] = {"reconstruction": samples[metric][row], **codecs}
    return node
