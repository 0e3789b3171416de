"""The folder a run leaves: every file name in one place.

recipe.yaml            everything that was asked for
run.json               state, environment, which weights were kept
start.json             whose weights it started from; runs of `train --from` only
data.json              the data report (count, sizes, skipped files …)
splits.json            which file or group went where
metrics.jsonl          one line per logged step
model.safetensors      the weights to use
postfilter.json        what the filter behind the decoder costs and buys; where there is one
normaliser.safetensors  what was fitted between values and model; stacks only
code_tables.safetensors  what codes usually follow what, for entropy coding; models with codes only
checkpoints/           last/ and best/: full training state
evaluation.json        held-out numbers, references
reconstructions/       PNGs or WAVs, and index.json
landmarks/             what a probe finds with few labels: index.json and pictures
latent_space/          what lies in the latent space: index.json and pictures
diagnosis.json         findings
treatment.json         what was changed against which finding, and what it won
report.html            the page
treatment.html         before and after, in a treated run
sharpened.html         before and after, in a run that got a filter behind its decoder
latents/               means, log-variances, samples, labels per split (.npy), and latents.json
codebooks/NAME/        a codebook fitted afterwards: vectors, codes of every split, scores
codebooks.html         the codebooks of the run side by side
priors/NAME/           a model over codes: weights, prior.json with its held-out bits
judge/                 the classifier that judges samples where none is supplied
generated/             samples of a prior, samples.json, judgement.json
pipeline.json          which stages of a pipeline finished, with which inputs
pipeline.html          its page
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pellucid.atomic_files import write_atomically
from pellucid.errors import RunError

VERSION = 1


class RunFolder:
    """Know the names inside one run folder; read and write its small files.

    Args:
        path: the folder; it need not exist yet.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """Open an existing run.

        Raises:
            RunError: when `path` is not a run folder.
        """
        folder = cls(path)
        if not folder.path.is_dir():
            raise RunError("no such run folder", where=folder.path, hint="see `pellucid train`")
        if not folder.recipe.is_file():
            raise RunError(
                "this folder is not a run", where=folder.path, expected="a recipe.yaml inside it"
            )
        return folder

    @property
    def recipe(self) -> Path:
        return self.path / "recipe.yaml"

    @property
    def run(self) -> Path:
        return self.path / "run.json"

    @property
    def start(self) -> Path:
        return self.path / "start.json"

    @property
    def data(self) -> Path:
        return self.path / "data.json"

    @property
    def splits(self) -> Path:
        return self.path / "splits.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def model(self) -> Path:
        return self.path / "model.safetensors"

    @property
    def code_tables(self) -> Path:
        return self.path / "code_tables.safetensors"

    @property
    def postfilter(self) -> Path:
        return self.path / "postfilter.json"

    @property
    def sharpened_page(self) -> Path:
        return self.path / "sharpened.html"

    @property
    def normaliser(self) -> Path:
        return self.path / "normaliser.safetensors"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def evaluation(self) -> Path:
        return self.path / "evaluation.json"

    @property
    def reconstructions(self) -> Path:
        return self.path / "reconstructions"

    @property
    def landmarks(self) -> Path:
        return self.path / "landmarks"

    @property
    def latent_space(self) -> Path:
        return self.path / "latent_space"

    @property
    def diagnosis(self) -> Path:
        return self.path / "diagnosis.json"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def treatment(self) -> Path:
        return self.path / "treatment.json"

    @property
    def treatment_page(self) -> Path:
        return self.path / "treatment.html"

    @property
    def latents(self) -> Path:
        return self.path / "latents"

    @property
    def codebooks(self) -> Path:
        return self.path / "codebooks"

    @property
    def codebooks_page(self) -> Path:
        return self.path / "codebooks.html"

    @property
    def priors(self) -> Path:
        return self.path / "priors"

    def prior(self, name: str) -> Path:
        """Return the folder of one prior over the run's codes."""
        return self.priors / name

    @property
    def judge(self) -> Path:
        return self.path / "judge"

    @property
    def generated(self) -> Path:
        return self.path / "generated"

    @property
    def pipeline(self) -> Path:
        return self.path / "pipeline.json"

    @property
    def pipeline_page(self) -> Path:
        return self.path / "pipeline.html"

    def codebook(self, name: str) -> Path:
        """Return the folder of one codebook that was fitted afterwards."""
        return self.codebooks / name

    def write_json(self, path: Path, node: Mapping[str, Any]) -> None:
        """Write a versioned JSON file atomically; NaN and infinities become null.

        Raises:
            RunError: when it cannot be written.
        """
        text = json.dumps({"version": VERSION, **_finite(node)}, indent=2, allow_nan=False)
        write_atomically(path, (text + "\n").encode())

    def read_json(self, path: Path) -> dict[str, Any]:
        """Read what `write_json` wrote.

        Raises:
            RunError: when the file is missing, not JSON, or of another version.
        """
        try:
            node = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise RunError(f"this run has no {path.name}", where=self.path) from error
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise RunError(f"cannot read {path.name}", where=path, found=error) from error
        if not isinstance(node, dict) or node.get("version") != VERSION:
            found = node.get("version") if isinstance(node, dict) else type(node).__name__
            raise RunError(
                f"{path.name} has another format", where=path, expected=VERSION, found=found
            )
        return node

    def append_metrics(self, line: Mapping[str, Any]) -> None:
        """Append one line `{"step", "split", "epoch", "seconds", "values"}` to metrics.jsonl.

        Raises:
            RunError: when it cannot be written.
        """
        try:
            with self.metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps(_finite(line), allow_nan=False) + "\n")
        except OSError as error:
            raise RunError("cannot write metrics.jsonl", where=self.path, found=error) from error

    def read_metrics(self) -> Iterator[dict[str, Any]]:
        """Yield the logged lines; an unfinished last line (a kill in mid-write) is left out."""
        if not self.metrics.is_file():
            return
        with self.metrics.open(encoding="utf-8") as file:
            for line in file:
                if line.endswith("\n"):
                    yield json.loads(line)

    def truncate_metrics(self, step: int) -> None:
        """Drop the lines after optimiser step `step`, which a resumed run logs again."""
        kept = [json.dumps(line) + "\n" for line in self.read_metrics() if line["step"] <= step]
        if self.metrics.is_file():
            write_atomically(self.metrics, "".join(kept).encode())


def _finite(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {str(key): _finite(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_finite(value) for value in node]
    if isinstance(node, float) and not math.isfinite(node):
        return None
    return node
