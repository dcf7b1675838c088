"""Distances between sets of images: Fréchet and kernel distances of features, by Inception or a small classifier."""
