"""What a live codec costs in chunks of one frame, with the model that comes with the package.

Two ways through the same weights take turns, chunk by chunk: `pellucid stream`'s (rows and prepared
codebooks), and the networks' own layers with their state, which it used before. Processor time of
one thread; the ratio to real time is a chunk's duration by the median of its cost.

    taskset -c 1 env OMP_NUM_THREADS=1 python benchmarks/codec_streaming.py [--seconds 20] [--write]
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from pellucid.models.autoencoder import Autoencoder
from pellucid.models.waveform import (
    WaveDecoderStream,
    WaveEncoderStream,
    decode_waveform,
    encode_waveform,
)
from pellucid.workflows.coder import Coder
from pellucid.workflows.stream import stream
from results import write_section

ASKED = 8.0
FRAMES = (1, 4)
WARM_UP = 5
Way = tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]


def rows(model: Autoencoder) -> Way:
    """Return encode and decode of one chunk, as `pellucid stream` does them."""
    return WaveEncoderStream(model).push, WaveDecoderStream(model).push


def layers(model: Autoencoder) -> Way:
    """Return encode and decode of one chunk by the networks' own layers."""
    states: dict[str, list | None] = {"encoder": None, "decoder": None}
    encoder, bottleneck, decoder = model.encoder, model.bottleneck, model.decoder

    @torch.no_grad()
    def encode(x_CT: Tensor) -> Tensor:
        h, states["encoder"] = encoder.stream(x_CT[None], states["encoder"])  # type: ignore[operator]
        return bottleneck.encode_codes(h)[0]  # type: ignore[operator]

    @torch.no_grad()
    def decode(codes_FL: Tensor) -> Tensor:
        z = bottleneck.decode_codes(codes_FL[None])
        x, states["decoder"] = decoder.stream(z, states["decoder"])  # type: ignore[operator]
        return x[0]

    return encode, decode


def spent(work: Callable[[Tensor], Tensor], argument: Tensor) -> tuple[float, Tensor]:
    """Return processor milliseconds of a call, and its result."""
    start = time.process_time()
    result = work(argument)
    return 1000 * (time.process_time() - start), result


def costs(ways: dict[str, Way], chunks: list[Tensor]) -> dict[str, list[tuple[float, float]]]:
    """Return milliseconds to encode and to decode every chunk, each way in turn."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for chunk in chunks:
        for name, (encode, decode) in ways.items():
            encoding, codes = spent(encode, chunk)
            decoding, _ = spent(decode, codes)
            found[name].append((encoding, decoding))
    return {name: pairs[WARM_UP:] for name, pairs in found.items()}


def agreement(model: Autoencoder, x_CT: Tensor) -> tuple[int, int, float]:
    """Return frames, frames with other codes than the whole gives, and the largest sample's gap."""
    whole = encode_waveform(model, x_CT)
    encode, decode = rows(model)
    codes = torch.cat([encode(chunk) for chunk in x_CT.split(model.stride, -1)])
    x_hat = torch.cat([decode(frame) for frame in whole.split(1)], -1)
    gap = (x_hat - decode_waveform(model, whole, x_CT.shape[-1])).abs().max()
    return len(whole), int((codes != whole).any(1).sum()), float(gap)


def whole_command(coder: Coder, x_CT: Tensor, seconds: float) -> float:
    """Return how many times real time `pellucid stream` goes from PCM to PCM, pipes and all."""
    pcm = (x_CT[0].numpy() * 32767).astype("<i2").tobytes()
    source, sink = io.BytesIO(pcm), io.BytesIO()
    start = time.process_time()
    stream(source, sink, model=coder, chunk_seconds=seconds)
    return x_CT.shape[-1] / coder.sample_rate / (time.process_time() - start)


def table(found: dict[int, dict[str, list[tuple[float, float]]]], frame_ms: float) -> list[str]:
    """Return the lines of the table."""
    lines = [
        "| chunks | way | encode, ms | decode, ms | both, 95 % of chunks | real time | faster |",
        "|---:|---|---:|---:|---:|---:|---|",
    ]
    for frames, sides in found.items():
        both = {name: [e + d for e, d in pairs] for name, pairs in sides.items()}
        gains = sorted(b / a for a, b in zip(both["rows"], both["layers"], strict=True))
        for name, pairs in sides.items():
            encode, decode = (statistics.median(column) for column in zip(*pairs, strict=True))
            late = float(np.quantile(both[name], 0.95))
            times = frames * frame_ms / statistics.median(both[name])
            faster = f"**{statistics.median(gains):.1f}×**" if name == "rows" else ""
            lines.append(
                f"| {frames * frame_ms:g} ms | {name} | {encode:.2f} | {decode:.2f} "
                f"| {late:.2f} ms | {times:.1f}× | {faster} |"
            )
    return lines


def main() -> None:
    """Measure and print the section."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="of sound, per chunk size")
    parser.add_argument("--write", action="store_true", help="into benchmarks/RESULTS.md")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    coder = Coder.open(None)
    model, rate = coder.autoencoder, coder.sample_rate
    length = int(arguments.seconds * rate) // (4 * model.stride) * 4 * model.stride
    x_CT = 0.1 * torch.randn(1, length, generator=torch.Generator().manual_seed(0))
    found = {
        frames: costs(
            {"rows": rows(model), "layers": layers(model)},
            list(x_CT.split(frames * model.stride, -1)),
        )
        for frames in FRAMES
    }
    frames, others, gap = agreement(model, x_CT)
    frame_ms = 1000 * model.stride / rate
    lines = [
        "## A live codec on one core",
        "",
        f"`python benchmarks/codec_streaming.py --write`: the shipped speech codec, "
        f"{arguments.seconds:g} s of noise in chunks, one thread, torch {torch.__version__}, "
        f"load average {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores; processor time, medians "
        "over chunks, the two ways in turn on every chunk; *faster* is the median of the chunks' "
        "ratios. *rows* is `pellucid stream`, *layers* the networks' own layers with their state.",
        "",
        *table(found, frame_ms),
        "",
        f"`pellucid stream` from PCM to PCM in {frame_ms:g} ms chunks, pipes and packets included: "
        f"**{whole_command(coder, x_CT, frame_ms / 1000):.1f}×** real time (asked ≥ {ASKED:g}×). "
        f"Of {frames} frames {others} got other codes than at once; decoded samples differ by at "
        f"most {gap:.0e}.",
    ]
    text = "\n".join(lines)
    print(text)
    if arguments.write:
        write_section("codec-streaming", text)


if __name__ == "__main__":
    main()
