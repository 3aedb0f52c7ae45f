"""Errors, files, paths, values and progress: imports nothing else of the package."""
