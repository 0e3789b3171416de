"""What training calls an image: phrases made from its class name, or its captions in a file."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from pellucid.errors import DataError, nearest

TEMPLATES = (
    "{}",
    "a {}",
    "one {}",
    "the {}",
    "{}, please",
    "draw {}",
    "draw a {}",
    "show me a {}",
    "this is a {}",
    "a photo of a {}",
    "a small picture of a {}",
    "an image of {}",
    "an example of the {}",
    "some kind of {}",
    "generate one {} for me",
    "i would like to see a {}",
    "something that looks like a {}",
    "a {} in the middle",
    "a single {}, nothing else",
    "{} on a plain background",
    "{} as seen by a camera",
    "just another {}",
    "class {}",
    "{} (from the data set)",
)
NUMBER_TEMPLATES = (
    "digit {}",
    "the digit {}",
    "number {}",
    "the number {} in ink",
    "write the figure {}",
    "a scanned {}",
    "a {} that somebody wrote",
    "the numeral {} on paper",
)
_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


@dataclasses.dataclass(frozen=True)
class Phrases:
    """Distinct prompts and which of them may stand for each sample.

    Args:
        prompts: every phrase once.
        choices: for each sample the numbers of its phrases, at least one.
    """

    prompts: tuple[str, ...]
    choices: tuple[tuple[int, ...], ...]


def phrases_of_class(name: str) -> list[str]:
    """Return every phrase for a class, e.g. "a photo of a shirt"; numbers also as words."""
    spoken = name.replace("_", " ").replace("-", " ").strip()
    names, templates = [spoken], TEMPLATES
    if spoken.isdecimal() and int(spoken) < len(_WORDS):
        names, templates = [spoken, _WORDS[int(spoken)]], (*TEMPLATES, *NUMBER_TEMPLATES)
    elif spoken != name:
        names.append(name)
    return [template.format(n) for template in templates for n in names]


def phrases_from_classes(classes: Sequence[str], labels: Sequence[int]) -> Phrases:
    """Let every sample be called by any phrase for its class."""
    of_class = [phrases_of_class(name) for name in classes]
    numbers: dict[str, int] = {}
    for phrase in (phrase for phrases in of_class for phrase in phrases):
        numbers.setdefault(phrase, len(numbers))
    chosen = [tuple(numbers[phrase] for phrase in phrases) for phrases in of_class]
    return Phrases(tuple(numbers), tuple(chosen[label] for label in labels))


def phrases_from_captions(captions: Mapping[str, Sequence[str]], names: Sequence[str]) -> Phrases:
    """Give every sample the captions of its file.

    Args:
        captions: file name → one or more captions.
        names: the file name of every sample.

    Raises:
        DataError: when a sample has none; says how many and the nearest name in the file.
    """
    missing = sorted({name for name in names if not captions.get(name)})
    if missing:
        close = nearest(missing[0], captions)
        raise DataError(
            f"{len(missing)} of {len(set(names))} files have no caption",
            found=f"none for {missing[0]}",
            expected="file names as the data names them, relative to data.path",
            hint=f"the captions have '{close}'" if close else None,
        )
    numbers: dict[str, int] = {}
    for name in names:
        for text in captions[name]:
            numbers.setdefault(text, len(numbers))
    return Phrases(
        tuple(numbers), tuple(tuple(numbers[t] for t in captions[name]) for name in names)
    )


def read_captions(path: str | Path) -> dict[str, list[str]]:
    """Read file → captions from JSON (`{"a.jpg": "text"}` or lists) or CSV (file, text).

    Raises:
        DataError: when it cannot be read or is of another form.
    """
    place = Path(path)
    try:
        text = place.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError("cannot read the captions", where=place, found=error) from error
    found = _from_json(text, place) if place.suffix.lower() == ".json" else _from_csv(text, place)
    captions = {name: [t for t in texts if t.strip()] for name, texts in found.items()}
    if not any(captions.values()):
        raise DataError("this file has no captions", where=place)
    return captions


def _from_json(text: str, place: Path) -> dict[str, list[str]]:
    try:
        node = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError("these captions are not JSON", where=place, found=error) from error
    if isinstance(node, dict):
        lists = {name: [v] if isinstance(v, str) else v for name, v in node.items()}
        if all(isinstance(v, list) and all(isinstance(t, str) for t in v) for v in lists.values()):
            return lists
    raise DataError(
        "captions in JSON map file names to texts",
        where=place,
        expected='{"a.jpg": "a red dress", "b.jpg": ["a hat", "a straw hat"]}',
    )


def _from_csv(text: str, place: Path) -> dict[str, list[str]]:
    rows = [row for row in csv.reader(text.splitlines()) if row]
    short = next((row for row in rows if len(row) < 2), None)
    if short is not None:
        raise DataError(
            "captions in CSV have two columns", where=place, expected="file,text", found=short
        )
    if rows and rows[0][0].strip().lower() in ("file", "name", "path", "image"):
        rows = rows[1:]
    captions: dict[str, list[str]] = {}
    for row in rows:
        captions.setdefault(row[0].strip(), []).append(row[1].strip())
    return captions


def find_class(name: str, classes: Sequence[str]) -> int:
    """Return the number of a class by its name, "7" and "seven" alike.

    Raises:
        DataError: when there is none, with the nearest name.
    """
    wanted = name.strip().casefold()
    for number, known in enumerate(classes):
        spoken = known.strip().casefold()
        word = _WORDS[int(spoken)] if spoken.isdecimal() and int(spoken) < len(_WORDS) else spoken
        if wanted in (spoken, word, spoken.replace("_", " ").replace("-", " ")):
            return number
    close = nearest(name, classes)
    raise DataError(
        f"unknown class '{name}'",
        expected=f"one of: {', '.join(classes)}",
        hint=f"did you mean '{close}'?" if close else None,
    )
