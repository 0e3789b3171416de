"""Evaluate a waveform model on whole held-out clips, beside speech codecs on the same ones.

Every method is given the same 16-bit samples and is heard as a 16-bit file would hold it.

Shape letters: T samples, N clips, F frames, L residual levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pellucid.bitstream import ContextTables
from pellucid.data.audio.dataset import WaveSplit
from pellucid.errors import PellucidError
from pellucid.evaluation.audio_beside import CodecMeasurement, differences, settings_of
from pellucid.evaluation.audio_gallery import save_listening
from pellucid.evaluation.audio_record import AudioEvaluation
from pellucid.evaluation.protocol import Progress, Steps, choose_held_out, publish
from pellucid.evaluation.waveform_codec import WaveformCodec
from pellucid.evaluation.waveform_pass import OwnPass, sweep_clips
from pellucid.metrics.waveforms import waveform_measures
from pellucid.models.autoencoder import Autoencoder
from pellucid.records import MetricValue
from pellucid.references.audio_codecs import CodecSetting, SpeechCodec, missing_programs
from pellucid.run_folder import RunFolder

_LADDER = (
    "The ladder of linear references is left out: on waveforms a mean is silence and PCA a filter; "
    "codecs at measured bits are the references here."
)


def evaluate_audio(
    autoencoder: Autoencoder,
    held_out: WaveSplit,
    *,
    sample_rate: int,
    tables: ContextTables | None = None,
    max_clips: int = 64,
    codecs: tuple[SpeechCodec, ...] = ("opus", "codec2"),
    opus_kbps: tuple[float, ...] = (6.0, 9.0, 12.0),
    lyra: str | None = None,
    levels: tuple[int, ...] | None = None,
    visqol: bool = False,
    dnsmos: str | None = None,
    compensate_delay: bool = False,
    save_reconstructions: int = 8,
    resamples: int = 1000,
    seed: int = 0,
    folder: RunFolder | None = None,
    weights: str = "as given",
    split: str = "test",
    shown: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> AudioEvaluation:
    """Measure a model on whole clips, its files' bits included, and codecs on the same ones.

    Args:
        autoencoder: of waveforms, on any device; left as it was found.
        held_out: clips of one split.
        sample_rate: in hertz.
        tables: for entropy-coded files; None packs the codes.
        max_clips: at most so many clips, evenly spaced over the split.
        codecs: to compare with; one whose programs are missing is left out and said so.
        opus_kbps: rates that Opus is asked for.
        lyra: folder of Lyra v2's TFLite networks, for "lyra" among the codecs.
        levels: further numbers of residual levels to measure; None takes thirds where quantiser
            dropout has trained them.
        visqol: also measure ViSQOL, which takes seconds for each second of audio.
        dnsmos: path of DNSMOS's `sig_bak_ovr.onnx`, to measure it too.
        compensate_delay: move x̂ by its measured delay before anything is measured.
        save_reconstructions: clips written as WAVs, spread evenly from best to worst.
        resamples: of the bootstrap over groups (speakers or files).
        seed: of the bootstrap.
        folder: where evaluation.json and reconstructions/ go; None writes nothing.
        weights: which weights these are, stated in the result.
        split: which split `held_out` is, stated in the result.
        shown: digests of the clips to write, e.g. those that another run shows.
        progress: called with (done, total) steps.

    Raises:
        DataError: for fewer than two clips.
        PellucidError: for levels or rates that do not exist, or an output that is not finite.
        MissingExtraError: when a measure's package is not installed.
    """
    chosen = choose_held_out(len(held_out.clips), max_clips, split, noun="clips")
    codec = WaveformCodec(autoencoder, sample_rate, tables)
    points = _levels(codec, levels)
    settings, left_out = _settings(codecs, opus_kbps, lyra)
    measures = waveform_measures(sample_rate, visqol=visqol, dnsmos=dnsmos)
    plain = waveform_measures(sample_rate)  # without the slow ones
    own = OwnPass(codec, measures, compensate_delay)
    fewer = {count: OwnPass(codec, plain, compensate_delay, count) for count in points}
    beside = [CodecMeasurement(setting, sample_rate, measures) for setting in settings]
    steps = Steps(progress, len(chosen) * (1 + len(points) + len(settings)))

    clips = sweep_clips(held_out, chosen, [own, *fewer.values(), *beside], steps)
    steps.finish()

    draws = {"resamples": resamples, "seed": seed}
    seconds = [count / sample_rate for count in clips.lengths]
    metrics = own.metrics(seconds, **draws)
    longest = held_out.whole(chosen[int(np.argmax(clips.lengths))])[1][0].numpy()
    result = AudioEvaluation(
        split=split,
        weights=weights,
        sample_rate=sample_rate,
        seconds=float(sum(seconds)),
        metrics={**metrics, **_cost(codec, longest)},
        references={o.setting.name: o.reference(seconds, **draws) for o in beside},
        differences={o.setting.name: differences(own.paired, o.paired, **draws) for o in beside},
        rate_quality=[
            *(_point(n, one.metrics(seconds, **draws)) for n, one in sorted(fewer.items())),
            *([_point(codec.levels, metrics)] if own.bits else []),
        ],
        codes={"levels": own.usage.per_level()} if own.usage else {},
        failures=own.paired.failures,
        left_out=left_out,
        remarks=(_LADDER,),
        samples=clips.columns(own.paired, seconds),
    )

    def show(folder: RunFolder) -> None:
        save_listening(folder, codec, held_out, result, beside, save_reconstructions, shown)

    publish(folder, result, show if save_reconstructions > 0 else None)
    return result


def _settings(
    codecs: Sequence[SpeechCodec], opus_kbps: Sequence[float], lyra: str | None
) -> tuple[list[CodecSetting], dict[str, str]]:
    """Return the codecs to compare with at their rates, and why others are left out."""
    left_out: dict[str, str] = {str(name): why for name, why in missing_programs(codecs).items()}
    if "lyra" in codecs and lyra is None:
        left_out["lyra"] = "the folder of its TFLite networks was not given: evaluation.lyra"
    present: list[SpeechCodec] = [name for name in codecs if str(name) not in left_out]
    return settings_of(present, opus_kbps, lyra), left_out


def _levels(codec: WaveformCodec, asked: tuple[int, ...] | None) -> list[int]:
    """Return the further numbers of levels to measure, all of them excluded."""
    bottleneck = codec.autoencoder.bottleneck
    if asked is None:
        trained = getattr(bottleneck, "dropout", 0) > 0
        thirds = {round(codec.levels / 3), round(2 * codec.levels / 3)} if trained else set()
        return sorted(thirds - {0, codec.levels})
    wrong = [count for count in asked if not 1 <= count <= codec.levels]
    if wrong:
        raise PellucidError(
            "the model does not have so many levels",
            where="evaluation.levels",
            expected=f"1 … {codec.levels}",
            found=wrong[0],
        )
    return sorted(set(asked) - {codec.levels})


def _point(levels: int, metrics: dict[str, MetricValue]) -> dict[str, Any]:
    kept = ("file_kbps", "payload_kbps", "pesq", "stoi", "visqol", "dnsmos", "si_sdr", "log_mel")
    values = {name: metrics[name].to_json() for name in kept if name in metrics}
    return {"levels": levels, **values}


def _cost(codec: WaveformCodec, x_T: np.ndarray) -> dict[str, MetricValue]:
    """Return speed and algorithmic latency."""
    device = next(codec.autoencoder.parameters()).device.type
    where = "one CPU thread" if device == "cpu" else device
    seconds = len(x_T) / codec.sample_rate
    found = {
        "speed": MetricValue(
            codec.times_real_time(x_T),
            "× real time",
            None,
            None,
            1,
            f"encode + decode of one clip of {seconds:.1f} s, {where}, fastest of 3",
        )
    }
    ahead, stride = codec.look_ahead(), codec.autoencoder.stride
    if ahead is not None:
        found["latency"] = MetricValue(
            1000 * (stride + ahead) / codec.sample_rate,
            "ms",
            None,
            None,
            1,
            f"algorithmic: a frame of {stride} samples and {ahead} samples of look-ahead",
        )
    return found
