"""Look at images before anything is trained: what is there, what is broken, which recipe fits."""

from __future__ import annotations

import dataclasses
import hashlib
import shlex
from pathlib import Path

from pellucid.data.annotations import SUFFIXES
from pellucid.data.duplicates import find_duplicates
from pellucid.data.named import NAMED
from pellucid.data.opening import open_source
from pellucid.data.preparing import Preparation
from pellucid.data.report import DataReport, Suggestion, describe
from pellucid.data.scan import Progress, scan
from pellucid.errors import DataError

MEASURED_SIDE = 256  # pixels: larger images are measured after shrinking to it
_TINY = 40  # short side up to which sets are treated as 28×28 or 32×32 sets
_FEW = 50  # images; fewer are only enough when many crops are cut from each
_OWN = {
    "patch-vq": (64, 3),
    "photos-vq": (64, 3),
    "cifar-vq": (32, 3),
    "mnist-vae": (28, 1),
    "ear-vae": (128, 3),
}
_DETAILED = 96  # short side from which crops are worth 128 pixels
_OWN_BATCH = 32  # what the shipped recipes train with at least


def inspect_images(
    source: str,
    *,
    root: str | None = None,
    float_range: tuple[float, float] = (0.0, 1.0),
    limit: int = 5000,
    strict: bool = False,
    progress: Progress | None = None,
) -> DataReport:
    """Examine a folder, an array file or a named set, one chunk of images at a time.

    Every image is listed; at most `limit` are decoded (the same ones each time, chosen by a hash
    of their names). Values are measured on pixels shrunk to a short side of at most 256.

    Args:
        source: path, or one of photographs, cifar10, mnist, fashion-mnist where no path has
            that name.
        root: folder of downloaded sets.
        float_range: values of black and white in floating-point files and arrays.
        limit: most images to decode.
        strict: fail on the first unusable image.
        progress: called with (done, total).

    Raises:
        DataError: when there is nothing usable.
    """
    named = source in NAMED and not Path(source).exists()
    opened = open_source(
        None if named else source, source if named else None, root=root, float_range=float_range
    )
    if limit < 1:
        raise DataError("nothing would be examined", where="limit", expected="≥ 1", found=limit)
    indices = range(len(opened))
    if len(opened) > limit:
        indices = sorted(sorted(indices, key=lambda i: _rank(opened.names[i]))[:limit])
    preparation = Preparation(3, MEASURED_SIDE, enlarge=False)
    seen = scan(opened, preparation, strict=strict, indices=indices, progress=progress)
    if not seen.usable:
        first = seen.skipped[0]
        raise DataError(
            "none of the images can be read",
            where=opened.where,
            found=f"{len(seen.skipped)} unusable; the first is {opened.names[first.index]} "
            f"({first.why})",
        )
    report = describe(
        opened,
        seen,
        find_duplicates(seen.usable),
        examined=len(indices),
        measured_at=f"short side ≤ {MEASURED_SIDE} pixels",
    )
    sample = f"a sample of {len(indices)} of {len(opened)} images was decoded"
    return dataclasses.replace(
        report,
        suggestions=suggest(report, named=named),
        remarks=(sample,) if len(indices) < len(opened) else (),
    )


def suggest(report: DataReport, *, named: bool = False) -> tuple[Suggestion, ...]:
    """Return the recipes that fit the images, best first.

    Args:
        report: what was found.
        named: whether `report.source` is the name of a set rather than a path.
    """
    short = int(min(report.widths["median"], report.heights["median"]))
    place = f"data.{'name' if named else 'path'}={report.source}"
    gray = report.colourless == report.count
    kind = "grayscale" if gray else "colour"
    if short <= _TINY:
        recipe = "mnist-vae" if gray else "cifar-vq"
        why = f"{report.found} {kind} images with a short side of {short} pixels"
        return (Suggestion(recipe, why, _command(recipe, place, short // 4 * 4, report)),)
    size = min(64, short // 8 * 8)
    whole = Suggestion(
        "patch-vq",
        f"{report.found} {kind} images, median short side {short} pixels: whole images at "
        f"{size}×{size}",
        _command("patch-vq", place, size, report),
    )
    detailed = Suggestion(
        "ear-vae",
        f"{report.found} {kind} images, median short side {short} pixels: a continuous latent with "
        "fine detail, for features and landmarks",
        _command("ear-vae", place, 128, report),
    )
    if not named and Path(report.source).suffix.lower() in SUFFIXES and short >= _DETAILED:
        return (detailed, whole)
    if short < 2 * size:
        return (whole,)
    crops = Suggestion(
        "photos-vq",
        f"{report.found} {kind} images, median short side {short} pixels: many {size}×{size} "
        "crops at native resolution fit into each",
        _command("photos-vq", place, size, report),
    )
    return (crops, whole) if report.count < _FEW else (whole, detailed, crops)


def _command(recipe: str, place: str, size: int, report: DataReport) -> str:
    """Write the command; keywords appear only where the recipe's own value would not do."""
    words = ["pellucid", "train", recipe, shlex.quote(place)]
    own_size, own_channels = _OWN[recipe]
    if size != own_size:
        words.append(f"data.size={size}")
    if report.colourless == report.count and own_channels == 3:
        words.append("data.channels=1")
    samples = int(0.8 * report.found)  # what two held-out tenths leave
    if recipe != "photos-vq" and samples < _OWN_BATCH:
        words.append(f"training.batch_size={max(1, samples // 2)}")
    return " ".join(words)


def _rank(name: str) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=8).digest()
