"""Segmenters of segmentation-models-pytorch behind one interface."""
