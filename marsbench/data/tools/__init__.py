"""Tools for data sets: verify, convert, take stock, draw samples."""
