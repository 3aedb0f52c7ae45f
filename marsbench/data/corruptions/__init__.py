"""Corruptions of Mars imaging and of mass spectra, seeded by sample, in five severities."""
