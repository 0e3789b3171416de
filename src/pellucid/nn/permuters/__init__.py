"""Permuters: put the nodes of a tile into a canonical order, and x̂ back into the input's."""

from pellucid.nn.permuters.contract import Arranged, Permuter
from pellucid.nn.permuters.dihedral import Dihedral
from pellucid.nn.permuters.learned import Learned
from pellucid.nn.permuters.off import Off
from pellucid.nn.permuters.oracle import Oracle

PERMUTERS: dict[str, type[Permuter]] = {
    "off": Off,
    "dihedral": Dihedral,
    "oracle": Oracle,
    "learned": Learned,
}

__all__ = ["PERMUTERS", "Arranged", "Dihedral", "Learned", "Off", "Oracle", "Permuter"]
