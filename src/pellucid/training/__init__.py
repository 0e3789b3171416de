"""The training loop: exact resume, atomic checkpoints, several processes, a stop before NaN."""
