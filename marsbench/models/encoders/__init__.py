"""Encoders, and the classifiers that put a linear head on them."""
