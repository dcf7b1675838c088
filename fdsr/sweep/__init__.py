"""Grids of runs: points from a YAML file, each its own process and folder, and one tidy table of all."""
