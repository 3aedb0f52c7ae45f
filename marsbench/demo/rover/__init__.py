"""Demo scenes seen by a rover."""
