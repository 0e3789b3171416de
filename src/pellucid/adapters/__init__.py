"""Describe models of other packages as Subjects; none of those packages is imported here.

Each function looks at the object it is given, takes any field of `Subject` beside it, and what the
user declares wins over what the adapter knows:

    pellucid.diagnose(from_diffusers(vae, kl_weight=1e-6), train=images)
"""

from pellucid.adapters.dac import from_dac
from pellucid.adapters.diffusers import from_diffusers
from pellucid.adapters.encodec import from_encodec
from pellucid.adapters.pythae import from_pythae
from pellucid.adapters.snac import from_snac
from pellucid.adapters.vector_quantize import from_vector_quantize

__all__ = [
    "from_dac",
    "from_diffusers",
    "from_encodec",
    "from_pythae",
    "from_snac",
    "from_vector_quantize",
]
