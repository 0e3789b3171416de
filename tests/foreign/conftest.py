"""These tests are collected only where their environment exists: see CONTRIBUTING.md."""

from pathlib import Path

_PYTHON = Path(__file__).resolve().parents[2] / ".bench" / "foreign" / "venv" / "bin" / "python"
collect_ignore = [] if _PYTHON.exists() else ["test_codec_adapters.py"]
