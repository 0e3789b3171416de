"""Speech quality as people would rate it, by the field's own packages: PESQ, STOI, ViSQOL, DNSMOS.

Each takes (T,) float64 of full scale ±1 at 16 kHz and returns one number.

Shape letters: T samples.
"""

from __future__ import annotations

import importlib.util
import logging
import warnings
from typing import Any

import numpy as np

from pellucid.errors import DataError, require
from pellucid.metrics.waveform_errors import Unmeasurable

RATE = 16000
"""Hertz that the models behind these measures were made for."""

_DNSMOS_SAMPLES = 144_160  # 9.01 s, what the network takes
_DNSMOS_HOP = RATE
# raw overall score → mean opinion; Reddy et al. 2022, the authors' dnsmos_local.py
_DNSMOS_OVERALL = (-0.06766283, 1.11546468, 0.04602535)


def at_speech_rate(x_T: np.ndarray, sample_rate: int) -> np.ndarray:
    """Return the samples at 16 kHz."""
    if sample_rate == RATE:
        return x_T
    soxr = require("soxr", extra="audio", purpose="changing the sample rate")
    return soxr.resample(x_T, sample_rate, RATE, quality="HQ")


def pesq_wb(x_hat_T: np.ndarray, x_T: np.ndarray) -> float:
    """Return PESQ wideband, 1.04 … 4.64 (ITU-T P.862.2).

    Raises:
        Unmeasurable: when the measure finds no utterance.
        MissingExtraError: without the package.
    """
    pesq = require("pesq", extra="audio", purpose="PESQ")
    if not x_T.any() and not x_hat_T.any():
        raise Unmeasurable("silent")
    try:
        return float(pesq.pesq(RATE, x_T.astype(np.float32), x_hat_T.astype(np.float32), "wb"))
    except (pesq.PesqError, ZeroDivisionError, ValueError) as error:
        raise Unmeasurable(_reason(error)) from error


def stoi(x_hat_T: np.ndarray, x_T: np.ndarray) -> float:
    """Return short-time objective intelligibility, at most 1 (Taal et al. 2011).

    Raises:
        Unmeasurable: when less than 30 frames (0.4 s) of speech are left after silence is removed.
        MissingExtraError: without the package.
    """
    pystoi = require("pystoi", extra="audio", purpose="STOI")
    with warnings.catch_warnings():
        # pystoi answers 1e-5 and warns where it has nothing to measure
        warnings.filterwarnings("error", message="Not enough STFT", category=RuntimeWarning)
        try:
            return float(pystoi.stoi(x_T, x_hat_T, RATE, extended=False))
        except (RuntimeWarning, ValueError, IndexError) as error:
            raise Unmeasurable(_reason(error)) from error


class Visqol:
    """ViSQOL in speech mode, 1 … 5 (Chinen et al. 2020); slow: seconds for a second of audio.

    Raises:
        MissingExtraError: without the package.
    """

    def __init__(self) -> None:
        visqol = require("visqol", extra="audio", purpose="ViSQOL")
        self._api: Any = visqol.VisqolApi()
        logger = logging.getLogger("visqol")
        level = logger.level
        logger.setLevel(logging.ERROR)  # which mapping is used is said by `mapping`
        try:
            self._api.create(mode="speech", use_lattice_model=None)
        finally:
            logger.setLevel(level)

    @property
    def mapping(self) -> str:
        """How similarity becomes an opinion: the lattice, or the polynomial that is kinder."""
        if importlib.util.find_spec("ai_edge_litert") is None:
            return "polynomial mapping, 1 to 2 above the lattice's"
        return "lattice mapping"

    def __call__(self, x_hat_T: np.ndarray, x_T: np.ndarray) -> float:
        """Return the opinion of one clip.

        Raises:
            Unmeasurable: when it finds no patch of speech to compare.
        """
        try:
            return float(self._api.measure_from_arrays(x_T, x_hat_T, RATE).moslqo)
        except (ValueError, RuntimeError, IndexError) as error:
            raise Unmeasurable(_reason(error)) from error


class DNSMOS:
    """DNSMOS P.835, the overall opinion of the reconstruction alone, 1 … 5 (Reddy et al. 2022).

    The network hears 9.01 s; longer clips are averaged over starts a second apart, shorter ones
    repeated.

    Args:
        path: the ONNX file `sig_bak_ovr.onnx`.

    Raises:
        DataError: when it is no such network.
        MissingExtraError: without onnxruntime.
    """

    def __init__(self, path: str) -> None:
        onnxruntime: Any = require("onnxruntime", extra="audio", purpose="DNSMOS")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self._session: Any = onnxruntime.InferenceSession(path, options)
            self._input = self._session.get_inputs()[0].name
            scores = self._scores(np.zeros(_DNSMOS_SAMPLES))
        except Exception as error:
            # onnxruntime raises a class of its own for each way a file can be wrong
            raise DataError(
                "this is no DNSMOS network",
                where=path,
                expected="sig_bak_ovr.onnx of the DNS challenge",
                found=_reason(error),
            ) from error
        if len(scores) != 3:
            raise DataError("this is no DNSMOS network", where=path, found=f"{len(scores)} scores")

    def __call__(self, x_hat_T: np.ndarray, x_T: np.ndarray) -> float:
        """Return the opinion of one clip; the original is not heard."""
        del x_T
        repeats = -(-_DNSMOS_SAMPLES // len(x_hat_T))
        heard = np.tile(x_hat_T, repeats)
        starts = range(0, len(heard) - _DNSMOS_SAMPLES + 1, _DNSMOS_HOP)
        raw = [self._scores(heard[start : start + _DNSMOS_SAMPLES])[2] for start in starts]
        return float(np.polyval(_DNSMOS_OVERALL, raw).mean())

    def _scores(self, x_T: np.ndarray) -> np.ndarray:
        return self._session.run(None, {self._input: x_T.astype(np.float32)[None]})[0][0]


def _reason(error: BaseException) -> str:
    """Return an error's first line; some packages raise bytes."""
    first = error.args[0] if error.args else type(error).__name__
    text = first.decode(errors="replace") if isinstance(first, bytes) else str(first)
    return text.strip().splitlines()[0] if text.strip() else type(error).__name__
