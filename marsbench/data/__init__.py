"""Data of tasks: sources, decoding, caches and samples."""
