"""Plots from plain numbers, without knowledge of records."""
