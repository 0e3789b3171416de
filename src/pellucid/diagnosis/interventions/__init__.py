"""Short forks under a snapshot that tell a cause from a coincidence: predict, change, measure."""
