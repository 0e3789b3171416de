"""A run's page, written into its folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pellucid.atomic_files import write_atomically
from pellucid.report.contents import RunContents, mapping, read
from pellucid.report.page import Section, assemble
from pellucid.report.sections import (
    channels,
    codec_references,
    codec_verdict,
    codes,
    curves,
    data,
    environment,
    landmarks,
    latent_space,
    listening,
    marker_verdict,
    markers,
    numbers,
    postfilter,
    probe,
    recipe,
    reconstructions,
    references,
    spectrum,
    symmetry,
    verdict,
)
from pellucid.report.wording import count
from pellucid.run_folder import RunFolder

SectionOf = Callable[[RunContents], Section]

# The page in order. A further part is one file under sections/ and one line here.
SECTIONS: tuple[SectionOf, ...] = (
    verdict.section,
    numbers.section,
    reconstructions.section,
    references.section,
    curves.section,
    spectrum.section,
    codes.section,
    data.section,
    recipe.section,
    environment.section,
)


AUDIO_SECTIONS: tuple[SectionOf, ...] = (
    codec_verdict.section,
    listening.section,
    codec_references.section,
    numbers.section,
    curves.section,
    codes.section,
    data.section,
    recipe.section,
    environment.section,
)


STACK_SECTIONS: tuple[SectionOf, ...] = (
    marker_verdict.section,
    numbers.section,
    markers.section,
    curves.section,
    codes.section,
    channels.section,
    recipe.section,
    environment.section,
)


def sections_of(folder: RunFolder) -> tuple[SectionOf, ...]:
    """Return the parts of a run's page, in order, the verdict first.

    What only some runs have stands before the data: what an evaluation measured besides, and what a
    user asked for by a command of its own.
    """
    contents = read(folder)
    chosen = AUDIO_SECTIONS if contents.is_audio else SECTIONS
    if contents.is_stacks:
        chosen = STACK_SECTIONS
    further = [
        (contents.postfilter, postfilter.section),
        (contents.evaluated("symmetry"), symmetry.section),
        (contents.evaluated("probe"), probe.section),
        (contents.latent_space, latent_space.section),
        (contents.landmarks, landmarks.section),
    ]
    measured = [part for found, part in further if found]
    return (*chosen[:-3], *measured, *chosen[-3:])


def render(folder: RunFolder, *, sections: Sequence[SectionOf] | None = None) -> Path:
    """Write the run's report.html from what is on disk, and return its path.

    A file that is missing leaves its section with a line on how to get it; a file that cannot be
    read is named at the head of the page.

    Args:
        folder: the run.
        sections: the parts of the page, in order; None takes those of the run's kind.

    Raises:
        RunError: when the page cannot be written; an earlier page is then untouched.
    """
    contents = read(folder)
    page = assemble(
        contents.name,
        [section(contents) for section in sections or sections_of(folder)],
        subtitle="Run report",
        badges=badges(contents),
        problems=contents.problems,
    )
    write_atomically(folder.report, page)
    return folder.report


def badges(contents: RunContents) -> list[tuple[str, str]]:
    """Return the run's state, weights and kept step as short marks."""
    run = mapping(contents.run)
    state = str(run.get("state") or "unknown state")
    kind = {"finished": "good", "running": "plain"}.get(state, "bad")
    found = [(kind, state)]
    if run.get("weights"):
        found.append(("plain", f"{run['weights']} weights"))
    if run.get("selected") and contents.kept_step is not None:
        found.append(("plain", f"{run['selected']}, step {count(contents.kept_step)}"))
    return found
