"""Models fitted to a table of features at once."""
