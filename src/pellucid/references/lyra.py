"""Lyra v2, a trained codec of 16 kHz speech, from the TFLite files that its user has.

Three networks with a memory of their own turn every 20 ms into 64 features, up to 46 indices of
4 bits, and back; a rate is a number of indices. A stream is nothing but its frames.

Source: Zeghidour et al. 2021 (SoundStream); https://github.com/google/lyra, version 1.3.

Shape letters: T samples, F frames of 320 samples.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pellucid.errors import DataError, PellucidError, require

RATE = 16_000
HOP = 320
KBPS = (3.2, 6.0, 9.2)
_BITS_PER_INDEX = 4
_INDICES = 46
_FILES = ("soundstream_encoder.tflite", "quantizer.tflite", "lyragan.tflite")


class Lyra:
    """Encode and decode clips.

    Args:
        folder: with soundstream_encoder.tflite, quantizer.tflite and lyragan.tflite.

    Raises:
        DataError: when a file is missing or no such network.
        MissingExtraError: without an interpreter of TFLite.
    """

    def __init__(self, folder: str | Path) -> None:
        for name in _FILES:
            if not (Path(folder) / name).is_file():
                raise DataError(
                    "a network of Lyra v2 is missing", where=folder, expected=", ".join(_FILES),
                    found=f"no {name}",
                )  # fmt: skip
        self._models = [(Path(folder) / name).read_bytes() for name in _FILES]
        self._interpreter: Any = require(
            "ai_edge_litert.interpreter", extra="lyra", purpose="comparing with Lyra v2"
        )
        try:
            self._start()
        except (ValueError, RuntimeError, KeyError) as error:
            raise DataError(
                "these are no networks of Lyra v2", where=folder, found=str(error).splitlines()[0]
            ) from error

    def __call__(self, x_T: np.ndarray, kbps: float) -> tuple[np.ndarray, int]:
        """Return (T,) samples and the bits of their frames; every clip starts from silence.

        Args:
            x_T: (T,) float32 at 16 kHz, full scale ±1.
            kbps: one of `KBPS`.

        Raises:
            PellucidError: for another rate.
        """
        if kbps not in KBPS:
            raise PellucidError("Lyra v2 does not have this rate", expected=KBPS, found=kbps)
        count = round(1000 * kbps * HOP / RATE / _BITS_PER_INDEX)
        networks = self._start()
        frames_FH = np.pad(x_T.astype(np.float32), (0, -len(x_T) % HOP)).reshape(-1, HOP)
        heard = [_through(networks, frame, count) for frame in frames_FH]
        x_hat_T = np.concatenate(heard)[: len(x_T)] if heard else np.zeros(0, np.float32)
        return x_hat_T, len(frames_FH) * count * _BITS_PER_INDEX

    def _start(self) -> _Networks:
        """Return networks without a memory: resetting the variables of used ones leaves some."""
        encoder, quantizer, decoder = (
            self._interpreter.Interpreter(model_content=model, num_threads=1)
            for model in self._models
        )
        return _Networks(
            encoder.get_signature_runner("serving_default"),
            quantizer.get_signature_runner("encode"),
            quantizer.get_signature_runner("decode"),
            decoder.get_signature_runner("serving_default"),
        )


class _Networks(NamedTuple):
    encode: Any
    quantise: Any
    look_up: Any
    decode: Any


def _through(networks: _Networks, frame_H: np.ndarray, count: int) -> np.ndarray:
    """Send one frame with so many indices."""
    features = networks.encode(input_audio=frame_H[None])["output_0"]
    wanted = np.array(count, dtype=np.int32)
    found = networks.quantise(input_frames=features, num_quantizers=wanted)
    indices = next(value for value in found.values() if value.dtype == np.int32)
    sent = np.full((_INDICES, 1, 1), -1, np.int32)
    sent[:count] = indices.reshape(-1, 1, 1)[:count]
    quantised = networks.look_up(encoding_indices=sent)["output_0"]
    return networks.decode(input_audio=quantised)["output_0"][0]


@functools.lru_cache(maxsize=1)
def open_lyra(folder: str) -> Lyra:
    """Return the networks of a folder, read once."""
    return Lyra(folder)
