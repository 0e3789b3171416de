"""What the command line does, as Python."""
