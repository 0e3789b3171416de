"""The shipped speech codec before judges that its training did not resemble: ViSQOL and DNSMOS.

    python benchmarks/codec_judges.py MODEL --data SPEECH --dnsmos sig_bak_ovr.onnx --write

The terms `loudness` and `intelligibility` are close to PESQ and STOI, so a model trained with them
should not be judged by PESQ and STOI alone. The held-out speakers are those that the model's recipe
holds out of SPEECH; every codec answers with files of its own bits.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from codec_quality import measure, quality_table
from results import write_section


def main() -> None:
    """Measure, print, and write when asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="a released model")
    parser.add_argument("--data", required=True, help="the recordings it was trained on")
    parser.add_argument("--dnsmos", required=True, metavar="FILE", help="DNSMOS's ONNX network")
    parser.add_argument("--lyra", metavar="FOLDER", help="with Lyra v2's TFLite networks")
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--write", action="store_true", help="into benchmarks/RESULTS.md")
    arguments = parser.parse_args()
    found = measure(
        arguments.model,
        clips=arguments.clips,
        visqol=True,
        lyra=arguments.lyra,
        dnsmos=arguments.dnsmos,
        recordings=arguments.data,
    )
    command = "python benchmarks/codec_judges.py MODEL --data SPEECH --dnsmos FILE"
    command += " --lyra FOLDER" if arguments.lyra else ""
    text = "\n".join(
        [
            "## The shipped speech codec before other judges",
            "",
            f"`{command} --clips {arguments.clips}`: {len(found['samples']['index'])} whole clips "
            f"of held-out speakers, {found['seconds']:.0f} s. PESQ and STOI resemble two terms of "
            "the objective, ViSQOL and DNSMOS none.",
            "",
            *quality_table(found),
        ]
    )
    print(text)
    if arguments.write:
        write_section("codec-judges", text)


if __name__ == "__main__":
    main()
