"""Tasks and how their bytes become samples."""
