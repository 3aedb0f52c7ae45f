"""Detectors of torchvision and ultralytics with a common interface."""
