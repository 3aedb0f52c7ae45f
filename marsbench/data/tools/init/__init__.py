"""A task of a user's own folder: splits, ``annotation.csv`` and ``task.yaml``."""
