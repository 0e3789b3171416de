"""Five hundred damaged streams of the benchmark: no crash, and each is quick."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks import bitstream_fuzz
from pellucid.errors import BitstreamError


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_damaged_streams_are_refused_or_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bitstream_fuzz, "SIGNED_SHARE", 0.5)
    tally = bitstream_fuzz.fuzz(500, seed=1)
    assert not tally.crashes, tally.crashes[0]
    assert sum(tally.outcomes.values()) == 500
    assert len(tally.signed) >= 8  # many checks behind the checksum were met
    assert tally.signed["decoded"] > 0
    assert tally.slowest < 2
    assert tally.rise_mb < 300


def test_valid_streams_decode_and_signing_again_changes_nothing() -> None:
    for target in bitstream_fuzz.forms():
        for data, sections in zip(target.streams, target.sections, strict=True):
            assert bitstream_fuzz.signed(data, sections) == data, target.name
            target.decode(data)
            with pytest.raises(BitstreamError):
                target.decode(data[:-1])


def test_a_crash_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(data: bytes) -> None:
        raise IndexError("out of bounds")

    target = bitstream_fuzz.Target("broken", [bytes(30)], [[30]], crash)
    monkeypatch.setattr(bitstream_fuzz, "forms", lambda: [target])
    tally = bitstream_fuzz.fuzz(3)
    assert len(tally.crashes) == 3
    assert "IndexError" in tally.crashes[0]


def test_mutation_changes_almost_every_stream() -> None:
    rng = np.random.default_rng(0)
    data = rng.bytes(60)
    assert sum(bitstream_fuzz.mutated(data, rng) == data for _ in range(200)) < 10
