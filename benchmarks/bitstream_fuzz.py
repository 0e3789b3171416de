"""Damaged streams against the decoder: each is refused or decoded, quickly, in little memory.

Streams of four forms (audio packed, audio entropy-coded, image, framed codes of a pipe) are written
by tiny codecs with random weights, mutated (bits, bytes, cuts, insertions, swaps, huge fields) and
given to unpack + decode. One in a hundred is signed again with valid checksums, so that what lies
behind the checksum is met too. Anything but an answer or a `PellucidError` is a crash.

    python benchmarks/bitstream_fuzz.py [--streams 100000] [--seed 0] [--write]
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import io
import resource
import sys
import time
import traceback
import zlib
from collections.abc import Callable

import numpy as np
import torch

from pellucid.bitstream import ContextTables
from pellucid.bottlenecks import RVQ, VQ
from pellucid.errors import PellucidError
from pellucid.functional.value_range import ValueRange
from pellucid.models.autoencoder import Autoencoder
from pellucid.nn import ResidualDecoder, ResidualEncoder, SEANetDecoder, SEANetEncoder
from pellucid.workflows.coder import Coder
from pellucid.workflows.stream import stream

RATE = 8000
LARGEST = 2**22
"""Samples that the decoder is told to accept."""
SIGNED_SHARE = 0.01
_OPENING = 13
"""Bytes of magic, version, flags and fingerprint."""


@dataclasses.dataclass(frozen=True)
class Target:
    """One form of stream.

    Args:
        name: of it.
        streams: valid ones.
        sections: per stream, where each part with a checksum of its own ends.
        decode: bytes → samples.
    """

    name: str
    streams: list[bytes]
    sections: list[list[int]]
    decode: Callable[[bytes], object]


@dataclasses.dataclass
class Tally:
    """What became of the mutated streams."""

    outcomes: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    signed: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    crashes: list[str] = dataclasses.field(default_factory=list)
    slowest: float = 0.0
    seconds: float = 0.0
    rise_mb: float = 0.0


def fuzz(count: int, seed: int = 0) -> Tally:
    """Mutate and decode `count` streams."""
    rng = np.random.default_rng(seed)
    targets, tally = forms(), Tally()
    before, start = _peak_mb(), time.process_time()
    for number in range(count):
        target = targets[number % len(targets)]
        which = int(rng.integers(len(target.streams)))
        sign = rng.random() < SIGNED_SHARE
        # What is signed again mostly keeps its opening: otherwise it would end at "not a stream".
        data = mutated(
            target.streams[which], rng, spare=_OPENING if rng.random() < 0.8 * sign else 0
        )
        if sign:
            data = signed(data, target.sections[which])
        outcome = _attempt(target, data, tally)
        tally.outcomes[outcome] += 1
        if sign:
            tally.signed[outcome] += 1
    tally.seconds, tally.rise_mb = time.process_time() - start, _peak_mb() - before
    return tally


def _attempt(target: Target, data: bytes, tally: Tally) -> str:
    """Decode one stream and say what happened."""
    start = time.process_time()
    try:
        target.decode(data)
        return "decoded"
    except PellucidError as error:
        return str(error).partition("\n")[0]
    except Exception:
        tally.crashes.append(f"{target.name}: {data.hex()}\n{traceback.format_exc(limit=-4)}")
        return "crashed"
    finally:
        tally.slowest = max(tally.slowest, time.process_time() - start)


def mutated(data: bytes, rng: np.random.Generator, *, spare: int = 0) -> bytes:
    """Return the bytes with one to four random injuries, none to the first `spare`."""
    opening, out = data[:spare], bytearray(data[spare:])
    for _ in range(int(rng.integers(1, 5))):
        at = int(rng.integers(len(out))) if out else 0
        # Headers are short and payloads long: half of all injuries go to the first 40 bytes.
        if rng.random() < 0.5:
            at = min(at, int(rng.integers(40)))
        length = int(rng.integers(1, 9))
        kind = int(rng.integers(7))
        if kind == 0 and out:
            out[at] ^= 1 << int(rng.integers(8))
        elif kind == 1 and out:
            out[at] = int(rng.integers(256))
        elif kind == 2:
            out = out[:at]
        elif kind == 3:
            del out[at : at + length]
        elif kind == 4:
            out[at:at] = rng.bytes(length)
        elif kind == 5:
            out[at : at + length] = b"\xff" * (length - 1) + b"\x7f"  # an absurdly large field
        else:
            other = int(rng.integers(len(out) + 1))
            out[at : at + length] = out[other : other + length]
    return opening + bytes(out)


def signed(data: bytes, sections: list[int]) -> bytes:
    """Put a valid CRC-32 at the end of every section, the last of which ends with the data."""
    start, parts = 0, []
    for end in [*(end for end in sections[:-1] if end < len(data)), len(data)]:
        body = data[start : max(start, end - 4)]
        parts.append(body + zlib.crc32(body).to_bytes(4, "little"))
        start = end
    return b"".join(parts)


def forms() -> list[Target]:
    """Build the codecs and valid streams of every form."""
    audio, image = _audio_coder(), _image_coder()
    packed = [audio.pack(audio.encode_audio(_noise(n, n)), entropy=False) for n in (1, 95, 800)]
    coded = [audio.pack(audio.encode_audio(_noise(n, n))) for n in (95, 800, 2000)]
    pictures = [
        image.pack(image.encode_image(np.random.default_rng(n).integers(0, 256, (n, 9, 3), "u1")))
        for n in (1, 8, 21)
    ]
    framed = _framed(audio)
    return [
        _files("audio, packed", packed, lambda d: audio.decode_audio(_unpack(audio, d))),
        _files("audio, entropy-coded", coded, lambda d: audio.decode_audio(_unpack(audio, d))),
        _files("image", pictures, lambda d: image.decode_image(_unpack(image, d))),
        Target("framed", *framed, lambda d: _play(audio, d)),
    ]


def _files(name: str, streams: list[bytes], decode: Callable[[bytes], object]) -> Target:
    return Target(name, streams, [[len(data)] for data in streams], decode)


def _unpack(coder: Coder, data: bytes) -> object:
    return coder.unpack(data, largest=LARGEST)


def _play(coder: Coder, data: bytes) -> None:
    stream(io.BytesIO(data), io.BytesIO(), direction="decode", model=coder)


def _framed(coder: Coder) -> tuple[list[bytes], list[list[int]]]:
    """Return framed streams and where their header and packets end."""
    streams, sections = [], []
    for samples in (0, 95, 1203):
        sink = _Ends()
        pcm = (_noise(samples, samples) * 3000).astype("<i2").tobytes()
        stream(io.BytesIO(pcm), sink, direction="encode", model=coder, chunk_seconds=0.05)
        streams.append(sink.getvalue())
        sections.append(sink.ends)
    return streams, sections


class _Ends(io.BytesIO):
    """Remember where every write ended: one packet each."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: list[int] = []

    def write(self, data: bytes) -> int:
        count = super().write(data)
        self.ends.append(self.tell())
        return count


def _audio_coder() -> Coder:
    torch.manual_seed(0)
    sizes = {"strides": (2, 5), "width": 4}
    parts = SEANetEncoder(1, channels=6, causal=True, **sizes), RVQ(6, levels=3, codes=20)
    autoencoder = Autoencoder(*parts, SEANetDecoder(6, 1, causal=True, **sizes)).train()
    with torch.no_grad():  # codebooks start from what they see
        autoencoder(torch.from_numpy(np.stack([_noise(2000, n) for n in range(8)]))[:, None])
    keywords = {"value_range": ValueRange(), "sample_rate": RATE, "loudness_db": -25.0}
    plain = Coder("tiny audio", "audio", autoencoder.eval(), tables=None, **keywords)
    seen = [plain.encode_audio(_noise(2000, n)).codes for n in range(8)]
    tables = ContextTables.fit(seen, codes=20)
    return dataclasses.replace(plain, tables=tables)


def _image_coder() -> Coder:
    torch.manual_seed(0)
    sizes = {"stride": 4, "width": 4, "multipliers": (1, 2)}
    parts = ResidualEncoder(3, channels=6, **sizes), VQ(6, codes=19), ResidualDecoder(6, 3, **sizes)
    autoencoder = Autoencoder(*parts).train()
    with torch.no_grad():
        autoencoder(torch.rand(8, 3, 16, 16) * 2 - 1)
    return Coder("tiny image", "image", autoencoder.eval(), ValueRange(), 0, None, None)


def _noise(samples: int, seed: int) -> np.ndarray:
    """A random walk that is held within bounds: its codes follow each other."""
    steps = np.random.default_rng(seed).normal(size=samples)
    return np.sin(np.cumsum(steps) / 3).astype(np.float32)


def _peak_mb() -> float:
    """Return the most memory this process has held so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def section(tally: Tally, count: int, seed: int) -> str:
    """Return the section of RESULTS.md."""
    rows = "\n".join(
        f"| {outcome} | {number:,} | {tally.signed[outcome]:,} |"
        for outcome, number in tally.outcomes.most_common()
    )
    signed_again = sum(tally.signed.values())
    return f"""## Damaged bitstreams

`python benchmarks/bitstream_fuzz.py --streams {count} --seed {seed} --write`: {count:,} mutated
streams of four forms (audio packed and entropy-coded, image, framed codes of a pipe),
{signed_again:,} of them signed again with valid checksums. **{len(tally.crashes)} crashes.**
Slowest stream {1000 * tally.slowest:.0f} ms of processor time, all of them {tally.seconds:.0f} s;
the process's peak memory rose by {tally.rise_mb:.0f} MB.

| outcome | streams | of them signed again |
|---|---:|---:|
{rows}
"""


def main() -> None:
    """Fuzz, print and, when asked, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="into benchmarks/RESULTS.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    tally = fuzz(options.streams, options.seed)
    text = section(tally, options.streams, options.seed)
    print(text)
    for crash in tally.crashes[:5]:
        print(crash, file=sys.stderr)
    if options.write:
        from results import write_section

        write_section("bitstream-fuzz", text)
    sys.exit(bool(tally.crashes))


if __name__ == "__main__":
    main()
