"""Losses of label and mask tasks."""
