"""The container: round trips for any codes, refusal of everything else, in bounded time."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.bitstream import ContextTables, Stream, fingerprint, pack, unpack
from pellucid.bitstream.contexts import TOTAL
from pellucid.bitstream.entropy import decode_codes, encode_codes
from pellucid.bitstream.packing import pack_bits, unpack_bits
from pellucid.errors import BitstreamError

MODEL = bytes(range(8))


def chain(positions: int, levels: int, codes: int, seed: int) -> np.ndarray:
    """Codes in which every code is likely to be followed by its neighbour."""
    rng = np.random.default_rng(seed)
    steps = rng.geometric(0.5, size=(positions, levels)) - 1
    return (np.cumsum(steps, axis=0) + rng.integers(codes)) % codes


@pytest.fixture(scope="module")
def tables() -> ContextTables:
    return ContextTables.fit([chain(400, 3, 20, seed) for seed in range(8)], codes=20, groups=20)


def audio(codes_PL: np.ndarray, k: int) -> Stream:
    return Stream("audio", (1, 40 * len(codes_PL)), codes_PL, k, MODEL, 16000, -12.34)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_codes_come_back(data: st.DataObject) -> None:
    k = data.draw(st.integers(2, 3000))
    kind = data.draw(st.sampled_from(["audio", "image"]))
    axes = 1 if kind == "audio" else 2
    shape = data.draw(st.tuples(*[st.integers(1, 6)] * axes, st.integers(1, 9)))
    codes = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, k, shape)
    gain = data.draw(st.floats(-300, 300))
    size = (3, *[8 * n for n in shape[:-1]])
    stream = Stream(kind, size, codes, k, MODEL, 8000 if kind == "audio" else 0, gain)
    read = unpack(pack(stream), model=MODEL)
    assert (read.codes == codes).all()
    assert (read.kind, read.shape, read.codebook_size, read.model) == (kind, size, k, MODEL)
    assert read.sample_rate == stream.sample_rate
    assert abs(read.gain_db - gain) <= 0.005 + 1e-9


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 5000), st.integers(0, 40), st.integers(0, 1000))
def test_packed_bits_are_as_short_as_they_can_be(k: int, count: int, seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, k, count)
    payload = pack_bits(values, k)
    assert len(payload) == -(-count * max(1, int(np.ceil(np.log2(k)))) // 8)
    assert (unpack_bits(payload, count, k) == values).all()


def test_entropy_coding_reaches_the_cost_the_tables_promise(tables: ContextTables) -> None:
    codes = chain(500, 3, 20, seed=99)
    payload = encode_codes(codes, tables)
    assert (decode_codes(payload, 500, 3, tables) == codes).all()
    assert 8 * len(payload) <= tables.cost_bits(codes) * 1.01 + 64
    assert len(payload) < 0.6 * len(pack_bits(codes.reshape(-1), 20))


def test_codes_the_tables_never_saw_still_come_back(tables: ContextTables) -> None:
    codes = np.random.default_rng(5).integers(0, 20, (50, 2))
    stream = audio(codes, 20)
    assert (unpack(pack(stream, tables), tables).codes == codes).all()
    assert len(pack(stream, tables)) <= len(pack(stream))  # never longer than packed


def test_table_rows_are_positive_integers_that_sum_to_a_whole(tables: ContextTables) -> None:
    assert (tables.frequencies_LGK.sum(-1, dtype=np.int64) == TOTAL).all()
    assert tables.frequencies_LGK.min() >= 1
    again = ContextTables.from_arrays(tables.to_arrays())
    assert again.cost_bits(chain(30, 3, 20, 1)) == tables.cost_bits(chain(30, 3, 20, 1))


def test_the_container_costs_at_most_forty_bytes() -> None:
    codes = np.random.default_rng(0).integers(0, 1024, (50 * 3600, 8))  # an hour at 50 Hz
    hour = Stream("audio", (1, 16000 * 3600), codes, 1024, MODEL, 16000, 3.0)
    assert len(pack(hour)) - codes.size * 10 // 8 <= 40


@pytest.mark.parametrize("entropy", [False, True])
def test_every_cut_and_every_flipped_bit_is_refused(tables: ContextTables, entropy: bool) -> None:
    data = pack(audio(chain(12, 3, 20, 3), 20), tables if entropy else None)
    for end in range(len(data)):
        with pytest.raises(BitstreamError):
            unpack(data[:end], tables)
    for bit in range(8 * len(data)):
        broken = bytearray(data)
        broken[bit // 8] ^= 1 << bit % 8
        with pytest.raises(BitstreamError):
            unpack(bytes(broken), tables)


@pytest.mark.parametrize("entropy", [False, True])
def test_mutations_with_a_valid_checksum_end_in_codes_or_a_clear_error(
    tables: ContextTables, entropy: bool
) -> None:
    data = pack(audio(chain(12, 3, 20, 3), 20), tables if entropy else None)
    rng = np.random.default_rng(0)
    outcomes = {"read": 0, "refused": 0}
    for _ in range(3000):
        broken = bytearray(data[:-4])
        for _ in range(int(rng.integers(1, 4))):
            broken[int(rng.integers(len(broken)))] = int(rng.integers(256))
        signed = bytes(broken) + zlib.crc32(bytes(broken)).to_bytes(4, "little")
        try:
            read = unpack(signed, tables, largest=2**20)
        except BitstreamError:
            outcomes["refused"] += 1
        else:
            assert read.codes.min() >= 0
            assert read.codes.max() < read.codebook_size
            outcomes["read"] += 1
    assert min(outcomes.values()) > 0


def test_a_promise_beyond_the_payload_is_refused_before_memory_is_asked_for(
    tables: ContextTables,
) -> None:
    huge = Stream("audio", (1, 2**30), np.zeros((1, 1), np.int64), 20, MODEL, 16000)
    with pytest.raises(BitstreamError, match="absurdly"):
        unpack(pack(huge))
    payload = encode_codes(np.zeros((2, 1), np.int64), tables)
    with pytest.raises(BitstreamError, match="cannot hold"):
        decode_codes(payload, 10**9, 1, tables)


def test_another_model_is_named(tables: ContextTables) -> None:
    with pytest.raises(BitstreamError, match="another model"):
        unpack(pack(audio(chain(4, 1, 20, 0), 20)), model=bytes(8))
    coded = pack(audio(chain(400, 3, 20, 0), 20), tables)
    with pytest.raises(BitstreamError, match="tables"):
        unpack(coded)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"codes": np.full((3, 1), 20)}, "out of range"),
        ({"codes": np.zeros((3, 1))}, "integers"),
        ({"codes": np.zeros((0, 1), np.int64)}, "integers"),
        ({"shape": (1, 2, 3)}, "do not fit"),
        ({"sample_rate": 0}, "sample rate"),
        ({"gain_db": 1e3}, "gain"),
        ({"gain_db": float("nan")}, "gain"),
    ],
)
def test_what_could_not_be_read_is_not_written(change: dict, message: str) -> None:
    good = {
        "kind": "audio",
        "shape": (1, 9),
        "codes": np.zeros((3, 1), np.int64),
        "codebook_size": 20,
        "model": MODEL,
        "sample_rate": 16000,
    }
    with pytest.raises(BitstreamError, match=message):
        pack(Stream(**{**good, **change}))


def test_a_fingerprint_sees_values_names_and_types_but_not_order() -> None:
    state = {"a": torch.arange(3.0), "b": torch.zeros(2, 2)}
    same = fingerprint({"b": torch.zeros(2, 2), "a": torch.arange(3.0)})
    assert fingerprint(state) == same
    for other in (
        {**state, "a": torch.arange(3.0) + 1e-7},
        {"a": state["a"], "c": state["b"]},
        {**state, "b": torch.zeros(4)},
        {**state, "a": torch.arange(3.0).double()},
        {**state, "b": torch.zeros(2, 2).half()},
    ):
        assert fingerprint(other) != fingerprint(state)
