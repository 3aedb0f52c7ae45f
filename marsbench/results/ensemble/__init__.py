"""Ensembles of finished runs."""
