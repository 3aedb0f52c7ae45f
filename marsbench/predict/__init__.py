"""Prediction on new images: read, tile, run a finished model, write maps, boxes and tables."""
