"""Metrics from targets and predictions, a module for each form of target."""
