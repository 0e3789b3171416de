"""From text to digits, and what a prior knows of codes: MNIST and CIFAR-10, measured.

For each set: a VQ tokenizer, a prior over its training codes, held-out bits per code beside
unigram and bigram counts, then samples judged against real images. Digits are asked for in
phrasings that no training prompt used; an independent classifier says which digit was drawn.

    python benchmarks/generation.py --data DATASETS --work DIR [--only mnist] [--write]

What WORK holds already (tokenizers, finished or interrupted priors) is used or continued.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from pellucid.run_folder import RunFolder
from results import write_section

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
HELD_OUT = (
    "a handwritten {}",
    "{}, drawn by hand",
    "scribble of a {} on a napkin",
    "could you write {} for me?",
    "my teacher's {}",
    "pencil sketch: {}",
    "what does {} look like",
    "{}, quickly jotted down",
)
CIFAR_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Case:
    """One set.

    Args:
        title: in the table.
        recipe: of the tokenizer.
        file: of the images, below the data folder.
        overrides: of the recipe.
        prior: keywords of `train_prior`.
        features: weights of a feature network below the data folder, or None.
        samples: how many are drawn and judged.
        drawing: keywords of `Drawing`.
    """

    title: str
    recipe: str
    file: str
    overrides: tuple[str, ...]
    prior: dict[str, Any]
    features: str | None
    samples: int
    drawing: dict[str, Any]


CASES = {
    "mnist": Case(
        title="MNIST, 4×4 tokens",
        recipe="mnist-vae",
        file="mnist/mnist_shared.npz",
        overrides=(
            "data.size=32", "data.resize=1.0", "bottleneck.kind=vq", "bottleneck.codes=512",
            "bottleneck.dim=16", "encoder.stride=8", "decoder.stride=8", "encoder.width=32",
            "decoder.width=32", "encoder.multipliers=[1,2,4]", "decoder.multipliers=[1,2,4]",
            "encoder.channels=64", "training.steps=1500", "training.learning_rate=2e-3",
        ),
        prior={"width": 128, "steps": 4500, "validate_every": 200, "learning_rate": 2e-3,
               "dropout": 0.15, "weight_decay": 0.1},
        features=None,
        samples=2560,
        drawing={"guidance": 1.3, "top_p": 0.92},
    ),
    "cifar": Case(
        title="CIFAR-10 (3,000 images), 8×8 tokens",
        recipe="cifar-vq",
        file="cifar10/cifar10_shared.npz",
        overrides=("training.steps=3000",),
        prior={"width": 128, "layers": 3, "steps": 1500, "validate_every": 100, "batch_size": 32,
               "learning_rate": 1e-3, "dropout": 0.3, "weight_decay": 0.1,
               "class_names": CIFAR_CLASSES},
        features="weights/resnet_cifar10/resnet20-12fca82f.npz",
        samples=2560,
        drawing={},
    ),
}  # fmt: skip


BITS = """\
`python benchmarks/generation.py --data DATASETS --work DIR --write`: VQ tokenizers of 512 codes, \
priors over the codes of their training splits, one seed each. Held-out bits per code (test split) \
beside what counting reaches; *below* is how far the prior that is told nothing lies under the \
unigram.

| codes | told class or prompt | told nothing | bigram | unigram | log₂K | below | n | prior |
|---|---:|---:|---:|---:|---:|---:|---:|---|"""
SAMPLES = f"""\
Samples: {CASES["mnist"].samples:,} digits from {len(HELD_OUT)} phrasings held out of training \
(“{HELD_OUT[0].format("seven")}”, “{HELD_OUT[1].format("7")}” …), guidance \
{CASES["mnist"].drawing["guidance"]}, top-p {CASES["mnist"].drawing["top_p"]} (settled after ten \
settings were tried); {CASES["cifar"].samples} CIFAR images by class. Distances \
are to the real training images, in 8 bits; *copies* are samples as near to a training image as \
1 % of the reconstructions of held-out images are.

| images | Fréchet | kernel | right class | precision | recall | copies |
|---|---:|---:|---:|---:|---:|---:|"""


def asked_for(case: Case, classes: tuple[str, ...]) -> tuple[list[str] | None, list[int]]:
    """Return prompts in held-out phrasings and the classes they mean, evenly mixed.

    Sets without numbers for names are asked by class.
    """
    from pellucid.priors.phrases import phrases_of_class

    labels = [number % len(classes) for number in range(case.samples)]
    if not all(name.isdecimal() for name in classes):
        return None, labels
    trained = {phrase.casefold() for name in classes for phrase in phrases_of_class(name)}
    prompts = []
    for number, label in enumerate(labels):
        round_ = number // len(classes)
        name = classes[label] if round_ // len(HELD_OUT) % 2 else WORDS[int(classes[label])]
        prompts.append(HELD_OUT[round_ % len(HELD_OUT)].format(name))
    assert not trained & {prompt.casefold() for prompt in prompts}, "a phrasing was trained on"
    return prompts, labels


def prepare(case: Case, data: Path, place: Path) -> dict[str, Any]:
    """Return prior.json of the case's prior, trained first where it is not there."""
    run = RunFolder(place)
    folder = run.prior("own")
    if not (folder / "prior.json").is_file():
        from pellucid.workflows.prior import train_prior
        from pellucid.workflows.train import train

        if not run.model.is_file():
            overrides = [*case.overrides, f"data.path={data / case.file}"]
            train(case.recipe, overrides=overrides, out=place, progress=False)
        train_prior(place, resume=(folder / "checkpoint").is_dir(), progress=False, **case.prior)
    return run.read_json(folder / "prior.json")


def judged_samples(case: Case, place: Path, data: Path) -> dict[str, Any]:
    """Return the judgement of the case's samples."""
    import torch

    from pellucid.priors import Drawing
    from pellucid.workflows.generate import Generator, judge_into

    generator = Generator.open(place, "own")
    prompts, labels = asked_for(case, generator.record.classes)
    asked = torch.tensor(labels)
    told = None if prompts is not None else asked
    condition = generator.conditions(case.samples, prompts=prompts, labels=told)
    drawing = Drawing(**case.drawing)
    _, images = generator.draw(condition, seed=0, drawing=drawing, progress=False)
    features = None if case.features is None else str(data / case.features)
    return judge_into(
        generator, images, asked, place / "benchmark", features=features, progress=False
    )


def bits_row(case: Case, record: dict[str, Any]) -> str:
    """Return a row of the table of bits per code."""
    held_out = record["results"]["held_out"]
    told, absent = held_out["conditional"], held_out["unconditional"]
    size = f"{record['results']['parameters'] / 1e6:.1f} M"
    cells = [
        case.title,
        f"{told:.2f}",
        f"**{absent:.2f}**",
        *(f"{held_out[key]:.2f}" for key in ("bigram", "unigram", "uniform")),
        f"{1 - absent / held_out['unigram']:.0%}",
        f"{held_out['codes']:,}",
        f"{size}, {record['results']['best_step']} steps",
    ]
    return f"| {' | '.join(cells)} |"


def judged_rows(case: Case, judgement: dict[str, Any]) -> list[str]:
    """Return the rows of what was measured of samples."""
    metrics = judgement["metrics"]

    def value(name: str, places: int = 3) -> str:
        node = metrics.get(name)
        return "–" if node is None else f"{node['value']:.{places}f}"

    rows = [
        f"| {case.title}: {subject} | {value(f'frechet_{key}')} | {value(f'kernel_{key}', 4)} "
        f"| {value(accuracy)} | {value('precision') if key == 'samples' else ''} "
        f"| {value('recall') if key == 'samples' else ''} "
        f"| {value('copies') if key == 'samples' else ''} |"
        for subject, key, accuracy in (
            ("samples", "samples", "conditional_accuracy"),
            ("reconstructions", "reconstructions", "accuracy_reconstructions"),
            ("held-out images", "real", "accuracy_real"),
        )
    ]
    rows.append(f"| *features of {judgement['network']}; classes by {judgement['classifier']}* |")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of mnist/ and cifar10/")
    parser.add_argument("--work", type=Path, required=True, help="where runs are kept")
    parser.add_argument("--only", choices=sorted(CASES), help="one set")
    parser.add_argument("--bits", action="store_true", help="measure no samples")
    parser.add_argument("--write", action="store_true", help="write benchmarks/RESULTS.md")
    arguments = parser.parse_args()
    names = [arguments.only] if arguments.only else list(CASES)
    bits, judged = [], []
    for name in names:
        case, place = CASES[name], arguments.work / f"{name}-vq"
        bits.append(bits_row(case, prepare(case, arguments.data, place)))
        print(bits[-1], flush=True)
        if not arguments.bits:
            judged += judged_rows(case, judged_samples(case, place, arguments.data))
            print(*judged[-4:], sep="\n", flush=True)
    if arguments.write:
        write_section("prior-bits", "## What a prior knows\n\n" + "\n".join([BITS, *bits]))
    if arguments.write and judged:
        write_section("generation", "## Generation\n\n" + "\n".join([SAMPLES, *judged]))


if __name__ == "__main__":
    main()
