"""The mutant bench: healthy models made sick in known ways, and what `diagnose` says about them."""
