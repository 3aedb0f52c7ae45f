"""Demo mass spectra of both challenges."""
