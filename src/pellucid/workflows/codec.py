"""Write files as coded streams and read them back: one file or a folder of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pellucid.atomic_files import write_atomically
from pellucid.bitstream import payload_of
from pellucid.errors import BitstreamError, DataError
from pellucid.workflows.coded_files import Job, find_jobs
from pellucid.workflows.coder import Coder
from pellucid.workflows.progress import progress_bar
from pellucid.workflows.run import Run
from pellucid.workflows.samples_on_disk import read_samples, sample_extensions, write_samples


def encode(
    path: str | Path,
    *,
    model: str | Path | Run | Coder | None = None,
    out: str | Path | None = None,
    levels: int | None = None,
    entropy: bool = True,
    progress: bool = True,
) -> dict[str, Any]:
    """Write a clip or a picture, or a folder of them, as `.plc`.

    Args:
        path: audio of any rate and channels, which becomes mono at the model's rate and loudness
            (the gain goes along in the file), or a picture of any size.
        model: a run; None takes the model that comes with the package.
        out: the file, or the folder for a folder; by default beside `path`.
        levels: residual levels to write, fewer are a lower bit rate; None writes all.
        entropy: entropy-code with the model's tables where that is shorter.
        progress: draw a progress bar.

    Returns:
        `{"model", "out", "files": [{"name", "file", "bytes", …}], "failed": [{"name", "reason"}],
        "total": {…}}`; audio has "seconds", "kbps" (the file's), "payload_kbps" (its codes alone),
        "gain_db" (that the encoder applied) and "times_real_time", pictures "width", "height",
        "bits_per_pixel" and "payload_bits_per_pixel". Times are of coding, not of the disk; the
        first file pays for the start of torch.

    Raises:
        DataError: when there is nothing to encode, or the only file cannot be.
        RunError: when the model cannot be used.
    """
    coder = Coder.open(model)
    coder.check(coder.kind, levels)

    def one(job: Job) -> dict[str, Any]:
        samples = read_samples(job.source, coder)
        start = time.perf_counter()
        if coder.kind == "audio":
            stream = coder.encode_audio(samples, levels=levels)
        else:
            stream = coder.encode_image(samples, levels=levels)
        data = coder.pack(stream, entropy=entropy)
        taken = time.perf_counter() - start
        write_atomically(job.target, data)
        return measured(data, stream.shape, coder, stream.codes.shape[-1], -stream.gain_db, taken)

    jobs, folder = find_jobs(
        Path(path), sample_extensions(coder.kind), ".plc", out=out, suffix="-plc"
    )
    return _through(jobs, one, coder, folder, "encoding", progress)


def decode(
    path: str | Path,
    *,
    model: str | Path | Run | Coder | None = None,
    out: str | Path | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Write a `.plc` file, or a folder of them, as WAV or PNG.

    The output has the original's length or size and its level; peaks beyond full scale are clipped
    where 16 bits cannot hold them, and counted.

    Args:
        path: a `.plc` file or a folder of them.
        model: the run that encoded them; None takes the model that comes with the package.
        out: the file (.wav, .flac; .png), or the folder for a folder; by default beside `path`.
        progress: draw a progress bar.

    Returns:
        As `encode` does; audio has "clipped" samples besides.

    Raises:
        BitstreamError: when the only file is damaged or another model's.
        DataError: when there is nothing to decode.
        RunError: when the model cannot be used.
    """
    coder = Coder.open(model)

    def one(job: Job) -> dict[str, Any]:
        data = _bytes(job.source)
        start = time.perf_counter()
        stream = coder.unpack(data)
        decoder = coder.decode_audio if coder.kind == "audio" else coder.decode_image
        samples = decoder(stream)
        taken = time.perf_counter() - start
        clipped = write_samples(job.target, samples, coder)
        result = measured(data, stream.shape, coder, stream.codes.shape[-1], -stream.gain_db, taken)
        return result if clipped is None else {**result, "clipped": clipped}

    extension = ".wav" if coder.kind == "audio" else ".png"
    jobs, folder = find_jobs(Path(path), (".plc",), extension, out=out, suffix="-decoded")
    return _through(jobs, one, coder, folder, "decoding", progress)


def measured(
    data: bytes,
    shape: tuple[int, ...],
    coder: Coder,
    levels: int,
    gain_db: float,
    taken: float,
) -> dict[str, Any]:
    """Return what a stream costs."""
    payload, entropy = payload_of(data)
    result: dict[str, Any] = {"bytes": len(data), "payload_bytes": payload}
    if coder.kind == "audio":
        seconds = shape[-1] / coder.sample_rate
        result |= {
            "seconds": seconds,
            "kbps": 8 * len(data) / seconds / 1000,
            "payload_kbps": 8 * payload / seconds / 1000,
            "gain_db": gain_db,
            "times_real_time": seconds / taken,
        }
    else:
        _, height, width = shape
        result |= {
            "width": width,
            "height": height,
            "bits_per_pixel": 8 * len(data) / (height * width),
            "payload_bits_per_pixel": 8 * payload / (height * width),
        }
    return {**result, "levels": levels, "entropy_coded": entropy, "coding_seconds": taken}


def _through(
    jobs: list[Job],
    one: Callable[[Job], dict[str, Any]],
    coder: Coder,
    out: Path,
    what: str,
    progress: bool,
) -> dict[str, Any]:
    """Do every job; of several, those that fail are listed and the others go on."""
    files: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    with progress_bar(what, shown=progress) as report:
        for done, job in enumerate(jobs):
            try:
                files.append({"name": job.name, "file": str(job.target), **one(job)})
            except (BitstreamError, DataError) as error:
                if job.alone:
                    raise
                failed.append({"name": job.name, "reason": str(error)})
            report(done + 1, len(jobs))
    return {
        "model": coder.name,
        "fingerprint": coder.fingerprint.hex(),
        "kind": coder.kind,
        "out": str(out),
        "files": files,
        "failed": failed,
        "total": _total(files, coder.kind),
    }


def _total(files: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    """Add the files up; rates are of all bits over all seconds or pixels."""
    total: dict[str, Any] = {"files": len(files)}
    for key in ("bytes", "payload_bytes", "coding_seconds"):
        total[key] = sum(file[key] for file in files)
    if not files:
        return total
    if kind == "audio":
        seconds = sum(file["seconds"] for file in files)
        total |= {
            "seconds": seconds,
            "kbps": 8 * total["bytes"] / seconds / 1000,
            "payload_kbps": 8 * total["payload_bytes"] / seconds / 1000,
            "times_real_time": seconds / total["coding_seconds"],
        }
    else:
        pixels = sum(file["width"] * file["height"] for file in files)
        total |= {
            "pixels": pixels,
            "bits_per_pixel": 8 * total["bytes"] / pixels,
            "payload_bits_per_pixel": 8 * total["payload_bytes"] / pixels,
        }
    return total


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError("cannot read the file", where=path, found=error.strerror) from error
