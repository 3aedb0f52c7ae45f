"""Frozen runs: cached features and banks of linear heads."""
