"""Objectives: the loss and the kept outputs of each kind of task."""
