"""The board: entries, estimates over sets of tasks, filters and tables."""
