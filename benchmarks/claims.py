"""Tell the five stories again, in the small: what was claimed, predicted, measured, diagnosed.

    python benchmarks/claims.py                 print
    python benchmarks/claims.py --write         write docs/claims.md
    python benchmarks/claims.py --only ear      one story
    python benchmarks/claims.py --keep FOLDER   keep told stories there, and tell only the others

No number in the page is typed by hand. Seeds are fixed; about ten minutes of one quiet core.
Diagnoses are given seconds of processor time, so that a busy machine changes no verdict.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import platform
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch

from pellucid.diagnosis.clock import Clock
from stories import codec, ear, patch, posthoc, tissue
from stories.telling import Answer, Settings, Story, Table, read_story

PAGE = Path(__file__).parents[1] / "docs" / "claims.md"
STORIES = {
    "ear": ear.tell,
    "tissue": tissue.tell,
    "codec": codec.tell,
    "patch": patch.tell,
    "posthoc": posthoc.tell,
}


def main() -> None:
    """Parse, tell, print or write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", choices=sorted(STORIES), help="one story")
    parser.add_argument("--write", action="store_true", help="into docs/claims.md")
    parser.add_argument("--effort", type=float, default=1.0, help="multiplies training steps")
    parser.add_argument("--seeds", type=int, default=3, help="how many")
    parser.add_argument("--jobs", type=int, default=1, help="stories told at a time")
    parser.add_argument("--keep", type=Path, help="a folder of told stories, to stop and go on")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each diagnosis")
    arguments = parser.parse_args()
    settings = Settings(
        seeds=tuple(range(arguments.seeds)),
        effort=arguments.effort,
        budget_seconds=arguments.seconds,
    )
    names = [arguments.only] if arguments.only else list(STORIES)
    if arguments.write and arguments.only:
        parser.error("--write tells all stories: one alone would leave the page in two ages")
    with ProcessPoolExecutor(max_workers=arguments.jobs, mp_context=get_context("spawn")) as pool:
        stories = list(pool.map(told, names, [settings] * len(names), [arguments.keep] * 5))
    print("\n".join(section(story) for story in stories))
    if arguments.write:
        PAGE.write_text(page(stories, settings), encoding="utf-8")
        print(f"wrote {PAGE}")


def told(name: str, settings: Settings, folder: Path | None) -> Story:
    """Return a story kept in the folder under the same settings, else tell and keep it."""
    if folder is None:
        return tell(name, settings)
    path = folder / f"{name}.json"
    mark = dataclasses.asdict(settings)
    if path.is_file():
        node = json.loads(path.read_text(encoding="utf-8"))
        if node["settings"] == json.loads(json.dumps(mark)):
            return read_story(node["story"])
    story = tell(name, settings)
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"settings": mark, "story": dataclasses.asdict(story)}, ensure_ascii=False)
    path.write_text(text, encoding="utf-8")
    return story


def tell(name: str, settings: Settings) -> Story:
    """Tell one story on one thread, so that a neighbour changes no number."""
    torch.set_num_threads(1)
    Clock.__init__.__defaults__ = (time.process_time,)
    started = time.process_time()
    story = STORIES[name](settings)
    seconds = time.process_time() - started
    print(f"told {name} in {seconds:.0f} s", file=sys.stderr, flush=True)
    return dataclasses.replace(story, seconds=seconds)


def page(stories: list[Story], settings: Settings) -> str:
    """Return docs/claims.md."""
    answers = [a for story in stories for a in story.answers]
    right = sum(a.right for a in answers)
    head = (
        "# Claims, measured again\n\n"
        "Five systems, five explanations that were wrong, each told again in the small: what was "
        "claimed, what theory predicts, what was measured, and what `pellucid.diagnose` says. "
        "Everything below is written by `python benchmarks/claims.py --write` "
        f"({sum(s.seconds for s in stories) / 60:.0f} minutes of one core; torch "
        f"{torch.__version__}, Python {platform.python_version()}); "
        "intervals are 95 % of the mean over "
        f"{len(settings.seeds)} seeds, and every score is on held-out samples.\n\n"
        f"`diagnose` named the expected cause first for **{right} of {len(answers)}** models; "
        "those it did not are marked.\n"
    )
    return head + "\n" + "\n".join(section(story) for story in stories)


def section(story: Story) -> str:
    """Return one story in Markdown."""
    tables = "\n\n".join(_table(t) for t in story.tables)
    said = "\n".join(_answer(a) for a in story.answers)
    return (
        f"## {story.title}\n\n"
        f"**Claimed.** {story.claim}\n\n"
        f"**Theory.** {story.theory}\n\n"
        f"**Measured.** {story.setting}\n\n{tables}\n\n{story.reading}\n\n"
        f"**`diagnose` says**\n\n{said}\n"
    )


def _table(table: Table) -> str:
    rule = "|".join(["---", *("--:" for _ in table.columns[1:])])
    lines = ["| " + " | ".join(row) + " |" for row in (table.columns, *table.rows)]
    return "\n".join([lines[0], f"|{rule}|", *lines[1:]])


def _answer(answer: Answer) -> str:
    """Return a verdict verbatim, marked where it is not the expected one."""
    lines = [f"- {answer.model}:", f"  > {answer.verdict}"]
    if not answer.right:
        wanted = " or ".join(f"`{name}`" for name in answer.expected) or "nothing asserted"
        lines += ["", f"  **Not as expected**: {wanted}."]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
