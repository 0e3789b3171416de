"""permutation-variance: found where latents see what they should not, silent where they do not.

Shape letters: B batch, C channels, H height, W width.
"""

import pytest
import torch

from pellucid.diagnosis import Subject
from pellucid.diagnosis.case import build_case
from pellucid.diagnosis.clock import Clock
from pellucid.diagnosis.rules import permutation_variance
from pellucid.diagnosis.samples import Samples
from pellucid.errors import PellucidError
from pellucid.functional.symmetries import moves, shuffled
from pellucid.nn.permuters import Dihedral, Learned
from pellucid.records import Latent

TURNS = tuple(move for _, move, _ in moves("dihedral", 2))


def tiles(count=48):
    return torch.rand(count, 2, 4, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1


def pixels(x):
    return Latent(mean=x.flatten(1))


def back(z):
    return z.unflatten(1, (2, 4, 4))


def finding(subject):
    train, held = (Samples(x, None, "samples") for x in (tiles(64), tiles()))
    with torch.no_grad():
        case = build_case(subject, train, held, Clock(60), None)
        if permutation_variance.missing(case) is not None:
            return None
        return permutation_variance.examine(case)


def test_latents_that_see_orientation_are_found():
    found = finding(Subject(pixels, back, value_range=(-1, 1), symmetries=TURNS))
    assert found.asserted
    moved = found.evidence[0].value
    assert 1 < moved < 1.6  # independent pixels: √2, fixed points aside
    assert "exact assignment" in found.treatment


def test_latents_in_canonical_order_are_not():
    torch.manual_seed(0)
    permuter = Dihedral(channels=2, side=2).eval()
    subject = Subject(lambda x: pixels(permuter(x).x), back, value_range=(-1, 1), symmetries=TURNS)
    assert finding(subject) is None


def test_orders_of_nodes_are_a_symmetry_too():
    orders = tuple(move for _, move, _ in moves("nodes", 2))
    blind = Subject(
        lambda x: Latent(mean=x.mean((2, 3))),
        lambda z: z[:, :, None, None].expand(-1, -1, 4, 4),
        value_range=(-1, 1),
        symmetries=orders,
    )
    assert finding(blind) is None
    assert finding(Subject(pixels, back, value_range=(-1, 1), symmetries=orders)).asserted


@pytest.mark.parametrize(("temperature", "sick"), [(5.0, True), (1e-4, False)])
def test_a_permuter_that_has_not_decided_is_found(temperature, sick):
    torch.manual_seed(0)
    permuter = Learned(
        channels=2, side=2, temperature=temperature, final_temperature=temperature, anneal_steps=0
    ).eval()

    def through(x, soft):
        permuter.soft = soft
        arranged = permuter(x)
        permuter.soft = False
        # a decoder that only ever saw soft mixtures answers them well, and hard ones badly
        error = 0.0 if soft else 0.7
        return permuter.restore((1 - error) * arranged.x, arranged.pose) if not soft else x

    subject = Subject(
        pixels,
        back,
        forward=lambda x: through(x, soft=not sick),
        value_range=(-1, 1),
        permuter=permuter.soft_weights,
        soft_forward=lambda x: through(x, soft=True),
    )
    found = finding(subject)
    assert (found is not None and found.asserted) == sick
    if sick:
        assert "has not decided" in found.summary
        assert {"0, rounding aside"}.isdisjoint(e.healthy for e in found.evidence)


def test_without_a_declared_symmetry_the_row_says_what_would_open_it():
    assert finding(Subject(pixels, back, value_range=(-1, 1))) is None
    train = Samples(tiles(64), None, "samples")
    case = build_case(Subject(pixels, back, value_range=(-1, 1)), train, None, Clock(60), None)
    assert "Subject.symmetries" in permutation_variance.missing(case)
    with pytest.raises(PellucidError, match=r"symmetries\[0\]"):
        Subject(pixels, back, symmetries=("turn",))


def test_moves_undo_themselves():
    x = torch.rand(2, 3, 6, 6)
    for group in ("dihedral", "nodes"):
        for _, move, undo in moves(group, 3):
            assert not torch.equal(move(x), x)
            assert torch.equal(undo(move(x)), x)
    order = torch.randperm(9)
    assert torch.equal(shuffled(shuffled(x, order), order.argsort()), x)
