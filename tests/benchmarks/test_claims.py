"""The script behind docs/claims.md: its smallest story end to end, and how it judges and writes."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch

from pellucid.diagnosis.clock import Clock

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def benchmarks_on_path(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before, clock = torch.get_num_threads(), Clock.__init__.__defaults__
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
    Clock.__init__.__defaults__ = clock  # telling a story counts processor time
    for name in [n for n in sys.modules if n == "claims" or n.split(".")[0] == "stories"]:
        del sys.modules[name]


def test_the_smallest_story_is_told_end_to_end():
    import claims
    from stories.telling import Settings

    settings = Settings(seeds=(0, 1), effort=0.05, budget_seconds=4)
    story = claims.tell("posthoc", settings)
    text = claims.page([story], settings)
    names = [row[0] for row in story.tables[0].rows]
    assert names == ["Euclidean k-means", "geodesic k-medoids", "no quantisation"]
    for answer in story.answers:
        assert f"> {answer.verdict}" in text
    # the two "errors" that were compared differ by their units, whatever the codebooks
    euclid, geodesic, _ = story.tables[0].rows
    own_metric = float(euclid[1].split(" ")[0])
    other_metric = float(geodesic[2].split(" ")[0])
    assert own_metric > 10 * other_metric
    assert re.search(r"ahead by -?\d+\.\d\d ± \d+\.\d\d dB", text)
    assert f"**{sum(a.right for a in story.answers)} of {len(story.answers)}**" in text


def test_a_kept_story_is_read_back_as_it_was_told(tmp_path, monkeypatch):
    import claims
    from stories.telling import Answer, Settings, Story, Table

    table = Table(("a", "b"), (("1", "2"),))
    story = Story("ear", "t", "c", "th", "s", (table,), "r", (Answer("m", "v", ("blur",), ()),))
    monkeypatch.setattr(claims, "STORIES", {"ear": lambda settings: story})
    first = claims.told("ear", Settings(seeds=(0,)), tmp_path)
    monkeypatch.setattr(claims, "STORIES", {})
    assert claims.told("ear", Settings(seeds=(0,)), tmp_path) == first
    with pytest.raises(KeyError):  # other settings: told anew
        claims.told("ear", Settings(seeds=(1,)), tmp_path)


def test_an_answer_is_right_when_its_first_assertion_is_expected():
    from stories.telling import Answer

    def judged(asserted, expected, forbidden=()):
        return Answer("m", "v", asserted, expected, forbidden).right

    assert judged(("rate-starvation", "blur"), ("rate-starvation",))
    assert not judged(("blur", "rate-starvation"), ("rate-starvation",))
    assert not judged(("rate-starvation", "posterior-collapse"), ("rate-starvation",),
                      ("posterior-collapse",))  # fmt: skip
    assert judged((), ())
    assert judged(("under-training",), ())  # which is no fault
    assert not judged(("blur",), ())


def test_intervals_are_students():
    from stories.telling import interval

    # s = 1, t(2) = 4.303, half-width 4.303/√3
    assert interval([1.0, 2.0, 3.0]) == "2.00 ± 2.48"
    assert interval([1.5]) == "1.50"


def test_every_level_adds_one_gradient():
    from torch import nn

    from stories.nets import Quantised, gradient_norm

    x = torch.rand(16, 4, 8, generator=torch.Generator().manual_seed(0))
    norms = {}
    for path in ("once", "per level", "dead"):
        torch.manual_seed(0)
        encoder, decoder = nn.Conv1d(4, 4, 1), nn.Conv1d(4, 4, 1)
        model = Quantised(encoder, decoder, dim=4, codes=8, levels=3, path=path)
        model.start(x)
        norms[path] = gradient_norm(model.terms, x, encoder.parameters())
    assert norms["per level"] == pytest.approx(3 * norms["once"], rel=1e-4)
    assert norms["dead"] == 0.0
