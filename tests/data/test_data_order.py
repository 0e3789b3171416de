"""Laws of the sampling order."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.data.order import EpochOrder
from pellucid.errors import DataError

sizes = st.tuples(
    st.integers(1, 40), st.integers(1, 5), st.integers(1, 4), st.integers(0, 9)
).filter(lambda case: case[0] >= case[1] * case[2])


def take(order: EpochOrder, count: int) -> list[list[tuple[int, int]]]:
    return list(itertools.islice(order, count))


@given(sizes, st.integers(0, 30))
@settings(max_examples=60, deadline=None)
def test_a_resumed_order_continues_the_uninterrupted_one(
    case: tuple[int, int, int, int], start: int
) -> None:
    n, batch, world, seed = case
    whole = take(EpochOrder(n, batch, seed, 0, world), start + 5)
    resumed = EpochOrder(n, batch, seed, 0, world, start_step=start)
    assert take(resumed, 5) == whole[start:]
    assert [resumed.batch(step) for step in range(start + 5)] == whole


@given(sizes)
@settings(max_examples=60, deadline=None)
def test_ranks_partition_the_global_batch_of_one_process(case: tuple[int, int, int, int]) -> None:
    n, batch, world, seed = case
    ranks = [take(EpochOrder(n, batch, seed, rank, world), 7) for rank in range(world)]
    alone = take(EpochOrder(n, batch * world, seed), 7)
    for step in range(7):
        together = [address for rank in ranks for address in rank[step]]
        assert sorted(together) == sorted(alone[step])
        assert len(set(together)) == batch * world


@given(sizes)
@settings(max_examples=60, deadline=None)
def test_an_epoch_sees_no_sample_twice_and_drops_less_than_a_batch(
    case: tuple[int, int, int, int],
) -> None:
    n, batch, world, seed = case
    order = EpochOrder(n, batch * world, seed)
    for epoch in range(3):
        steps = range(epoch * order.steps_per_epoch, (epoch + 1) * order.steps_per_epoch)
        seen = [address for step in steps for address in order.batch(step)]
        assert {epoch for _, epoch in seen} == {epoch}
        assert len({index for index, _ in seen}) == len(seen) > n - batch * world


def test_epochs_and_seeds_are_shuffled_differently() -> None:
    first, second = EpochOrder(100, 100, 0).batch(0), EpochOrder(100, 100, 0).batch(1)
    other = EpochOrder(100, 100, 1).batch(0)
    orders = [[index for index, _ in batch] for batch in (first, second, other)]
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert sorted(orders[0]) == sorted(orders[1]) == sorted(orders[2]) == list(range(100))


def test_it_has_no_length() -> None:
    with pytest.raises(TypeError):
        len(EpochOrder(10, 2, 0))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("n", "batch", "world", "hint"),
    [
        (10, 11, 1, "batch_size=10 fits"),
        (10, 4, 3, "batch_size=3 fits"),
        (2, 1, 3, "3 processes are too many for 2 samples"),
    ],
)
def test_a_batch_larger_than_the_set_names_the_nearest_that_fits(
    n: int, batch: int, world: int, hint: str
) -> None:
    with pytest.raises(DataError, match="the batch is larger than the training set") as caught:
        EpochOrder(n, batch, 0, 0, world)
    assert hint in str(caught.value)
    assert f"{batch} × {world} = {batch * world}" in str(caught.value)


@pytest.mark.parametrize("case", [(10, 0, 0, 0, 1), (10, 1, 0, 1, 1), (10, 1, -1, 0, 1)])
def test_numbers_without_meaning_are_refused(case: tuple[int, int, int, int, int]) -> None:
    with pytest.raises(DataError, match="a sampling order needs other numbers"):
        EpochOrder(*case)
