"""Objectives: the loss of a kind of task, and the outputs that evaluation keeps."""
