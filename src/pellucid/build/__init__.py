"""Recipe → live objects."""
