"""Opus, Codec2, Speex and Lyra on the same clips, with the bits of their files and their payload.

The programs are the distributions' own; the commands are those a user would type. Lyra v2 runs from
the TFLite files of whoever has them (`lyra.py`). A codec that
delays its output by a stated constant is advanced by it, as its user would cut it: Codec2 at 3200
bits per second by one frame of 20 ms, without which its STOI on speech falls from 0.86 to 0.63.
What speexdec adds at the start depends on the clip's length, so there the lag is measured.

Shape letters: T samples.
"""

from __future__ import annotations

import dataclasses
import io
import shutil
import subprocess
import tempfile
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from pellucid.data.audio.reading import resample
from pellucid.errors import MissingExtraError, PellucidError
from pellucid.metrics.waveform_errors import Unmeasurable, advanced, delay
from pellucid.references.lyra import RATE as LYRA_RATE
from pellucid.references.lyra import open_lyra

SpeechCodec = Literal["opus", "codec2", "speex", "lyra"]

# codec → (programs, Debian package)
PROGRAMS: dict[SpeechCodec, tuple[tuple[str, str], str]] = {
    "opus": (("opusenc", "opusdec"), "opus-tools"),
    "codec2": (("c2enc", "c2dec"), "codec2"),
    "speex": (("speexenc", "speexdec"), "speex"),
}
CODEC2_RATE = 8000
CODEC2_DELAY_SECONDS = 0.020
_OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
_SPEEX_RATES = {8000: "--narrowband", 16000: "--wideband", 32000: "--ultra-wideband"}
_OGG_HEADER_PACKETS = 2
_SECONDS_ALLOWED = 600


@dataclasses.dataclass(frozen=True)
class CodedWaveform:
    """What a codec made of one clip.

    Args:
        x_hat_T: (T,) float32, as long as the clip.
        file_bits: of the file, headers included.
        payload_bits: of the coded frames alone.
    """

    x_hat_T: np.ndarray
    file_bits: int
    payload_bits: int


@dataclasses.dataclass(frozen=True)
class CodecSetting:
    """A codec at one of its settings.

    Args:
        codec: which.
        setting: Opus, Lyra: kb/s asked for; Codec2: bits per second; Speex: quality 0 … 10.
        weights: Lyra: the folder of its TFLite files.
    """

    codec: SpeechCodec
    setting: float
    weights: str = ""

    @property
    def name(self) -> str:
        """Its key in evaluation.json, e.g. "opus-6"."""
        return f"{self.codec}-{self.setting:g}"

    @property
    def note(self) -> str:
        """The command in words."""
        s = f"{self.setting:g}"
        return {
            "opus": f"opusenc --bitrate {s} --speech --framesize 60 --padding 0, variable rate",
            "codec2": f"c2enc {s}, 8 kHz: what lies above 4 kHz is lost; output advanced by 20 ms",
            "speex": f"speexenc --quality {s} --nframes 3; output moved by its measured lag",
            "lyra": f"Lyra v2 at {s} kb/s by its TFLite networks; frames alone, no container",
        }[self.codec]


def missing_programs(codecs: Sequence[SpeechCodec]) -> dict[SpeechCodec, str]:
    """Return codec → what is missing, in words, for those whose programs are not installed."""
    missing: dict[SpeechCodec, str] = {}
    for codec in codecs:
        if codec not in PROGRAMS:
            continue
        programs, package = PROGRAMS[codec]
        absent = [program for program in programs if shutil.which(program) is None]
        if absent:
            missing[codec] = f"{' and '.join(absent)} not found: install the package {package}"
    return missing


def require_programs(codecs: Sequence[SpeechCodec]) -> None:
    """Refuse codecs whose programs are not installed.

    Raises:
        MissingExtraError: names the first and its Debian package.
    """
    for codec, why in missing_programs(codecs).items():
        package = PROGRAMS[codec][1]
        raise MissingExtraError(
            f"a comparison with {codec} needs its programs",
            found=why,
            hint=f"apt install {package} (Debian, Ubuntu); brew install {package} (macOS)",
        )


def code_waveform(x_T: np.ndarray, sample_rate: int, setting: CodecSetting) -> CodedWaveform:
    """Encode a clip and decode it again.

    Args:
        x_T: (T,) of full scale ±1; written as 16-bit samples.
        sample_rate: in hertz.
        setting: codec and rate.

    Raises:
        MissingExtraError: when the codec is not installed.
        PellucidError: when a program fails.
    """
    if setting.codec == "lyra":
        return _lyra(x_T, sample_rate, setting)
    require_programs([setting.codec])
    coders = {"opus": _opus, "codec2": _codec2, "speex": _speex}
    with tempfile.TemporaryDirectory(prefix="pellucid-") as folder:
        return coders[setting.codec](x_T, sample_rate, setting.setting, Path(folder))


def _opus(x_T: np.ndarray, sample_rate: int, kbps: float, folder: Path) -> CodedWaveform:
    given, coded, back = folder / "x.wav", folder / "x.opus", folder / "y.wav"
    _check_rate("opus", sample_rate, _OPUS_RATES)
    given.write_bytes(wav_bytes(x_T, sample_rate))
    asked = ["--bitrate", f"{kbps:g}", "--speech", "--framesize", "60", "--padding", "0"]
    _call(["opusenc", "--quiet", *asked, str(given), str(coded)])
    _call(["opusdec", "--quiet", "--rate", str(sample_rate), "--no-dither", str(coded), str(back)])
    return _ogg_result(coded, read_wav(back), len(x_T))


def _speex(x_T: np.ndarray, sample_rate: int, quality: float, folder: Path) -> CodedWaveform:
    given, coded, back = folder / "x.wav", folder / "x.spx", folder / "y.wav"
    _check_rate("speex", sample_rate, tuple(_SPEEX_RATES))
    given.write_bytes(wav_bytes(x_T, sample_rate))
    asked = [_SPEEX_RATES[sample_rate], "--quality", f"{quality:g}", "--nframes", "3"]
    _call(["speexenc", *asked, str(given), str(coded)])
    _call(["speexdec", str(coded), str(back)])
    result = _ogg_result(coded, read_wav(back), len(x_T))
    try:
        late = delay(result.x_hat_T, x_T, sample_rate)
    except Unmeasurable:  # silence has no lag, and loses nothing by one
        return result
    return dataclasses.replace(result, x_hat_T=advanced(result.x_hat_T, late))


def _codec2(x_T: np.ndarray, sample_rate: int, rate: float, folder: Path) -> CodedWaveform:
    given, coded, back = folder / "x.raw", folder / "x.bit", folder / "y.raw"
    narrow_T = resample(x_T.astype(np.float32), sample_rate, CODEC2_RATE)
    given.write_bytes(to_int16(narrow_T).tobytes())
    _call(["c2enc", f"{rate:g}", str(given), str(coded)])
    _call(["c2dec", f"{rate:g}", str(coded), str(back)])
    decoded = np.frombuffer(back.read_bytes(), "<i2").astype(np.float32) / 32768
    wide = resample(decoded, CODEC2_RATE, sample_rate)
    late = round(CODEC2_DELAY_SECONDS * sample_rate)
    bits = 8 * coded.stat().st_size  # a .bit file holds frames and nothing else
    return CodedWaveform(_as_long_as(wide[late:], len(x_T)), bits, bits)


def _lyra(x_T: np.ndarray, sample_rate: int, setting: CodecSetting) -> CodedWaveform:
    _check_rate("lyra", sample_rate, (LYRA_RATE,))
    x_hat_T, bits = open_lyra(setting.weights)(x_T, setting.setting)
    return CodedWaveform(x_hat_T.astype(np.float32), bits, bits)


def _ogg_result(coded: Path, x_hat_T: np.ndarray, length: int) -> CodedWaveform:
    data = coded.read_bytes()
    payload = 8 * sum(ogg_packet_sizes(data)[_OGG_HEADER_PACKETS:])
    return CodedWaveform(_as_long_as(x_hat_T, length), 8 * len(data), payload)


def ogg_packet_sizes(data: bytes) -> list[int]:
    """Return the bytes of every packet of an Ogg file with one stream (RFC 3533, section 6).

    Raises:
        PellucidError: when the file is not Ogg.
    """
    sizes, open_packet, at = [], 0, 0
    while at < len(data):
        if data[at : at + 4] != b"OggS" or at + 27 > len(data):
            raise PellucidError("this is no Ogg page", where=f"byte {at}")
        table = data[at + 27 : at + 27 + data[at + 26]]
        for lace in table:
            open_packet += lace
            if lace < 255:  # a lace of 255 goes on in the next
                sizes.append(open_packet)
                open_packet = 0
        at += 27 + len(table) + sum(table)
    return sizes


def to_int16(x_T: np.ndarray) -> np.ndarray:
    """Return 16-bit samples; what lies beyond full scale is clipped."""
    return np.clip(np.round(np.asarray(x_T, np.float64) * 32768), -32768, 32767).astype("<i2")


def wav_bytes(x_T: np.ndarray, sample_rate: int) -> bytes:
    """Return (T,) samples as a 16-bit mono WAV file."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(to_int16(x_T).tobytes())
    return buffer.getvalue()


def read_wav(path: Path) -> np.ndarray:
    """Return (T,) float32 of a 16-bit mono WAV."""
    with wave.open(str(path), "rb") as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768


def _as_long_as(x_T: np.ndarray, length: int) -> np.ndarray:
    return np.pad(x_T, (0, max(0, length - len(x_T))))[:length].astype(np.float32)


def _check_rate(codec: str, sample_rate: int, accepted: tuple[int, ...]) -> None:
    if sample_rate not in accepted:
        raise PellucidError(
            f"{codec} does not take this sample rate", expected=accepted, found=sample_rate
        )


def _call(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, timeout=_SECONDS_ALLOWED, check=False)
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()
        raise PellucidError(
            f"{command[0]} failed", where=" ".join(command), found=last[-1] if last else "no word"
        )
