"""Segmentation models of segmentation-models-pytorch."""
