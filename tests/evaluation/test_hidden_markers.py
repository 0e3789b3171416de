"""R² of markers that the model does not see, in closed form."""

import pytest
import torch

from pellucid.evaluation.hidden_markers import hidden_marker_r2


def batches(answer, count=3):
    for seed in range(count):
        x = torch.randn(40, 3, 2, generator=torch.Generator().manual_seed(seed))
        x[:, 1] = x[:, 0]
        yield x, x, answer


def test_a_marker_that_others_tell_is_known_and_one_alone_is_not():
    def twins(x):
        known = x.clone()
        known[:, 0], known[:, 1] = x[:, 1], x[:, 0]
        return known

    found = hidden_marker_r2(batches(twins), [0, 1, 2])
    assert found[0] == pytest.approx(1)
    assert found[1] == pytest.approx(1)
    assert found[2] == pytest.approx(0, abs=0.02)  # answered by the mean, which is 0


def test_a_model_that_copies_knows_nothing_of_what_it_is_not_shown():
    found = hidden_marker_r2(batches(lambda x: x), [0, 2])
    assert list(found) == [0, 2]
    assert all(value == pytest.approx(0, abs=0.02) for value in found.values())


def test_a_wrong_answer_is_worse_than_the_mean():
    assert hidden_marker_r2(batches(lambda x: x + 3.0), [0])[0] < -5
