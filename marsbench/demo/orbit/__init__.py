"""Demo scenes seen from orbit."""
