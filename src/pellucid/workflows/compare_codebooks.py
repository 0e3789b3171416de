"""Set codebooks side by side: all of a run, or named ones of several runs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pellucid.errors import RunError
from pellucid.run_folder import RunFolder

if TYPE_CHECKING:
    from pellucid.report.codebooks import Entry


def names_codebooks(words: Sequence[str]) -> bool:
    """Say whether these are codebooks to compare: one run, or RUN:NAME everywhere."""
    return len(words) == 1 or all(_split(word)[1] is not None for word in words)


def compare_codebooks(
    words: Sequence[str], *, out: str | Path | None = None
) -> tuple[dict[str, Any], Path]:
    """Compare codebooks score by score and write their page.

    Args:
        words: run folders, each for all its codebooks, or RUN:NAME.
        out: the page's path; by default codebooks.html in the first run.

    Returns:
        Records and pairwise PSNR differences as plain data, and the page's path.

    Raises:
        PellucidError: when there is no such run or codebook.
    """
    from pellucid.codebooks.files import codebook_names
    from pellucid.report.codebooks import render_codebooks

    chosen: list[tuple[RunFolder, str]] = []
    for word in words:
        run, name = _split(word)
        folder = RunFolder.open(run)
        names = codebook_names(folder) if name is None else [name]
        chosen += [(folder, found) for found in names]
    if not chosen:
        raise RunError(
            "there is no codebook to compare",
            where=", ".join(words),
            hint=f"pellucid codebook {words[0]}, or name a second run to compare with",
        )
    entries = codebook_entries(chosen)
    comparison = {
        "codebooks": {
            entry.label: {
                "method": entry.record["method"],
                "source": entry.record["source"],
                "size": entry.record["size"],
                "preflight": entry.record["preflight"],
                "scores": entry.record["scores"],
                "tuning": None if entry.tuning is None else entry.tuning["scores"],
            }
            for entry in entries
        },
        "differences": _differences(entries),
    }
    page = Path(out) if out is not None else entries[0].folder.codebooks_page
    return comparison, render_codebooks(entries, comparison["differences"], page)


def codebook_entries(chosen: Sequence[tuple[RunFolder, str]]) -> list[Entry]:
    """Return what a page needs of codebooks, named by their runs where those are several.

    Raises:
        PellucidError: when there is none of a name.
    """
    from pellucid.codebooks.files import CodebookFiles
    from pellucid.report.codebooks import Entry

    several = len({folder.path.resolve() for folder, _ in chosen}) > 1
    return [
        Entry(
            f"{folder.path.name}:{name}" if several else name,
            folder,
            name,
            CodebookFiles(folder, name).read_record(),
            CodebookFiles(folder, name).read_tuning(),
        )
        for folder, name in chosen
    ]


def _differences(entries: Sequence[Any]) -> list[dict[str, Any]]:
    """Return PSNR minus that of the first codebook, paired over samples of the same run."""
    from pellucid.functional.bootstrap import paired_difference

    found = []
    for first, other in itertools.product(entries[:1], entries[1:]):
        a, b = (entry.record.get("samples") for entry in (other, first))
        if not a or not b or a["digest"] != b["digest"]:
            continue
        gap = paired_difference(a["psnr"], b["psnr"], a["group"])
        found.append(
            {
                "codebook": other.label,
                "baseline": first.label,
                "metric": "psnr",
                "unit": "dB",
                "value": gap.value,
                "low": gap.low,
                "high": gap.high,
                "n": gap.n,
            }
        )
    return found


def _split(word: str) -> tuple[str, str | None]:
    """Split RUN:NAME at its last colon, unless all of it is a folder."""
    run, colon, name = word.rpartition(":")
    return (word, None) if not colon or Path(word).is_dir() else (run, name)
