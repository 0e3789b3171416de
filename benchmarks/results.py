"""Write a benchmark's section into benchmarks/RESULTS.md, and nothing else of it."""

from __future__ import annotations

from pathlib import Path

RESULTS = Path(__file__).parent / "RESULTS.md"


def write_section(name: str, markdown: str) -> None:
    """Replace the section between `<!-- NAME:begin -->` and `<!-- NAME:end -->`, or append it.

    Args:
        name: of the section, e.g. "train-step".
        markdown: what stands between the markers from now on.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    section = f"{begin}\n{markdown.strip()}\n{end}"
    text = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else "# Measured\n"
    if begin in text:
        before, _, rest = text.partition(begin)
        text = before + section + rest.partition(end)[2]
    else:
        text = f"{text.rstrip()}\n\n{section}\n"
    RESULTS.write_text(text, encoding="utf-8")
