"""The generation benchmark asks for digits in words that training never used."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from pellucid.priors.phrases import TEMPLATES, phrases_of_class

DIGITS = tuple(str(digit) for digit in range(10))


@pytest.fixture(autouse=True)
def benchmarks_on_path(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))


def test_phrasings_are_held_out_and_evenly_mixed():
    from generation import CASES, HELD_OUT, asked_for

    prompts, labels = asked_for(CASES["mnist"], DIGITS)
    assert prompts is not None
    trained = {phrase.casefold() for digit in DIGITS for phrase in phrases_of_class(digit)}
    assert not trained & {prompt.casefold() for prompt in prompts}
    assert not set(TEMPLATES) & set(HELD_OUT)
    assert set(Counter(labels).values()) == {CASES["mnist"].samples // 10}
    assert {"a handwritten seven", "7, drawn by hand"} <= set(prompts)


def test_classes_without_numbers_are_asked_for_by_class():
    from generation import CASES, asked_for

    prompts, labels = asked_for(CASES["cifar"], ("cat", "dog"))
    assert prompts is None
    assert labels[:4] == [0, 1, 0, 1]
