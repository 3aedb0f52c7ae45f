"""Gradient training with Lightning."""
