"""`pellucid prior` and `pellucid generate`: a model over codes, and what it draws."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import typer

from pellucid.cli.app import app
from pellucid.cli.console import (
    JsonFlag,
    OutOption,
    QuietFlag,
    metric,
    number,
    out,
    print_json,
    table,
)
from pellucid.cli.judge import RunArgument
from pellucid.errors import RecipeError

CodebookOption = Annotated[
    str | None,
    typer.Option("--codebook", help="A codebook fitted to the run; else its own codes."),
]
_GIVEN = ("run", "codebook", "name", "resume", "overwrite", "progress")


@app.command()
def prior(
    run: RunArgument,
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="steps=4000, width=128, captions=FILE …"),
    ] = None,
    codebook: CodebookOption = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Of the prior; else the codebook's, or 'own'.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on exactly where training was interrupted.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a prior of that name.")
    ] = False,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Train a transformer over a run's codes, told classes and prompts, and measure it.

    Held-out bits per code stand beside what counting codes (unigram) and pairs of codes (bigram)
    reaches, and beside log₂K.

    Examples:

    [cyan]pellucid prior runs/mnist-vq-1[/]

    [cyan]pellucid prior runs/patch-vq-1 captions=captions.json steps=4000[/]

    [cyan]pellucid prior runs/mnist-vae-1 --codebook kmeans width=128[/]
    """
    from pellucid.build.construct import check_keywords
    from pellucid.workflows.prior import OWN, train_prior
    from pellucid.workflows.run import Run

    given = _settings(settings or [])
    keywords = check_keywords(train_prior, given, where="prior", given=dict.fromkeys(_GIVEN))
    opened = Run.open(run)
    record = train_prior(
        opened,
        codebook=codebook,
        name=name,
        resume=resume,
        overwrite=overwrite,
        progress=not quiet,
        **keywords,
    )
    folder = opened.folder.prior(name or codebook or OWN)
    if json:
        print_json({"prior": str(folder), **record})
        return
    print_bits(record["results"]["held_out"])
    out.print(f"prior: {folder}", soft_wrap=True)


def _settings(texts: Iterable[str]) -> dict[str, Any]:
    """Read settings as they are typed, key=value."""
    from pellucid.recipe.overrides import parse_override

    found: dict[str, Any] = {}
    for text in texts:
        keys, value = parse_override(text)
        if len(keys) != 1:
            raise RecipeError("a prior's settings have one name", expected="key=value", found=text)
        found[keys[0]] = value
    return found


def print_bits(held_out: Mapping[str, Any]) -> None:
    """Print what a prior reaches on held-out codes beside what counting does."""
    rows = [
        ("told class or prompt", held_out["conditional"]),
        ("told nothing", held_out["unconditional"]),
        ("bigram counts", held_out["bigram"]),
        ("unigram counts", held_out["unigram"]),
        ("log₂K", held_out["uniform"]),
    ]
    title = f"bits per code on {held_out['codes']:,} held-out codes"
    printed = [(name, number(bits)) for name, bits in rows if bits is not None]
    table(("prediction", "bits per code"), printed, title=title)


@app.command()
def generate(
    run: RunArgument,
    prompt: Annotated[
        str | None, typer.Argument(help="What to draw, in words of any language.")
    ] = None,
    class_name: Annotated[
        str | None, typer.Option("--class", help="Or a class of the data by name.")
    ] = None,
    n: Annotated[int | None, typer.Option("-n", help="How many; 64, or 2048 with --judge.")] = None,
    prior_name: Annotated[
        str | None, typer.Option("--prior", help="Which prior of the run; else 'own'.")
    ] = None,
    out_: OutOption = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the first sample.")] = 0,
    temperature: Annotated[
        float, typer.Option("--temperature", help="Below 1 safer, above 1 wilder; 0 likeliest.")
    ] = 1.0,
    top_k: Annotated[
        int | None, typer.Option("--top-k", help="Keep this many codes at every step.")
    ] = None,
    top_p: Annotated[
        float, typer.Option("--top-p", help="Keep the likeliest codes up to this probability.")
    ] = 1.0,
    guidance: Annotated[
        float, typer.Option("--guidance", help="How strongly to follow prompt or class; 1 plain.")
    ] = 1.0,
    judge: Annotated[
        bool, typer.Option("--judge", help="Measure the samples; alone, over every class.")
    ] = False,
    features: Annotated[
        str | None, typer.Option("--features", help="An .npz of a CIFAR ResNet to judge with.")
    ] = None,
    json: JsonFlag = False,
    quiet: QuietFlag = False,
) -> None:
    """Draw samples from a run's prior and decode them with its decoder.

    Examples:

    [cyan]pellucid generate runs/mnist-vq-1 "a handwritten seven" -n 64 -o sevens/[/]

    [cyan]pellucid generate runs/patch-vq-1 --class dress --guidance 2 --top-p 0.95[/]

    [cyan]pellucid generate runs/mnist-vq-1 --judge[/]
    """
    from pellucid.workflows.generate import generate as workflow

    result = workflow(
        run,
        prompt,
        class_name=class_name,
        n=n,
        prior=prior_name,
        out=out_,
        seed=seed,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        guidance=guidance,
        judge=judge,
        features=features,
        progress=not quiet,
    )
    if json:
        print_json(result)
        return
    if result["judgement"] is not None:
        print_judgement(result["judgement"])
    out.print(f"{len(result['samples'])} samples, decoded by {result['decoded_by']}")
    out.print(f"grid: {result['folder']}/{result['grid']}", soft_wrap=True)


def print_judgement(judgement: Mapping[str, Any]) -> None:
    """Print what was measured of generated samples, and what was refused."""
    rows = [(name, metric(node), node["n"]) for name, node in judgement["metrics"].items()]
    table(("metric", "value (95 %)", "n"), rows, title=f"features: {judgement['network']}")
    for name, why in judgement["refused"].items():
        out.print(f"[yellow]note[/] {name}: {why}", highlight=False)
