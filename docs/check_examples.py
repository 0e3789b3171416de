"""Check every example in README and docs: `python` blocks run, `py` blocks compile.

    python docs/check_examples.py

A `pellucid` line of a `bash` block is parsed by the real command line (unknown commands and
options fail); its recipe and overrides are built against the real signatures. Nothing is trained,
no data is opened.
"""

from __future__ import annotations

import itertools
import re
import shlex
import sys
import tempfile
import traceback
from contextlib import chdir
from pathlib import Path

import typer.main

from pellucid.build.assemble import build_autoencoder, build_objective
from pellucid.build.stacks import needs_settling, settled
from pellucid.cli.main import app
from pellucid.errors import PellucidError
from pellucid.recipe import apply_overrides, load_recipe, recipe_names

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def check_command(line: str) -> None:
    """Parse one `pellucid …` line; build what its recipe and overrides name."""
    words = shlex.split(line.split("#")[0].replace("…", ""))[1:]
    words = list(itertools.takewhile(lambda word: word not in {"<", ">", "|"}, words))
    words = [word for word in words if word != "--debug"]
    name = words[0]
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    if name not in commands:
        raise PellucidError(f"there is no command '{name}'", where=line)
    commands[name].make_context(name, words[1:])
    overrides = [word for word in words if "=" in word and not word.startswith("-")]
    for word in words[1:]:
        if name == "train" and word in recipe_names():
            recipe = apply_overrides(load_recipe(word), overrides)
            if needs_settling(recipe):
                recipe = settled(recipe, ["CD3", "CD20", "DNA"])
            build_autoencoder(recipe)
            build_objective(recipe)


def check_file(path: Path) -> list[str]:
    """Return what is wrong with the examples of one document."""
    failures = []
    text = path.read_text(encoding="utf-8")
    for match in BLOCK.finditer(text):
        language, body = match.groups()
        line_number = text[: match.start()].count("\n") + 2
        place = f"{path.relative_to(ROOT)}:{line_number}"
        try:
            if language == "python":
                with tempfile.TemporaryDirectory() as folder, chdir(folder):
                    exec(compile(body, place, "exec"), {"__name__": "__example__"})
            elif language == "py":  # needs the reader's own data
                compile(body, place, "exec")
            elif language in {"bash", "sh", "console"}:
                for line in body.splitlines():
                    if line.strip().startswith("pellucid "):
                        check_command(line.strip())
        except SystemExit as error:
            failures.append(f"{place}: exits with {error.code}")
        except Exception:
            failures.append(f"{place}:\n{traceback.format_exc(limit=3)}")
    return failures


def main() -> None:
    """Check README.md, CONTRIBUTING.md and docs/*.md; exit 1 when an example is wrong."""
    files = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
    failures = [failure for path in files if path.is_file() for failure in check_file(path)]
    for failure in failures:
        print(failure, file=sys.stderr)
    print(f"checked the examples of {len(files)} documents: {len(failures)} wrong")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
