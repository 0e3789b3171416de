"""Distances on the set of latents: neighbour graphs, path lengths, medoids, pulled-back lengths.

Pure functions on arrays and on a decode function; nothing here knows of models or runs.
"""
