"""Make the environment in which the audio codecs' own packages run.

    python tests/foreign/make_environment.py

encodec, descript-audio-codec and snac import torchaudio, whose last release pins a torch older than
the project's; descript-audiotools pins a protobuf of 2019. They get an environment of their own,
`.bench/foreign/venv` (about 6 GB, most of it torch), and `tests/foreign` runs its scripts in it.
Nothing is downloaded but the packages: the models are built with random weights.
"""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

ENVIRONMENT = Path(__file__).resolve().parents[2] / ".bench" / "foreign" / "venv"
PYTHON = ENVIRONMENT / "bin" / "python"
PACKAGES = (
    "torch==2.11.0",
    "torchaudio==2.11.0",
    "setuptools<81",  # descript-audiotools imports pkg_resources
    "encodec==0.1.1",
    "descript-audio-codec==1.0.0",
    "snac==1.2.1",
    "safetensors>=0.4",  # what pellucid.models imports
)


def main() -> None:
    """Create the environment, or bring an existing one up to date."""
    if not PYTHON.exists():
        venv.create(ENVIRONMENT, with_pip=True)
    pip = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check"]
    subprocess.run([*pip, *PACKAGES], check=True)
    subprocess.run([str(PYTHON), "-c", "import dac, encodec, snac"], check=True)
    print(f"ready: {ENVIRONMENT}")


if __name__ == "__main__":
    sys.exit(main())
