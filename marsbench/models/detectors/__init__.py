"""Detectors of torchvision and ultralytics behind one interface."""
