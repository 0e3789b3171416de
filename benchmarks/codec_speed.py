"""Encode and decode one stream on one core: ours against EnCodec-24k and DAC-16k.

The peers' architectures come from their own packages, with random weights, in the environment of
`tests/foreign/make_environment.py`; all three run there, in one process with one thread. They take
turns call by call, so that a busy moment hits all, and processor seconds are counted, which a
neighbour on the same core does not stretch. Everything is per second of sound at the codec's own
rate: 6 kb/s at 24 kHz for EnCodec, all 12 codebooks at 16 kHz for DAC.

    python benchmarks/codec_speed.py [RECIPE-OR-RUN] [--rounds 7] [--write]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
FOREIGN = ROOT / ".bench" / "foreign" / "venv" / "bin" / "python"
ASKED_REAL_TIME, ASKED_ENCODEC, ASKED_DAC, ASKED_LATENCY_MS = 10.0, 3.0, 20.0, 40.0
SECONDS = 2.0
Call = Callable[[], Any]


# ---- the three sides


def build_ours(nodes: dict[str, dict[str, Any]]) -> torch.nn.Module:
    """Assemble an autoencoder from the sections of a recipe."""
    from pellucid.bottlenecks import BOTTLENECKS
    from pellucid.models.autoencoder import Autoencoder
    from pellucid.nn import DECODERS, ENCODERS

    def part(table: dict[str, Any], section: str, channels: int) -> Any:
        node = {key: value for key, value in nodes[section].items() if key != "kind"}
        return table[nodes[section]["kind"]](channels, **node)

    encoder = part(ENCODERS, "encoder", 1)
    bottleneck = part(BOTTLENECKS, "bottleneck", encoder.channels)
    decoder = part(DECODERS, "decoder", bottleneck.out_channels)
    return Autoencoder(encoder, bottleneck, decoder).eval()


def ours(nodes: dict[str, dict[str, Any]]) -> tuple[Call, Call, torch.nn.Module]:
    """Return encode, decode and the model, as `pellucid encode` runs it."""
    from pellucid.models.folding import folded
    from pellucid.models.waveform import decode_waveform, encode_waveform

    model = folded(build_ours(nodes))
    x_CT = sound(16_000)[0]
    codes = encode_waveform(model, x_CT)
    return (
        lambda: encode_waveform(model, x_CT),
        lambda: decode_waveform(model, codes, x_CT.shape[-1]),
        model,
    )


def encodec() -> tuple[Call, Call, torch.nn.Module]:
    """EnCodec's 24 kHz model at 6 kb/s."""
    from encodec import EncodecModel

    model = EncodecModel.encodec_model_24khz(pretrained=False).eval()
    model.set_target_bandwidth(6.0)
    x = sound(24_000)
    frames = model.encode(x)
    return lambda: model.encode(x), lambda: model.decode(frames), model


def dac() -> tuple[Call, Call, torch.nn.Module]:
    """DAC's 16 kHz model."""
    from dac import DAC

    model = DAC(
        encoder_dim=64, encoder_rates=[2, 4, 5, 8], decoder_dim=1536, decoder_rates=[8, 5, 4, 2],
        n_codebooks=12, codebook_size=1024, codebook_dim=8, sample_rate=16_000,
    ).eval()  # fmt: skip
    x = sound(16_000)
    z = model.encode(x)[0]
    return lambda: model.encode(x), lambda: model.decode(z), model


def sound(sample_rate: int) -> Tensor:
    """Return (1, 1, T): what is coded does not change the work."""
    generator = torch.Generator().manual_seed(0)
    return 0.1 * torch.randn(1, 1, int(SECONDS * sample_rate), generator=generator)


# ---- measurements, in the packages' environment


def measure(nodes: dict[str, dict[str, Any]], rounds: int) -> dict[str, Any]:
    """Return processor seconds per second of sound of every call, and what streaming costs."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    sides = {"ours": ours(nodes), "encodec": encodec(), "dac": dac()}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in sides}
    with torch.no_grad():
        for round_ in range(rounds + 1):
            for name, (encode, decode, _) in sides.items():
                pair = (processor_seconds(encode) / SECONDS, processor_seconds(decode) / SECONDS)
                if round_:  # the first warms up
                    times[name].append(pair)
        model = sides["ours"][2]
        streamed = {chunk: streaming(model, chunk) for chunk in (1, 4)}
    return {
        "times": times,
        "parameters": {
            name: sum(p.numel() for p in side[2].parameters()) for name, side in sides.items()
        },
        "streaming": streamed,
        "frame_ms": 1000 * model.stride / 16_000,
        "latency_ms": 1000 * latency(model) / 16_000 if model.encoder.causal else None,
        "torch": torch.__version__,
    }


def processor_seconds(call: Call) -> float:
    """Run once; return this process's processor time."""
    start = time.process_time()
    call()
    return time.process_time() - start


def streaming(model: Any, frames: int) -> list[float] | None:
    """Return processor milliseconds per chunk of so many frames, encoded and decoded at once."""
    from pellucid.models.waveform import WaveDecoderStream, WaveEncoderStream

    if not (model.encoder.causal and model.decoder.causal):
        return None
    encoder, decoder = WaveEncoderStream(model), WaveDecoderStream(model)
    chunks = sound(16_000)[0].split(frames * model.stride, -1)
    return [
        1000 * processor_seconds(lambda c=chunk: decoder.push(encoder.push(c))) for chunk in chunks
    ][2:]


def latency(model: Any) -> int:
    """Return how many samples must have come in before the first of them can go out, measured.

    The input is changed from one sample on: no output before the start of its frame may move.
    """
    stride = model.stride
    x = sound(16_000)[..., : 20 * stride]
    change = 10 * stride + stride // 2
    other = x.clone()
    other[..., change:] += 0.3
    outputs = [model.decoder(model.encoder(signal)) for signal in (x, other)]
    moved = (outputs[0] - outputs[1]).abs().amax((0, 1)).nonzero().flatten()
    return stride + max(0, change // stride * stride - int(moved[0]))


# ---- output


def table(found: dict[str, Any], name: str, rounds: int) -> str:
    """The Markdown section."""
    total = {side: [e + d for e, d in pairs] for side, pairs in found["times"].items()}

    def ratio(side: str) -> str:
        ratios = sorted(b / a for a, b in zip(total["ours"], total[side], strict=True))
        return f"**{statistics.median(ratios):.1f}×** ({ratios[0]:.1f} … {ratios[-1]:.1f})"

    asked = {
        "ours": f"≥ {ASKED_REAL_TIME:.0f}× real time",
        "encodec": f"ours ≥ {ASKED_ENCODEC:.0f}× as fast",
        "dac": f"ours ≥ {ASKED_DAC:.0f}× as fast",
    }
    label = {
        "ours": name or "SEANet, width 24, 50 frames per second",
        "encodec": "EnCodec, 24 kHz, 6 kb/s",
        "dac": "DAC, 16 kHz, 6 kb/s",
    }
    lines = [
        "## A codec's speed on one core",
        "",
        f"`python benchmarks/codec_speed.py {name} --write`: one stream of {SECONDS:g} s, batch 1, "
        f"one thread, torch {found['torch']}; {rounds} alternating rounds, processor seconds; "
        "medians, ratios of the same round (lowest … highest). Random weights, the packages' own "
        "architectures.",
        "",
        "| model | parameters | encode | decode | real time | ours is faster | asked |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    for side, pairs in found["times"].items():
        encode, decode = (statistics.median(column) for column in zip(*pairs, strict=True))
        lines.append(
            f"| {label[side]} | {found['parameters'][side] / 1e6:.2f} M | {1000 * encode:.1f} ms/s "
            f"| {1000 * decode:.1f} ms/s | {1 / statistics.median(total[side]):.1f}× "
            f"| {'' if side == 'ours' else ratio(side)} | {asked[side]} |"
        )
    lines += ["", latency_line(found)]
    return "\n".join(lines)


def latency_line(found: dict[str, Any]) -> str:
    """Say what a chunk costs and how long the first sample waits."""
    if found["latency_ms"] is None:
        return "Not causal: it cannot stream."
    parts = []
    for frames, times in found["streaming"].items():
        ordered = sorted(times)
        share = statistics.median(times) / (int(frames) * found["frame_ms"])
        late = ordered[int(0.95 * (len(ordered) - 1))]
        parts.append(
            f"chunks of {int(frames) * found['frame_ms']:g} ms take "
            f"{statistics.median(times):.2f} ms (95 %: {late:.2f}), {1 / share:.1f}× real time"
        )
    return (
        f"Algorithmic latency {found['latency_ms']:g} ms (asked ≤ {ASKED_LATENCY_MS:g}), measured "
        f"by changing the input from one sample on. Streaming: {'; '.join(parts)}."
    )


def sections_of(name: str) -> dict[str, dict[str, Any]]:
    """Return encoder, bottleneck and decoder of a run folder or a recipe."""
    from pellucid.recipe import load_recipe
    from pellucid.workflows.run import Run

    recipe = Run.open(name).recipe if (Path(name) / "recipe.yaml").is_file() else load_recipe(name)
    return {key: dict(getattr(recipe, key)) for key in ("encoder", "bottleneck", "decoder")}


def environment() -> dict[str, str]:
    """Return the variables of a child: our sources on its path, one thread."""
    sources = os.environ.get("PYTHONPATH", str(ROOT / "src"))
    return {**os.environ, "PYTHONPATH": sources, "OMP_NUM_THREADS": "1"}


STAND_IN: dict[str, dict[str, Any]] = {
    "encoder": {"kind": "seanet", "strides": [8, 5, 4, 2], "width": 24, "activation": "elu"},
    "bottleneck": {"kind": "rvq", "levels": 12, "codes": 1024, "dim": 8, "cosine": True},
    "decoder": {"kind": "seanet", "strides": [8, 5, 4, 2], "width": 24, "activation": "elu"},
}
"""A causal speech codec of 6 kb/s, for when no recipe is named."""


def main() -> None:
    """Measure in the packages' environment and print the section."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", help="a recipe's name or a run folder")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--write", action="store_true", help="into benchmarks/RESULTS.md")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measure(json.loads(arguments.child), arguments.rounds)))
        return
    if not FOREIGN.exists():
        sys.exit("the packages are not here: python tests/foreign/make_environment.py")
    nodes = sections_of(arguments.model) if arguments.model else STAND_IN
    command = [str(FOREIGN), __file__, "--child", json.dumps(nodes)]
    command += ["--rounds", str(arguments.rounds)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment())
    found = json.loads(done.stdout.splitlines()[-1])
    section = table(found, Path(arguments.model or "").name, arguments.rounds)
    print(section)
    if arguments.write:
        from results import write_section

        write_section("codec-speed", section)


if __name__ == "__main__":
    main()
