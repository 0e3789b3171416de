"""What entropy coding saves on a run's codes of real speech, and what a file costs beside them.

Whole clips of the test split go through `encode` twice, packed and entropy-coded with tables that
have only seen the training split. Tables of the run are taken where it has them, else fitted here.

    python benchmarks/entropy_coding.py RUN [--checkpoint best] [--clips 40] [--write]
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from pathlib import Path
from typing import Any

from codec_quality import evaluable
from results import write_section

ASKED_SAVING, ASKED_OVERHEAD = 0.05, 40


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Bytes over all clips of one number of levels.

    Args:
        levels: residual levels written.
        seconds: of audio.
        packed_file: of the .plc files with packed codes.
        packed_payload: of the packed codes alone.
        coded_file: of the .plc files as `encode` writes them, entropy-coded where shorter.
        coded_payload: of the entropy-coded codes alone.
        clips: files.
        chosen: files for which entropy coding was shorter.
    """

    levels: int
    seconds: float
    packed_file: int
    packed_payload: int
    coded_file: int
    coded_payload: int
    clips: int
    chosen: int

    @property
    def saving(self) -> float:
        """Share of the packed payload that entropy coding saves."""
        return 1 - self.coded_payload / self.packed_payload

    @property
    def overhead(self) -> float:
        """Bytes of a file beside its codes, on average."""
        return (self.coded_file - self.coded_payload) / self.clips


def measure(run: Path, clips: int) -> list[Sizes]:
    """Code test clips at all levels and at half of them."""
    from pellucid.references.samples import spaced
    from pellucid.workflows.code_tables import fit_code_tables
    from pellucid.workflows.coder import Coder
    from pellucid.workflows.run import Run

    opened = Run.open(run)
    if not opened.folder.code_tables.is_file():
        fit_code_tables(opened)
    coder = Coder.open(opened)
    data: Any = opened.data()
    waves = [
        data.test.whole(number)[1][0].numpy() for number in spaced(len(data.test.clips), clips)
    ]
    counts = sorted({coder.levels, max(1, coder.levels // 2)}, reverse=True)
    return [sizes(coder, waves, levels) for levels in counts]


def sizes(coder: Any, waves: list[Any], levels: int) -> Sizes:
    """Write every clip both ways and add up the bytes."""
    from pellucid.bitstream import payload_of

    total = dict.fromkeys(("packed_file", "packed_payload", "coded_file", "coded_payload"), 0)
    chosen = 0
    for wave in waves:
        stream = coder.encode_audio(wave, levels=levels)
        for kind, entropy in (("packed", False), ("coded", True)):
            data = coder.pack(stream, entropy=entropy)
            payload, coded = payload_of(data)
            total[f"{kind}_file"] += len(data)
            total[f"{kind}_payload"] += payload
            chosen += bool(coded)
    seconds = sum(len(wave) for wave in waves) / coder.sample_rate
    return Sizes(levels=levels, seconds=seconds, clips=len(waves), chosen=chosen, **total)


def table(found: list[Sizes], clips: int) -> str:
    """The Markdown section."""
    lines = [
        "## Entropy coding of speech codes",
        "",
        f"`python benchmarks/entropy_coding.py RUN --clips {clips} --write`: {found[0].clips} "
        f"whole clips of held-out speakers, {found[0].seconds:.0f} s; tables from the training "
        "split. "
        f"Asked: ≥ {100 * ASKED_SAVING:.0f} % saved, ≤ {ASKED_OVERHEAD} bytes beside the codes.",
        "",
        "| levels | packed file | entropy-coded file | saved of the codes | files coded "
        "| bytes beside the codes |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {s.levels} | {8 * s.packed_file / s.seconds / 1000:.2f} kb/s "
        f"| {8 * s.coded_file / s.seconds / 1000:.2f} kb/s | **{100 * s.saving:.1f} %** "
        f"| {s.chosen} of {s.clips} | {s.overhead:.1f} |"
        for s in found
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and write when asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--checkpoint", choices=["best", "last"], help="of an unfinished run")
    parser.add_argument("--clips", type=int, default=40)
    parser.add_argument("--write", action="store_true", help="into benchmarks/RESULTS.md")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pellucid-") as folder:
        run = arguments.run
        if arguments.checkpoint:
            run = evaluable(run, arguments.checkpoint, Path(folder))
        section = table(measure(run, arguments.clips), arguments.clips)
    print(section)
    if arguments.write:
        write_section("entropy-coding", section)


if __name__ == "__main__":
    main()
