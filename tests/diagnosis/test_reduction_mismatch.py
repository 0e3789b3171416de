"""What counts as a reduction: powers of the batch between that of a mean and that of a sum."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pellucid.diagnosis.probes.reductions import Reductions
from pellucid.diagnosis.rules.reduction_mismatch import examine
from pellucid.diagnosis.thresholds import thresholds


def judged(recon: float, penalty: float):
    """Examine two terms whose gradients grow with these powers of the batch."""
    ratios = tuple(n ** (recon - penalty) for n in (1, 2, 4))
    found = Reductions("l2", "commitment", {"l2": recon, "commitment": penalty}, None, ratios)
    case = SimpleNamespace(
        measure=lambda probe: found,
        threshold=thresholds().__getitem__,
        subject=SimpleNamespace(recipe=None),
    )
    return examine(case)  # type: ignore[arg-type]


@pytest.mark.parametrize(("recon", "penalty", "named"), [(1, 0, "l2"), (0, 1, "commitment")])
def test_a_sum_beside_a_mean_is_named(recon, penalty, named) -> None:
    finding = judged(recon, penalty)
    assert finding is not None
    assert finding.asserted
    assert finding.suggests["term"] == named


@pytest.mark.parametrize(("recon", "penalty"), [(0, 0), (1, 1), (-0.015, -2.18), (0.1, 2.5)])
def test_equal_reductions_and_codebooks_on_the_move_are_not(recon, penalty) -> None:
    finding = judged(recon, penalty)
    assert finding is None or not finding.asserted
