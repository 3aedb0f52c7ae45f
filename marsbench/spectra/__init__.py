"""Mass spectra: reading, background, rasterising to images, engineered features."""
