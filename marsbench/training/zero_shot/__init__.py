"""Runs of models that are not trained: the test split is labelled from names of the classes."""
