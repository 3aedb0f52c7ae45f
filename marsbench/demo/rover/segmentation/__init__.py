"""Demo rover scenes with exact segmentation masks."""
