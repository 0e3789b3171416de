"""Measurements shared by rows; each runs once per diagnosis, through `Case.measure`."""
