"""Ways to fit a codebook; each takes points and returns vectors, a rule and what happened."""
