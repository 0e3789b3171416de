"""`python -m pellucid`, which is also what `torchrun -m pellucid train …` runs."""

from pellucid.cli import main

main()
