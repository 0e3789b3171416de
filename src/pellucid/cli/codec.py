"""`pellucid encode`, `decode` and `stream`: a model at work on files and pipes."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from pellucid.cli.app import app
from pellucid.cli.console import (
    JsonFlag,
    OutOption,
    QuietFlag,
    err,
    number,
    out,
    print_json,
    table,
)

ModelOption = Annotated[
    str | None,
    typer.Option("--model", metavar="RUN", help="A run; without it the model that comes along."),
]
LevelsOption = Annotated[
    int | None,
    typer.Option("--levels", min=1, help="Residual levels to write: fewer are fewer bits."),
]
_SHOWN = 20


@app.command()
def encode(
    path: Annotated[str, typer.Argument(help="A clip, a picture, or a folder of them.")],
    out_: OutOption = None,
    model: ModelOption = None,
    levels: LevelsOption = None,
    entropy: Annotated[
        bool, typer.Option("--entropy/--no-entropy", help="Entropy-code where that is shorter.")
    ] = True,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Write clips or pictures as .plc: a small file that the same model reads back.

    Audio of any rate and channels becomes mono at the model's rate; its level is kept.

    Examples:

    [cyan]pellucid encode speech.wav -o speech.plc[/]

    [cyan]pellucid encode recordings/ --model runs/speech-1 --levels 6 -o small/[/]

    [cyan]pellucid encode photo.png --model runs/patch-vq-1 -o photo.plc[/]
    """
    from pellucid.workflows.codec import encode as workflow

    result = workflow(
        path, model=model, out=out_, levels=levels, entropy=entropy, progress=not quiet
    )
    _print(result, json)


@app.command()
def decode(
    path: Annotated[str, typer.Argument(help="A .plc file or a folder of them.")],
    out_: OutOption = None,
    model: ModelOption = None,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Write .plc files as 16-bit WAV (or FLAC, by the name) or PNG, with the model that wrote them.

    Examples:

    [cyan]pellucid decode speech.plc -o speech.wav[/]

    [cyan]pellucid decode small/ --model runs/speech-1 -o heard/[/]
    """
    from pellucid.workflows.codec import decode as workflow

    _print(workflow(path, model=model, out=out_, progress=not quiet), json)


@app.command()
def stream(
    model: ModelOption = None,
    encode_: Annotated[bool, typer.Option("--encode", help="From PCM to framed codes.")] = False,
    decode_: Annotated[bool, typer.Option("--decode", help="From framed codes to PCM.")] = False,
    levels: LevelsOption = None,
    gain_db: Annotated[
        float,
        typer.Option("--gain-db", help="Applied before encoding, taken back after decoding."),
    ] = 0.0,
    chunk_ms: Annotated[
        float, typer.Option("--chunk-ms", help="Most PCM to wait for at once, in milliseconds.")
    ] = 100.0,
    quiet: QuietFlag = False,
) -> None:
    """Code live from stdin to stdout, chunk by chunk: raw 16-bit little-endian mono PCM.

    Without --encode or --decode PCM goes in and PCM comes out: what a listener would hear.

    Examples:

    [cyan]ffmpeg -i talk.mp3 -f s16le -ac 1 -ar 16000 - | pellucid stream --encode > talk.pls[/]

    [cyan]pellucid stream --decode < talk.pls | ffplay -f s16le -ar 16000 -[/]

    [cyan]arecord -f S16_LE -r 16000 -t raw | pellucid stream | aplay -f S16_LE -r 16000[/]
    """
    from pellucid.workflows.stream import stream as workflow

    if encode_ and decode_:
        raise typer.BadParameter("choose --encode or --decode, or neither for both")
    if decode_ and (levels is not None or gain_db):
        raise typer.BadParameter("levels and gain are written in the stream that is decoded")
    told = workflow(
        sys.stdin.buffer,
        sys.stdout.buffer,
        direction="encode" if encode_ else "decode" if decode_ else "roundtrip",
        model=model,
        levels=levels,
        gain_db=gain_db,
        chunk_seconds=chunk_ms / 1000,
    )
    if quiet:
        return
    line = f"{told.seconds:.2f} s, {told.times_real_time:.1f} × real time"
    if told.coded_bytes and told.seconds:
        kbps = 8 * told.coded_bytes / told.seconds / 1000
        line += f", {told.coded_bytes} bytes of packets ({kbps:.2f} kb/s)"
    if told.clipped:
        line += f", {told.clipped} samples clipped"
    err.print(line, highlight=False)


def _print(result: Mapping[str, Any], as_json: bool) -> None:
    """Print what was written and what failed; exit 1 when anything did."""
    if as_json:
        print_json(result)
    else:
        _print_files(result)
        for failure in result["failed"]:
            err.print(f"[bold red]failed[/] {failure['name']}: ", end="")
            err.print(failure["reason"], markup=False, highlight=False, soft_wrap=True)
        if result["failed"]:
            err.print(f"{len(result['failed'])} of {_count(result)} files failed")
        if result["files"]:
            out.print(f"written to {result['out']}", soft_wrap=True)
    if result["failed"]:
        raise typer.Exit(1)


def _print_files(result: Mapping[str, Any]) -> None:
    files, total = result["files"], result["total"]
    if not files:
        return
    audio = result["kind"] == "audio"
    columns = ("file", "seconds", "bytes", "kb/s", "payload kb/s", "gain", "× real time")
    if not audio:
        columns = ("file", "size", "bytes", "bits per pixel", "payload bits per pixel")
    row = _audio_row if audio else _picture_row
    rows = [row(file["name"], file) for file in files[:_SHOWN]]
    if len(files) > _SHOWN:
        rows.append((f"… and {len(files) - _SHOWN} more", *[""] * (len(columns) - 1)))
    if len(files) > 1:
        rows.append(row(f"all {len(files)}", total))
    table(columns, rows)
    clipped = sum(file.get("clipped", 0) for file in files)
    if clipped:
        out.print(f"[yellow]note[/] {clipped} samples beyond full scale were clipped")


def _audio_row(name: str, node: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        name,
        f"{node['seconds']:.2f}",
        f"{node['bytes']:,}",
        number(node["kbps"]),
        number(node["payload_kbps"]),
        f"{node['gain_db']:+.1f} dB" if "gain_db" in node else "",
        number(node["times_real_time"]),
    )


def _picture_row(name: str, node: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        name,
        f"{node['width']}×{node['height']}" if "width" in node else "",
        f"{node['bytes']:,}",
        number(node["bits_per_pixel"]),
        number(node["payload_bits_per_pixel"]),
    )


def _count(result: Mapping[str, Any]) -> int:
    return len(result["files"]) + len(result["failed"])
